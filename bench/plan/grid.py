"""The cells of a run: every method x noise x back end x precision that was asked for, and the floors, always."""

from __future__ import annotations

import dataclasses
import math
import typing
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from types import NoneType, UnionType
from typing import Any

import torch
from torch import Tensor

from uadbench.bench.plan.config import ConfigError, RunConfig, unknown
from uadbench.engine.backends import BACKENDS
from uadbench.engine.interfaces import HealthyPrior, Method
from uadbench.engine.methods import FLOORS, all_methods, build_method
from uadbench.engine.rng import NOISES
from uadbench.engine.schedule import Schedule, linear_schedule
from uadbench.engine.tools import make_tools

__all__ = ["PRECISIONS", "SCHEDULE", "CellSpec", "count_calls", "noise_levels", "plan_cells"]

PRECISIONS = ("fp32", "bf16")
SCHEDULE = linear_schedule()


@dataclass(frozen=True)
class CellSpec:
    """One cell, before anything runs.

    noise : "gaussian", "simplex", or "none" for a floor
    steps : "paper", a number, or "-" where a method has no chain
    nfe : network calls a case
    """

    name: str
    method: Method
    noise: str
    steps: str
    backend: str
    precision: str
    nfe: int

    @property
    def floor(self) -> bool:
        return self.noise == "none"

    @property
    def slug(self) -> str:
        steps = "0" if self.steps == "-" else self.steps
        return "-".join((self.name, self.noise, steps, self.backend, self.precision))

    def record(self, dataset: str, backend_info: dict[str, Any]) -> dict[str, Any]:
        """cell.json."""
        return {
            "dataset": dataset,
            "method": self.name,
            "noise": self.noise,
            "steps": self.steps,
            "t_start": getattr(self.method, "t_start", None),
            "backend": self.backend,
            "precision": self.precision,
            "kind": "floor" if self.floor else "method",
            "hyperparameters": dataclasses.asdict(self.method),  # type: ignore[call-overload]
            "nfe": self.nfe,
            "backend_info": backend_info,
        }


def plan_cells(config: RunConfig) -> tuple[CellSpec, ...]:
    """The cells in the order in which they run: floors first (they are quick), then methods as named.

    Raises ConfigError on an unknown name and on settings that a method refuses.
    """
    known = all_methods()
    if not config.methods:
        raise ConfigError(f"no methods given; use --methods with some of {', '.join(known)}")
    named = [_named(text, config.noise, known) for text in config.methods]
    arms = [arm for text in config.backends for arm in _arms(text, config.precision)]
    for noise in config.checkpoints:
        if noise not in NOISES:
            raise unknown("noise of a checkpoint", noise, NOISES)
    _check_tables(config, [*FLOORS, *(name for name, _ in named)], known)
    cells = [_cell(config, name, "none", "torch", "fp32") for name in FLOORS]
    for name, noise in named:
        if name not in FLOORS:
            cells += [_cell(config, name, noise, b, p) for b, p in arms]
    slugs = [cell.slug for cell in cells]
    twice = sorted({slug for slug in slugs if slugs.count(slug) > 1})
    if twice:
        raise ConfigError(f"--methods asks for {twice[0]} twice")
    return tuple(cells)


def count_calls(method: Method, schedule: Schedule = SCHEDULE) -> int:
    """Network calls a case, found by walking the method's loop on a tiny image with a network that does nothing."""
    return _walk(method, schedule, 1.0)[0]


def noise_levels(method: Method, eta: float = 1.0, schedule: Schedule = SCHEDULE) -> tuple[int, ...]:
    """The levels whose noise the method draws, each once, in order; found as in ``count_calls``."""
    return tuple(sorted(set(_walk(method, schedule, eta)[1])))


def _walk(method: Method, schedule: Schedule, eta: float) -> tuple[int, list[int]]:
    """(network calls, levels whose noise was drawn) of the method's loop on a tiny image."""
    network = _Silent()
    levels: list[int] = []
    prior = HealthyPrior(torch.zeros(1, 1, 16, 16), 1)

    def noise(t: int) -> Tensor:
        levels.append(t)
        return torch.zeros(1, 1, 16, 16)

    tools = make_tools(network, schedule, noise, _Flat(), eta, prior)
    tools = dataclasses.replace(tools, close=lambda x, size: x, dilate=lambda x, size: x)
    with torch.inference_mode():
        method(torch.linspace(-1, 1, 256).reshape(1, 1, 16, 16), tools)
    return network.calls, levels


def _named(text: str, default: str, known: dict[str, Any]) -> tuple[str, str]:
    """ "name" or "name:noise" -> (name, noise)."""
    name, colon, noise = text.partition(":")
    if name not in known:
        raise unknown("method", name, known)
    if default not in (*NOISES, "default"):
        raise unknown("noise", default, (*NOISES, "default"))
    own = known[name].noises
    if colon and noise not in own:
        raise unknown(f"noise of {name}", noise, own)
    # a method with a single noise is defined by it, so --noise speaks to the others only
    return name, noise or (default if default in own else own[0])


