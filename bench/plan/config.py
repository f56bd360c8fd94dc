"""What to run: a TOML file, flags and ``--set`` become one frozen record, and that record names the run.

Nothing heavy is imported here. Names of methods, data sets and so on are checked in ``cells``, where their
registries are imported.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import os
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

__all__ = [
    "ConfigError",
    "RunConfig",
    "canonical",
    "config_hash",
    "digest",
    "load_config",
    "make_config",
    "parse_set",
    "unknown",
]

# Where things lie does not change results: data and weights enter the run's identity by their content.
_PLACES = ("data_root", "perceptual_weights", "checkpoints")


class ConfigError(ValueError):
    """A setting is wrong; the message names it, its value and what is allowed, in one line."""


@dataclass(frozen=True)
class RunConfig:
    """All that determines a run.

    methods : "name" or "name:noise"
    noise : for methods named without one; "default" is each method's own
    backends : "name" or "name:precision"
    precision : for back ends named without one
    steps : network calls of a chain, "paper" for every timestep, None for the method's default
    t_start : start level of every chain, None for the method's default
    limit : at most so many test cases; val_limit : at most so many healthy validation cases
    batch_size : cases in one network call
    eta : stochasticity of a respaced chain's steps, 0 to 1 (1 is ancestral)
    threads : of the network; None is the physical cores available to this process
    n_boot : bootstrap draws for the intervals
    checkpoints : noise -> file, where not the shipped one
    hyperparameters : method -> its fields that differ from their defaults
    """

    methods: tuple[str, ...] = ()
    dataset: str = "phantom"
    data_root: str | None = None
    noise: str = "default"
    backends: tuple[str, ...] = ("torch",)
    precision: tuple[str, ...] = ("fp32",)
    steps: int | str | None = None
    t_start: int | None = None
    limit: int | None = None
    val_limit: int = 16
    batch_size: int = 4
    seed: int = 0
    perceptual: str = "brain-squeeze"
    perceptual_weights: str | None = None
    device: str = "cpu"
    threads: int | None = None
    eta: float = 1.0
    n_boot: int = 1000
    checkpoints: Mapping[str, str] = field(default_factory=dict)
    hyperparameters: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


def unknown(what: str, name: object, choices: Iterable[str]) -> ConfigError:
    """The error for a name that is none of the choices: lists them and suggests the nearest."""
    listed = list(choices)
    near = difflib.get_close_matches(str(name), listed, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return ConfigError(f"unknown {what} {name!r}; {hint}choose from {', '.join(listed)}")


def load_config(path: Path) -> dict[str, Any]:
    """Read a TOML file of settings; a table holds the hyper-parameters of the method that it names."""
    try:
        with open(path, "rb") as file:
            values = tomllib.load(file)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror})") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: is not TOML ({error})") from error
    return {key.replace("-", "_"): value for key, value in values.items()}


def parse_set(text: str) -> tuple[str, Any]:
    """``key=value`` or ``method.key=value``; the value is read as TOML, or as it stands where it is none."""
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise ConfigError(f"--set {text!r} is not key=value, such as seed=1 or thor.t_start=300")
    try:
        parsed = tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        parsed = value.strip()
    head, dot, tail = key.strip().partition(".")
    # method names keep their dashes, keys are identifiers
    return (f"{head}.{tail.replace('-', '_')}" if dot else head.replace("-", "_")), parsed


def make_config(
    file: Mapping[str, Any], flags: Mapping[str, Any], sets: Iterable[tuple[str, Any]] = ()
) -> RunConfig:
    """Merge and check a file's settings, flags (None = not given) and ``--set`` pairs; the later ones win."""
    merged: dict[str, Any] = {}
    tables: dict[str, dict[str, Any]] = {}
    given = [(key, value) for key, value in flags.items() if value is not None]
    for key, value in [*file.items(), *given, *sets]:
        head, dot, tail = key.partition(".")
        if dot:
            tables.setdefault(head, {})[tail] = value
        elif isinstance(value, dict):
            tables.setdefault(key, {}).update(value)
        elif key in _READERS:
            merged[key] = _READERS[key](key, value)
        else:
            raise unknown("setting", key, _READERS)
    checkpoints = {noise: _text("checkpoints", path) for noise, path in tables.pop("checkpoints", {}).items()}
    wrong = sorted(set(tables) & set(_READERS))
    if wrong:
        raise ConfigError(f"{wrong[0]} is a setting and takes a value, not a table")
    return RunConfig(**merged, checkpoints=checkpoints, hyperparameters=tables)


def canonical(config: RunConfig) -> dict[str, Any]:
    """The config as plain JSON values, every setting present."""
    return json.loads(json.dumps(asdict(config), sort_keys=True))


def config_hash(config: RunConfig) -> str:
    """sha256 of the canonical JSON, places of files left out."""
    return digest({key: value for key, value in canonical(config).items() if key not in _PLACES})


def digest(value: Any) -> str:
    """sha256 of a JSON value in canonical form (sorted keys, no spaces)."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _text(key: str, value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ConfigError(f"{key} is {value!r}; a name or path in quotes is needed")
    return value.strip()


def _path(key: str, value: Any) -> str:
    return _text(key, os.fspath(value) if isinstance(value, os.PathLike) else value)


def _names(key: str, value: Any) -> tuple[str, ...]:
    parts = value.split(",") if isinstance(value, str) else value
    if not isinstance(parts, list | tuple) or not parts or not all(isinstance(part, str) for part in parts):
        raise ConfigError(f"{key} is {value!r}; a comma-separated list of names is needed")
    names = tuple(part.strip() for part in parts)
    if not all(names):
        raise ConfigError(f"{key} is {value!r}; one of the names is empty")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ConfigError(f"{key} names {twice[0]!r} twice")
    return names


def _whole(least: int) -> Callable[[str, Any], int]:
    def read(key: str, value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise ConfigError(f"{key} is {value!r}; a whole number from {least} on is needed")
        return value

    return read


def _steps(key: str, value: Any) -> int | str | None:
    if value in ("paper", "default"):
        return "paper" if value == "paper" else None
    if isinstance(value, str) and value.isdecimal():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ConfigError(f"{key} is {value!r}; a whole number from 1 on, 'paper' or 'default' is needed")
    return value


def _fraction(key: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise ConfigError(f"{key} is {value!r}; a number from 0 to 1 is needed")
    return float(value)


_READERS: dict[str, Callable[[str, Any], Any]] = {
    "methods": _names,
    "dataset": _text,
    "data_root": _path,
    "noise": _text,
    "backends": _names,
    "precision": _names,
    "steps": _steps,
    "t_start": _whole(1),
    "limit": _whole(1),
    "val_limit": _whole(0),
    "batch_size": _whole(1),
    "seed": _whole(0),
    "perceptual": _text,
    "perceptual_weights": _path,
    "device": _text,
    "threads": _whole(1),
    "eta": _fraction,
    "n_boot": _whole(1),
}
assert set(_READERS) == {f.name for f in fields(RunConfig)} - {"checkpoints", "hyperparameters"}
