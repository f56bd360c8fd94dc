"""``--shift contrast=0.6,0.8``: what is typed becomes one text a shift, and that a kind and a value."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from uadbench.bench.plan.fields import ConfigError, shown

__all__ = ["LARGEST", "Shift", "read_shifts", "spell_out"]

LARGEST = 10.0


@dataclass(frozen=True)
class Shift:
    """A change of intensities: ``kind`` of ``datasets.shifts.SHIFTS``, ``value`` its number, 1 for none."""

    kind: str
    value: float

    @property
    def label(self) -> str:
        """'contrast 0.8'."""
        return f"{self.kind} {self.value:g}"


def spell_out(parts: Iterable[Any]) -> tuple[str, ...]:
    """("gain=0.6", "0.80", "gamma=2") -> ("gain=0.6", "gain=0.8", "gamma=2"): a bare value is of the last kind.

    1 is left out, for the unshifted case is always there. Raises ConfigError for what is no such list, or has only 1.
    """
    kind, found = "", []
    for part in parts:
        name, equals, text = str(part).rpartition("=")
        kind = name.strip() if equals else kind
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not kind or not 0 < value <= LARGEST:
            raise ConfigError(
                f"shift is {shown(part)}; KIND=VALUE,.. is needed, each value above 0 up to {LARGEST:g}, "
                "such as contrast=0.6,0.8,1.2"
            )
        if value != 1:
            found.append(f"{kind}={value:g}")
    if not found:
        raise ConfigError(
            "shift names no value but 1, which is always there; give others, such as contrast=0.6,0.8"
        )
    return tuple(found)


def read_shifts(texts: Iterable[str]) -> tuple[Shift, ...]:
    """The shifts of a configuration, in the form of ``spell_out``."""
    pairs = (text.partition("=") for text in texts)
    return tuple(Shift(kind, float(value)) for kind, _, value in pairs)