def _arms(text: str, default: Iterable[str]) -> list[tuple[str, str]]:
    """ "back end" or "back end:precision" -> (back end, precision) for each precision that is asked for."""
    backend, colon, precision = text.partition(":")
    if backend not in BACKENDS:
        raise unknown("back end", backend, BACKENDS)
    chosen = [precision] if colon else list(default)
    for name in chosen:
        if name not in PRECISIONS:
            raise unknown("precision", name, PRECISIONS)
    return [(backend, name) for name in chosen]


def _check_tables(config: RunConfig, chosen: Iterable[str], known: dict[str, Any]) -> None:
    for name in config.hyperparameters:
        if name not in known:
            raise unknown("method with settings", name, known)
        if name not in chosen:
            raise ConfigError(f"{name} has settings but is not among the methods {', '.join(config.methods)}")


def _cell(config: RunConfig, name: str, noise: str, backend: str, precision: str) -> CellSpec:
    given = dict(config.hyperparameters.get(name, {}))
    overrides = {key: tuple(v) if isinstance(v, list) else v for key, v in given.items()}
    try:
        plain: Any = build_method(name, noise, config.steps, {})
        if config.t_start is not None and hasattr(plain, "t_start"):
            overrides.setdefault("t_start", config.t_start)
        _check_types(name, plain, given)
        method: Any = build_method(name, noise, config.steps, overrides)
        for level in ("t_start", "t_stitch"):
            if not 1 <= getattr(method, level, 1) <= SCHEDULE.length:
                value = getattr(method, level)
                raise ValueError(f"{level} is {value}; allowed is 1 to {SCHEDULE.length}")
    except ConfigError:
        raise
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{name}: {error}") from error
    try:
        nfe = count_calls(method)
    except Exception as error:  # a method of others may raise anything
        lines = str(error).strip().splitlines() or [type(error).__name__]
        kind = (
            "" if isinstance(error, ValueError) else f"its chain cannot be walked: {type(error).__name__}: "
        )
        raise ConfigError(f"{name}: {kind}{lines[0]}") from error
    steps = "-" if not hasattr(method, "steps") else "paper" if method.steps is None else str(method.steps)
    return CellSpec(name, method, noise, steps, backend, precision, nfe)


def _check_types(name: str, method: Any, given: dict[str, Any]) -> None:
    """Raise ConfigError where a hyper-parameter has not the type of the method's field, such as a word for a number."""
    try:
        hints = typing.get_type_hints(type(method))
    except Exception:  # a method of others may have annotations that cannot be resolved: go by the defaults
        hints = {}
    for key, value in given.items():
        if not hasattr(method, key):
            continue  # build_method lists the fields there are
        default = getattr(method, key)
        hint = hints.get(key, _hint(default))
        if not (_fits(value, hint) or (value is None and default is None)):
            raise ConfigError(f"{name}.{key} is {value!r}; {_needed(hint)} is needed")


_NEEDED: dict[Any, str] = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "a text",
    NoneType: "none",
}


def _hint(default: Any) -> Any:
    """The annotation that a default value stands for."""
    if isinstance(default, tuple | list) and default:
        return tuple.__class_getitem__((type(default[0]), ...))
    return type(default)


def _fits(value: Any, hint: Any) -> bool:
    """Whether a value is of an annotated type; a whole number is a number, and no boolean is either."""
    origin, inner = typing.get_origin(hint), [kind for kind in typing.get_args(hint) if kind is not Ellipsis]
    if origin in (typing.Union, UnionType):
        return any(_fits(value, kind) for kind in inner)
    if origin in (tuple, list):
        return isinstance(value, tuple | list) and all(any(_fits(v, kind) for kind in inner) for v in value)
    if hint in (int, float) and isinstance(value, bool):
        return False
    if hint is float:
        return isinstance(value, int | float) and math.isfinite(value)
    return hint not in _NEEDED or isinstance(value, hint)


def _needed(hint: Any) -> str:
    """The annotated type in words."""
    origin, inner = typing.get_origin(hint), [kind for kind in typing.get_args(hint) if kind is not Ellipsis]
    if origin in (tuple, list):
        return f"a list, each of it {' or '.join(_needed(kind) for kind in dict.fromkeys(inner))},"
    if inner:
        return " or ".join(_needed(kind) for kind in inner)
    return _NEEDED.get(hint, f"a {getattr(hint, '__name__', hint)}")


class _Silent:
    """A network that finds no noise and counts its calls."""

    name, device, precision = "none", "cpu", "fp32"

    def __init__(self) -> None:
        self.calls = 0

    def denoise(self, x_t: Tensor, t: Tensor, cond: Tensor | None = None) -> Tensor:
        self.calls += 1
        return torch.zeros_like(x_t)

    def synchronize(self) -> None:
        pass

    def close(self) -> None:
        pass

    def describe(self) -> dict[str, Any]:
        return {}


class _Flat:
    """A perceptual distance that sees no difference."""

    name = "none"

    def against(self, x: Tensor) -> Callable[[Tensor], Tensor]:
        return torch.zeros_like
