"""The cells of a run: every variant on every arm, and the floors, always."""

from __future__ import annotations

import dataclasses
import json
import typing
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import product
from typing import Any

from uadbench.bench.plan.config import ConfigError, RunConfig, convert_field, unknown
from uadbench.bench.plan.vary import check_vary, fields_of, points, swept
from uadbench.bench.plan.walk import Walk, walk
from uadbench.bench.plan.weights import NetworkFile, find_network
from uadbench.engine.backends import BACKENDS, PRECISIONS
from uadbench.engine.interfaces import NOISES, Method
from uadbench.engine.methods import FLOORS, GROUPS, METHODS, MethodInfo, all_methods, build_method
from uadbench.engine.networks.checkpoint import is_shipped
from uadbench.engine.post import POSTS
from uadbench.engine.schedule import Schedule, linear_schedule
from uadbench.reports.identity import Arm, Variant

__all__ = ["Cell", "plan_cells", "read_arms"]

LEVELS = ("t_start", "t_stitch", "t_test")  # fields that must lie in the schedule


@dataclass(frozen=True)
class Cell:
    """One cell, before anything runs.

    networks : role -> the network's file; empty for a floor
    needs_median : whether it does not apply where there are no healthy slices to take a median of
    fitted : what validation lesions decided (see ``run.fitting``), {} where nothing was open
    x0_variance : what was measured of its network (see ``run.variance``), {} with the "fixed small" variance
    operating : the threshold that they decided for post-processed maps (see ``run.operating``), {} without those
    varied : name -> value of what a sweep varies, {} outside of one
    """

    variant: Variant
    arm: Arm
    method: Method
    networks: Mapping[str, NetworkFile]
    walk: Walk
    needs_median: bool = False
    fitted: Mapping[str, Any] = field(default_factory=dict)
    x0_variance: Mapping[str, Any] = field(default_factory=dict)
    operating: Mapping[str, Any] = field(default_factory=dict)
    varied: Mapping[str, Any] = field(default_factory=dict)

    @property
    def slug(self) -> str:
        """Names its folder."""
        return f"{self.variant.slug}-{self.arm.slug}"

    @property
    def schedule(self) -> Schedule:
        """That of its denoiser; a floor has none and is given the usual one."""
        return self.networks["denoiser"].schedule if self.networks else linear_schedule()

    def record(self, dataset: str, backend_info: dict[str, Any]) -> dict[str, Any]:
        """cell.json."""
        variant, arm = self.variant, self.arm
        processed = variant.post != "none"
        return {
            "dataset": dataset,
            "method": variant.method,
            "title": variant.title,
            "noise": variant.noise,
            "steps": variant.steps,
            "perceptual": variant.perceptual,
            "seed": variant.seed,
            "settings": json.loads(variant.settings),
            "t_start": getattr(self.method, "t_start", None),
            "backend": arm.backend,
            "precision": arm.precision,
            "device": arm.device,
            "kind": "floor" if variant.floor else "method",
            "hyperparameters": dataclasses.asdict(self.method),  # type: ignore[call-overload]
            "networks": {role: network.name for role, network in self.networks.items()},
            "fitted": dict(self.fitted),
            **({"x0_variance": dict(self.x0_variance)} if self.x0_variance else {}),
            "nfe": self.walk.nfe,
            "backend_info": backend_info,
            **({"post": variant.post, "operating": dict(self.operating)} if processed else {}),
            **({"varied": dict(self.varied)} if self.varied else {}),
        }


