"""The methods by name, and how one is built from a name, a noise kind and overrides.

Nothing heavy is imported before a method is built, so that names can be listed at once.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import Any

from uadbench.engine.interfaces import NOISES, Method
from uadbench.engine.plugins import NAME, Plugin, first_line, load_plugins, needed

__all__ = [
    "FITTED_FLOORS",
    "FLOORS",
    "GROUPS",
    "METHODS",
    "MethodInfo",
    "all_methods",
    "build_method",
    "method_plugins",
    "plugin_faults",
]

GROUP = "uadbench.methods"


def _denoiser(noise: str) -> Mapping[str, str]:
    return {"denoiser": f"unet-{noise}"}


def _nothing(noise: str) -> Mapping[str, str]:
    return {}


@dataclass(frozen=True)
class MethodInfo:
    """A method as the command line knows it.

    preset : noise kind -> the method with its published settings, a frozen dataclass
    noises : the kinds it may run with, its own first; ("none",) where it draws none
    networks : noise kind -> {role: network}; the role "denoiser" is what ``Tools.denoise`` calls
    needs_median : whether it looks at ``Tools.median``, ``mean`` or ``spread``, so that it does not apply where
        there is none
    calls : network calls a case with the preset, whatever the noise, so that a list can name them without torch; the
        dry walk counts them for a run. None where nobody has said
    """

    title: str
    paper: str
    preset: Callable[[str], Method]
    noises: tuple[str, ...] = NOISES
    networks: Callable[[str], Mapping[str, str]] = _denoiser
    needs_median: bool = False
    calls: int | None = None

    @property
    def floor(self) -> bool:
        """Whether it is one of the trivial methods that cost next to nothing: no noise and no network."""
        return self.noises == ("none",) and not self.networks("none")


def _from(module: str, name: str) -> Callable[[str], Method]:
    """noise -> the preset of the class ``uadbench.engine.methods.<module>.<name>``, imported when first called."""

    def preset(noise: str) -> Method:
        kind: Any = getattr(import_module(f"uadbench.engine.methods.{module}"), name)
        method: Method = kind.preset(noise) if hasattr(kind, "preset") else kind()
        return method

    return preset


def _floor(title: str, name: str, needs_median: bool = False) -> MethodInfo:
    return MethodInfo(title, "floor", _from("floors", name), ("none",), _nothing, needs_median)


def _fitted(info: MethodInfo) -> MethodInfo:
    """The floor with its width and sign rule open, which validation lesions then decide."""

    def preset(noise: str) -> Method:
        floor: Any = info.preset(noise)
        opened: Method = dataclasses.replace(floor, sigma=None)
        return opened

    return dataclasses.replace(info, title=f"{info.title}, fitted on validation lesions", preset=preset)


METHODS: dict[str, MethodInfo] = {
    "thor": MethodInfo("THOR", "arXiv 2403.08464", _from("thor", "Thor"), calls=25),
    "ddpm": MethodInfo("DDPM", "arXiv 2006.11239", _from("ddpm", "DDPM"), calls=25),
    "anoddpm": MethodInfo(
        "AnoDDPM", "doi:10.1109/CVPRW56347.2022.00080", _from("anoddpm", "AnoDDPM"), ("simplex",), calls=25
    ),
    "autoddpm": MethodInfo("AutoDDPM", "arXiv 2305.19643", _from("autoddpm", "AutoDDPM"), calls=45),
    "pddpm": MethodInfo(
        "pDDPM",
        "arXiv 2303.03758",
        _from("pddpm", "PDDPM"),
        ("simplex", "gaussian"),
        lambda noise: {"denoiser": f"patch-unet-{noise}"},
        calls=4,
    ),
    "cddpm": MethodInfo(
        "cDDPM",
        "arXiv 2312.04215",
        _from("cddpm", "CDDPM"),
        ("simplex", "gaussian"),
        lambda noise: {"denoiser": f"conditioned-unet-{noise}"},
        calls=3,
    ),
}


def _restorer(title: str, paper: str, module: str, name: str, network: str, calls: int) -> MethodInfo:
    """A method without noise, whose network undoes anomalies."""
    return MethodInfo(
        title, paper, _from(module, name), ("none",), lambda noise: {"denoiser": network}, calls=calls
    )


METHODS |= {
    "one-step": MethodInfo("One step", "arXiv 2006.11239", _from("one_step", "OneStep"), calls=4),
    "dae": _restorer("DAE", "openreview Bm8-t_ggzPD", "restored", "Restored", "dae-unet", 1),
    "vae": _restorer("VAE", "doi:10.1016/j.media.2020.101952", "restored", "Restored", "vae", 1),
    "disyre": _restorer("DISYRE", "arXiv 2311.15453", "disyre", "Disyre", "cold-unet", 8),
    "reflect": _restorer("REFLECT", "arXiv 2508.02889", "reflect", "Reflect", "flow-unet", 1),
    "mend": _restorer("Mend", "docs/methods/mend.md", "mend", "Mend", "mend-unet", 4),
}

FLOORS: dict[str, MethodInfo] = {
    "residual-median": _floor("smoothed difference to median", "ResidualMedian", needs_median=True),
    "zscore": _floor("spreads from the mean", "ZScore", needs_median=True),
    "intensity": _floor("smoothed intensity", "Intensity"),
    "asymmetry": _floor("left-right difference", "Asymmetry"),
    "asymmetry-intensity": _floor("asymmetry x intensity", "AsymmetryIntensity"),
    "blur": _floor("difference to blurred", "Blur"),
    "perceptual-blur": _floor("perceptual distance to blurred", "PerceptualBlur"),
}
"""They run in every run."""

FITTED_FLOORS: dict[str, MethodInfo] = {
    f"{name}-fitted": _fitted(FLOORS[name])
    for name in ("residual-median", "zscore", "intensity", "asymmetry", "asymmetry-intensity")
}
"""They run where they are named."""

GROUPS: dict[str, tuple[str, ...]] = {"fitted-floors": tuple(FITTED_FLOORS)}
"""Names that stand for several methods; "all" is another, see ``bench run``."""


@cache
def method_plugins() -> tuple[Plugin, ...]:
    """Methods of other packages, those that cannot be used too; ours and the floors win over them."""
    return load_plugins(GROUP, "method", _own(), _wrong)


def _own() -> dict[str, MethodInfo]:
    return METHODS | FLOORS | FITTED_FLOORS


def _wrong(name: str, value: Any) -> str:
    if not isinstance(value, MethodInfo):
        return needed(value, "uadbench.engine.methods.MethodInfo")
    return f": {wrong}" if (wrong := _malformed(value)) else ""


def _malformed(info: MethodInfo) -> str:
    """Which field of another package's MethodInfo nothing can be done with, and what is needed; "" for none."""
    for name in ("title", "paper"):
        text = getattr(info, name)
        if not (isinstance(text, str) and text.strip() and text.isprintable() and len(text) <= 200):
            return f"{name} is {_shown(text)}; a line of text is needed"
    if not callable(info.preset):
        return f"preset is {_shown(info.preset)}; a function from a kind of noise to a method is needed"
    kinds = info.noises
    if kinds != ("none",) and not (
        isinstance(kinds, tuple) and kinds and all(kind in NOISES for kind in kinds)
    ):
        return f"noises is {_shown(kinds)}; a tuple of some of {', '.join(NOISES)}, or ('none',), is needed"
    if info.calls is not None and not (type(info.calls) is int and info.calls >= 0):
        return f"calls is {_shown(info.calls)}; a number of network calls, or None, is needed"
    if not isinstance(info.needs_median, bool):
        return f"needs_median is {_shown(info.needs_median)}; True or False is needed"
    if not callable(info.networks):
        return f"networks is {_shown(info.networks)}; a function from a kind of noise to a table is needed"
    return next((wrong for kind in kinds if (wrong := _malformed_networks(info, kind))), "")


