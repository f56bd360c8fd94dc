"""The methods by name, and how one is built from a name, a noise kind and overrides."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import Any

from uadbench.engine.interfaces import Method
from uadbench.engine.methods.anoddpm import AnoDDPM
from uadbench.engine.methods.autoddpm import AutoDDPM
from uadbench.engine.methods.ddpm import DDPM
from uadbench.engine.methods.floors import Asymmetry, Blur, Intensity, ResidualMedian
from uadbench.engine.methods.thor import Thor
from uadbench.engine.rng import NOISES

__all__ = ["FLOORS", "METHODS", "MethodInfo", "all_methods", "build_method"]


@dataclass(frozen=True)
class MethodInfo:
    """A method as the command line knows it.

    preset : noise kind -> the method with its published settings
    noises : the kinds it may run with, its own first
    """

    title: str
    paper: str
    preset: Callable[[str], Method]
    noises: tuple[str, ...] = NOISES


METHODS: dict[str, MethodInfo] = {
    "thor": MethodInfo("THOR", "arXiv 2403.08464", Thor.preset),
    "ddpm": MethodInfo("DDPM", "arXiv 2006.11239", DDPM.preset),
    "anoddpm": MethodInfo(
        "AnoDDPM", "doi:10.1109/CVPRW56347.2022.00080", lambda noise: AnoDDPM(), ("simplex",)
    ),
    "autoddpm": MethodInfo("AutoDDPM", "arXiv 2305.19643", AutoDDPM.preset),
}

FLOORS: dict[str, MethodInfo] = {
    "residual-median": MethodInfo(
        "smoothed difference to median", "floor", lambda noise: ResidualMedian(), ("none",)
    ),
    "intensity": MethodInfo("smoothed intensity", "floor", lambda noise: Intensity(), ("none",)),
    "asymmetry": MethodInfo("left-right difference", "floor", lambda noise: Asymmetry(), ("none",)),
    "blur": MethodInfo("difference to blurred", "floor", lambda noise: Blur(), ("none",)),
}


def all_methods() -> dict[str, MethodInfo]:
    """Ours, the floors, and those of other packages (entry-point group ``uadbench.methods``, each a MethodInfo)."""
    plugins = {point.name: point.load() for point in entry_points(group="uadbench.methods")}
    return plugins | METHODS | FLOORS


def build_method(
    name: str, noise: str, steps: int | str | None = None, overrides: Mapping[str, Any] | None = None
) -> Method:
    """The method ``name`` with its preset for ``noise``.

    steps : network calls of the (first) reverse chain; "paper" visits every level; None keeps the fast default.
        AutoDDPM's stitching keeps its share of a quarter of the steps, at least one
    overrides : hyper-parameters by field name
    Raises ValueError on an unknown name, noise or field, or a value that the method refuses.
    """
    known = all_methods()
    if name not in known:
        near = difflib.get_close_matches(name, known, 1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"unknown method {name!r}; choose from {', '.join(known)}.{hint}")
    info = known[name]
    if noise not in info.noises:
        raise ValueError(f"{name} runs with {' or '.join(info.noises)} noise, not with {noise!r}")
    method: Any = info.preset(noise)
    fields = {field.name for field in dataclasses.fields(method)}
    chosen: dict[str, Any] = {}
    if steps is not None and "steps" in fields:
        chosen["steps"] = None if steps == "paper" else int(steps)
        if "stitch_steps" in fields:
            chosen["stitch_steps"] = None if steps == "paper" else max(1, int(steps) // 4)
    chosen |= dict(overrides or {})
    if unknown := sorted(set(chosen) - fields):
        raise ValueError(
            f"{name} has no setting {unknown[0]!r}; it has {', '.join(sorted(fields)) or 'none'}"
        )
    return dataclasses.replace(method, **chosen)