def plan_cells(config: RunConfig) -> tuple[Cell, ...]:
    """The cells in the order in which they run: floors first (they are quick), then methods as named.

    Raises ConfigError on an unknown name and on settings that a method refuses, CheckpointError where a network that
    is needed is not there.
    """
    known = all_methods()
    if not config.methods:
        raise ConfigError(f"no methods given; use --methods with some of {', '.join(known)}")
    ready = [name for name, info in METHODS.items() if _has_networks(info, config)]
    names = [n for text in config.methods for n in ({**GROUPS, "all": ready}.get(text, (text,)))]
    noises = config.vary.get("noise", (config.noise,))
    named = list(dict.fromkeys(_named(text, noise, known) for text in names for noise in noises))
    fields = {name: fields_of(known[name], noise) for name, noise in named}
    check_vary(config, fields)
    if config.variance == "exact" and config.eta != 1:
        raise ConfigError(
            f"variance is 'exact', of the ancestral chain, and eta is {config.eta}; "
            "give eta = 1 or variance = 'fixed-small'"
        )
    for name in config.post:
        if name not in ("none", *POSTS):
            raise unknown("post-processing", name, ("none", *POSTS))
    arms = [arm for text in config.backends for arm in read_arms(text, config.precision, config.device)]
    _check_tables(config, [*FLOORS, *(name for name, _ in named)], known)
    cells = [cell for name in FLOORS for cell in _cells(config, name, "none", known[name], [Arm()])]
    for name, noise in named:
        if name in FLOORS and not config.vary:  # those are there already
            continue
        for point, weights in points(config, name, fields[name], known[name].networks(noise)):
            found = _cells(point, name, noise, known[name], [Arm()] if known[name].floor else arms)
            for cell in found:
                other = swept(config.vary, cell.variant, cell.method, cell.networks, weights)
                cells.append(dataclasses.replace(cell, **other))
    slugs = [cell.slug for cell in cells]
    twice = sorted({slug for slug in slugs if slugs.count(slug) > 1})
    if twice and not config.vary:
        raise ConfigError(f"--methods asks for {twice[0]} twice")
    return tuple({cell.slug: cell for cell in cells}.values())  # a sweep may come to the same by two ways


def _has_networks(info: MethodInfo, config: RunConfig) -> bool:
    """Whether the method's networks for its own noise are shipped or given."""
    return all(
        name in config.checkpoints or is_shipped(name) for name in info.networks(info.noises[0]).values()
    )


def _named(text: str, default: str, known: Mapping[str, MethodInfo]) -> tuple[str, str]:
    """ "name" or "name:noise" -> (name, noise)."""
    name, colon, noise = text.partition(":")
    if name not in known:
        raise unknown("method", name, [*known, *GROUPS, "all"])
    if default not in (*NOISES, "default"):
        raise unknown("noise", default, (*NOISES, "default"))
    own = known[name].noises
    if colon and noise not in own and own == ("none",):
        raise ConfigError(f"{name} draws no noise, and {text!r} asks for some; name it {name}")
    if colon and noise not in own:
        raise unknown(f"noise of {name}", noise, own)
    # a method with a single noise is defined by it, so --noise speaks to the others only
    return name, noise or (default if default in own else own[0])


def read_arms(text: str, default: Iterable[str], device: str) -> list[Arm]:
    """ "back end" or "back end:precision" -> an arm for each precision that is asked for."""
    backend, colon, precision = text.partition(":")
    if backend not in BACKENDS:
        raise unknown("back end", backend, BACKENDS)
    chosen = [precision] if colon else list(default)
    for name in chosen:
        if name not in PRECISIONS:
            raise unknown("precision", name, PRECISIONS)
    return [Arm(backend, name, device) for name in chosen]


def _check_tables(config: RunConfig, chosen: Iterable[str], known: Mapping[str, MethodInfo]) -> None:
    for name in config.hyperparameters:
        if name not in known:
            raise unknown("method with settings", name, known)
        if name not in chosen:
            raise ConfigError(f"{name} has settings but is not among the methods {', '.join(config.methods)}")
    networks = {n for info in known.values() for noise in info.noises for n in info.networks(noise).values()}
    for name in config.checkpoints:
        if name not in networks:
            raise unknown("network of a checkpoint", name, sorted(networks))


def _cells(config: RunConfig, name: str, noise: str, info: MethodInfo, arms: Iterable[Arm]) -> list[Cell]:
    """The method's variants (steps x perceptual nets x post-processings x seeds), each on every arm."""
    networks = {role: find_network(n, config.checkpoints) for role, n in info.networks(noise).items()}
    schedule = networks["denoiser"].schedule if networks else linear_schedule()
    cells: list[Cell] = []
    for steps in config.steps or (None,):
        preset, method = _methods(config, name, noise, None if info.floor else steps, schedule)
        found = _walk(name, method, schedule, config)
        if networks:
            _check_use(name, found, networks["denoiser"])
        for perceptual in config.perceptual if found.perceptual else ("",):
            for post, seed in product(config.post, (0,) if info.noises == ("none",) else config.seed):
                variant = Variant(
                    name,
                    info.title,
                    noise,
                    _steps(method),
                    perceptual,
                    seed,
                    _settings(preset, method),
                    info.floor,
                    post,
                )
                cells += [Cell(variant, arm, method, networks, found, info.needs_median) for arm in arms]
    return list({cell.slug: cell for cell in cells}.values())  # a method without a chain ignores steps


