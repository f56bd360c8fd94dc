"""What differs between two cells besides their results, so that a difference is read for what it is."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from uadbench.bench.compare.pairs import Pair, Side, finished

__all__ = ["Setting", "batch_size", "differing_settings"]

_HASH = re.compile(r"[0-9a-f]{40,64}")


@dataclass(frozen=True)
class Setting:
    """Something that is not the same on both sides."""

    name: str
    a: str
    b: str

    @property
    def text(self) -> str:
        """'steps 25 | 10'."""
        return f"{self.name} {self.a} | {self.b}"


def differing_settings(pair: Pair) -> tuple[Setting, ...]:
    """Method, noise, steps and the rest of the variant and arm; weights, threads, version and machine."""
    a, b = dict(_settings(pair.a)), dict(_settings(pair.b))
    names = [name for name in (*a, *(n for n in b if n not in a)) if name in a and name in b]
    if pair.a.variant.method == pair.b.variant.method:
        names += [name for name in (*a, *b) if (name in a) != (name in b)]
    return tuple(
        Setting(name, _short(a.get(name)), _short(b.get(name)))
        for name in names
        if a.get(name) != b.get(name)
    )


def batch_size(side: Side) -> int:
    """The usual one: the largest, since only the last batch is smaller."""
    return max((case.get("batch_size", 1) for case in finished(side.cell).values()), default=1)


def _settings(side: Side) -> Iterator[tuple[str, Any]]:
    """(name, value) of everything that could matter, in the order in which it is told."""
    variant, arm, info, manifest = side.variant, side.arm, side.cell.info, side.run.manifest
    yield from [("method", variant.method), ("noise", variant.noise), ("steps", variant.steps)]
    for name, value in (info.get("hyperparameters") or {}).items():
        if name != "steps":
            yield name, value
    yield from [("perceptual net", variant.perceptual or "none"), ("seed", variant.seed)]
    yield "post-processing", variant.post
    yield from [("back end", arm.backend), ("precision", arm.precision), ("device", arm.device)]
    yield "batch size", batch_size(side)
    networks = info.get("networks") or ({} if variant.floor else {"denoiser": variant.noise})
    for role, network in networks.items():
        name = "weights" if role == "denoiser" else f"weights of {role}"
        yield name, _look(manifest, "checkpoints", network, "sha256")
    if variant.perceptual:
        yield "weights of the perceptual net", _look(manifest, "perceptual", variant.perceptual, "sha256")
    for key in ("eta", "val_limit", "mask_rule"):
        yield key, _look(manifest, "config", key)
    yield "variance", _look(manifest, "config", "variance") or "fixed-small"  # older runs knew no other
    yield "data", _look(manifest, "dataset", "fingerprint")
    yield from [("version", manifest.get("version")), ("code", _look(manifest, "git", "commit"))]
    yield from [("threads", _look(manifest, "environment", "threads"))]
    yield "processor", _look(manifest, "environment", "cpu")
    for name, version in (_look(manifest, "environment", "packages") or {}).items():
        yield name, version


def _look(manifest: Mapping[str, Any], *path: str) -> Any:
    value: Any = manifest
    for name in path:
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def _short(value: Any) -> str:
    """A value in a few letters; hashes by their first twelve."""
    if isinstance(value, list):
        return ",".join(map(_short, value))
    text = "-" if value is None else str(value)
    return text[:12] if _HASH.fullmatch(text) else text
