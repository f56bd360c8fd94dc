"""What is compared (a variant) and how it is computed (an arm): the one definition of names, labels and sameness."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["REFERENCE", "Arm", "Variant", "arm_of", "reference_of", "variant_of"]


@dataclass(frozen=True)
class Variant:
    """A method with all that tells it from others of its run; weights, eta and data are the run's own.

    method : its name on the command line; title : as it is printed
    noise : "gaussian", "simplex", or "none" where it draws none
    steps : "paper", a number, or "-" where a method has no chain
    perceptual : the perceptual net that it looks through, "" where it uses none
    seed : of its noise
    settings : JSON of the hyper-parameters that differ from the preset (noise and steps apart), "{}" for none
    floor : whether it is a floor
    post : the post-processing of its maps, "none" for none
    """

    method: str
    title: str
    noise: str = "none"
    steps: str = "-"
    perceptual: str = ""
    seed: int = 0
    settings: str = "{}"
    floor: bool = False
    post: str = "none"

    @property
    def slug(self) -> str:
        """Names a folder: what is usual is left out, unusual settings are a short digest."""
        parts = [self.method, self.noise, "0" if self.steps == "-" else self.steps]
        if self.settings != "{}":
            parts.append(hashlib.sha256(self.settings.encode()).hexdigest()[:6])
        if self.perceptual:
            parts.append(self.perceptual)
        if self.post != "none":
            parts.append(self.post)
        if self.seed:
            parts.append(f"seed{self.seed}")
        return "-".join(parts)

    @property
    def details(self) -> tuple[str, ...]:
        """What tells it from other variants of the method, in words: ('gaussian', '25 steps', 'window 9')."""
        if self.floor:
            net = (self.perceptual,) if self.perceptual else ()
            return (*self._changed, *net, *self._post)
        parts = [] if self.noise == "none" else [self.noise]
        if self.steps != "-":
            counted = {"paper": "all steps", "1": "1 step"}
            parts.append(counted.get(self.steps, f"{self.steps} steps"))
        parts += self._changed
        if self.perceptual:
            parts.append(self.perceptual)
        parts += self._post
        if self.seed:
            parts.append(f"seed {self.seed}")
        return tuple(parts)

    @property
    def label(self) -> str:
        """'THOR · gaussian · 25 steps · brain-squeeze'; a floor is its name, and its net where it has one."""
        return " · ".join((self.method if self.floor else self.title, *self.details))

    @property
    def _post(self) -> tuple[str, ...]:
        return () if self.post == "none" else (f"post {self.post}",)

    @property
    def _changed(self) -> tuple[str, ...]:
        return tuple(f"{name} {_words(value)}" for name, value in json.loads(self.settings).items())


@dataclass(frozen=True)
class Arm:
    """How a variant is computed: the back end, its precision and the device that it runs on."""

    backend: str = "torch"
    precision: str = "fp32"
    device: str = "cpu"

    @property
    def slug(self) -> str:
        """Names a folder; the CPU goes without saying."""
        device = "" if self.device == "cpu" else "-" + self.device.replace(":", "")
        return f"{self.backend}-{self.precision}{device}"

    @property
    def label(self) -> str:
        """'openvino bf16'."""
        return f"{self.backend} {self.precision}" + ("" if self.device == "cpu" else f" {self.device}")


REFERENCE = Arm()
"""Eager torch in fp32 on the CPU."""


def reference_of(arm: Arm) -> Arm:
    """What an arm is held against: eager torch in fp32 on the same device."""
    return Arm(device=arm.device)


def variant_of(info: Mapping[str, Any]) -> Variant:
    """The variant in a cell.json or a row of leaderboard.csv; keys that are not there take their defaults."""
    method = str(info.get("method", ""))
    settings = info.get("settings") or {}
    return Variant(
        method,
        str(info.get("title") or method),
        str(info.get("noise", "none")),
        str(info.get("steps", "-")),
        # Where a record has no settings it is of the first schema, whose net was the run's, used or not.
        str(info.get("perceptual") or "") if "settings" in info else "",
        int(info.get("seed") or 0),
        settings if isinstance(settings, str) else json.dumps(settings, sort_keys=True),
        info.get("kind") == "floor",
        str(info.get("post") or "none"),
    )


def arm_of(info: Mapping[str, Any]) -> Arm:
    """The arm in a cell.json or a row of leaderboard.csv."""
    return Arm(
        str(info.get("backend", "torch")),
        str(info.get("precision", "fp32")),
        str(info.get("device") or "cpu"),
    )


def _words(value: Any) -> str:
    if isinstance(value, list):
        return ",".join(map(_words, value))
    if isinstance(value, bool):
        return "on" if value else "off"
    return "none" if value is None else str(value)