def _malformed_networks(info: MethodInfo, noise: str) -> str:
    try:
        found = info.networks(noise)
    except (Exception, SystemExit) as error:
        return f"networks({noise!r}) raises {type(error).__name__}: {first_line(error)}"
    if not isinstance(found, Mapping):
        return f"networks({noise!r}) is {_shown(found)}; a table from roles to names of networks is needed"
    for name in found.values():
        if not isinstance(name, str) or not NAME.fullmatch(name):
            return f"networks({noise!r}) names {_shown(name)}; use small letters, digits and '-'"
    if found and "denoiser" not in found:
        return f"networks({noise!r}) has the roles {_shown(list(found))}; 'denoiser' must be one"
    return ""


def _shown(value: Any) -> str:
    """A value of another package on one line, whatever its repr."""
    try:
        text = repr(value)
    except Exception:
        text = f"a {type(value).__name__}"
    return " ".join(text.split())[:80]


def all_methods() -> dict[str, MethodInfo]:
    """Ours, the floors, and those of other packages (entry-point group ``uadbench.methods``, each a MethodInfo).

    One that cannot be used is left out; ``plugin_faults`` says why.
    """
    usable = {plugin.name: plugin.value for plugin in method_plugins() if not plugin.fault}
    return usable | _own()


def plugin_faults() -> dict[str, str]:
    """Name -> why a method of another package cannot be used, one line each."""
    return {plugin.name: plugin.fault for plugin in method_plugins() if plugin.fault}


def build_method(
    name: str, noise: str, steps: int | str | None = None, overrides: Mapping[str, Any] | None = None
) -> Method:
    """The method ``name`` with its preset for ``noise``.

    steps : network calls of the (first) reverse chain; "paper" visits every level; None keeps the preset's. It is
        passed over where the method cannot be ``respaced``
    overrides : hyper-parameters by field name
    Raises ValueError on an unknown name, noise or field, or a value that the method refuses.
    """
    known = all_methods()
    if name not in known:
        raise ValueError(f"unknown method {name!r}; choose from {', '.join(known)}")
    info = known[name]
    if noise not in info.noises:
        raise ValueError(f"{name} runs with {' or '.join(info.noises)} noise, not with {noise!r}")
    method: Any = info.preset(noise)
    if not dataclasses.is_dataclass(method) or isinstance(method, type):
        raise ValueError(f"{name} is a {type(method).__name__}; a method must be a frozen dataclass")
    if steps is not None and hasattr(method, "respaced"):
        method = method.respaced(None if steps == "paper" else int(steps))
    fields = {field.name for field in dataclasses.fields(method)}
    if unknown := sorted(set(overrides or {}) - fields):
        raise ValueError(
            f"{name} has no setting {unknown[0]!r}; it has {', '.join(sorted(fields)) or 'none'}"
        )
    changed: Method = dataclasses.replace(method, **dict(overrides or {}))
    return changed