def _check_use(name: str, found: Walk, network: NetworkFile) -> None:
    """ConfigError unless the network is one for what the method asks of it."""
    if found.restores != network.restores:
        wanted = "restores images" if found.restores else "predicts noise"
    elif found.conditioned != network.conditioned:
        wanted = "is shown the clean image" if found.conditioned else "is not shown the clean image"
    else:
        return
    raise ConfigError(
        f"{name} needs a network that {wanted}, and {network.path} is of kind {network.kind}; "
        f"name another by --set checkpoints.{network.name}=FILE"
    )


def _methods(
    config: RunConfig, name: str, noise: str, steps: int | str | None, schedule: Schedule
) -> tuple[Method, Method]:
    """(the preset with that many steps, the same with the user's settings)."""
    try:
        plain: Any = build_method(name, noise, steps)
        given: dict[str, Any] = dict(config.hyperparameters.get(name, {}))
        if steps is not None and "steps" in given:
            raise ConfigError(f"{name}.steps and --steps are both given; give one of them")
        if config.t_start is not None and hasattr(plain, "t_start"):
            given.setdefault("t_start", config.t_start)
        method: Any = build_method(name, noise, steps, _converted(name, plain, given))
        for key, level in _levels(method):
            if not 1 <= level <= schedule.length:
                raise ValueError(f"{key} is {level}; allowed is 1 to {schedule.length}")
        json.dumps(dataclasses.asdict(method), allow_nan=False)  # its settings become part of the record
    except ConfigError:
        raise
    except (Exception, SystemExit) as error:  # a method of others may raise anything
        raise ConfigError(f"{name}: {_first_line(error)}") from error
    return plain, method


def _levels(method: Any) -> Iterator[tuple[str, int]]:
    """The fields that hold levels, with each level."""
    for name in LEVELS:
        value = getattr(method, name, 1)
        yield from ((name, level) for level in (value if isinstance(value, tuple) else (value,)))


def _converted(name: str, method: Any, given: Mapping[str, Any]) -> dict[str, Any]:
    """The settings as the method's annotations want them; ConfigError for a word in a number's place."""
    try:
        hints = typing.get_type_hints(type(method))
    except Exception:  # a method of others may have annotations that cannot be resolved: go by the defaults
        hints = {}
    return {
        key: convert_field(f"{name}.{key}", value, hints.get(key, type(getattr(method, key))))
        if hasattr(method, key)
        else value  # build_method lists the fields there are
        for key, value in given.items()
    }


def _walk(name: str, method: Method, schedule: Schedule, config: RunConfig) -> Walk:
    try:
        return walk(method, schedule, config.eta, config.variance == "exact")
    except (Exception, SystemExit) as error:
        kind = "" if isinstance(error, ValueError) else "its chain cannot be walked: "
        raise ConfigError(f"{name}: {kind}{_first_line(error)}") from error


def _first_line(error: BaseException) -> str:
    """Of its message, after its kind where that is not one by which methods refuse a setting."""
    line = (str(error).strip().splitlines() or ["-"])[0]
    return line if isinstance(error, TypeError | ValueError) else f"{type(error).__name__}: {line}"


def _steps(method: Any) -> str:
    if not hasattr(method, "steps"):
        return "-"
    return "paper" if method.steps is None else str(method.steps)


def _settings(preset: Any, method: Any) -> str:
    """JSON of the fields in which the method differs from its preset."""
    usual = dataclasses.asdict(preset)
    changed = {
        name: value
        for name, value in dataclasses.asdict(method).items()
        if value != usual[name] and name != "steps"  # those stand in the label anyway
    }
    return json.dumps(changed, sort_keys=True)
