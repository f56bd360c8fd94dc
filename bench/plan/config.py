"""What to run: a TOML file, flags and ``--set`` become one frozen record, and that record names the run.

Nothing heavy is imported here. Names of methods, data sets and so on are checked in ``grid``, where their
registries are imported.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import os
import re
import tomllib
import typing
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from msgspec import Meta

from uadbench.bench.plan.fields import ConfigError, Text, convert_field, listed, shown
from uadbench.bench.plan.shifts import spell_out
from uadbench.bench.plan.vary import LISTED, varied

__all__ = [
    "ADDITIONS",
    "PLACES",
    "ConfigError",
    "RunConfig",
    "canonical",
    "config_hash",
    "convert_field",
    "digest",
    "load_config",
    "make_config",
    "parse_set",
    "unknown",
]

# Where things lie does not change results: data and weights enter the run's identity by their content.
PLACES = ("data_root", "perceptual_weights", "checkpoints")
# Tables of these hold names of networks and their files, and no method's hyper-parameters.
FILES = ("checkpoints", "perceptual_weights")
# Settings that came later are recorded where they are not at their default, so that older runs keep their identity.
LATER = (
    "post", "component_px", "shift", "shift_limit", "variance", "streams", "cases", "subjects", "split", "vary", "hint",
)  # fmt: skip
# The order of these means nothing, so it is none of the run's identity.
SETS = ("cases", "subjects")
# These add results and change none, so that a run that is there can be given them.
ADDITIONS = ("shift", "shift_limit")

Count = Annotated[int, Meta(ge=1, le=1_000_000)]


@dataclass(frozen=True)
class RunConfig:
    """All that determines a run; the annotations are what ``make_config`` allows.

    methods : "name" or "name:noise"; "all" stands for every one whose network is shipped or given
    noise : for methods named without one; "default" is each method's own
    backends : "name" or "name:precision"
    precision : for back ends named without one
    steps : network calls of a chain, "paper" for every timestep; several give several variants, none the default
    t_start : start level of every chain, None for the method's default
    limit : at most so many test cases; val_limit : at most so many healthy validation cases
    cases, subjects : ids of the test cases, and of the subjects whose test cases, are run; none is all
    mask_rule : which pixels of a resized truth mask are lesion: "half" of the footprint, or "any" as THOR's authors
    batch_size : cases in one network call
    seed : of noise and bootstrap; several give several variants
    perceptual : names of perceptual nets; several give several variants
    perceptual_weights : the file of the run's only perceptual net, or a table: net -> file
    post : post-processing of the maps, "none" for none; several give several variants
    shift : "kind=value" changes of intensity under which healthy test cases are run again; shift_limit : at most so
        many of them
    component_px : after post-processing, components of fewer pixels are no finding at the fitted threshold
    eta : stochasticity of a respaced chain's steps, 0 to 1 (1 is ancestral)
    variance : of an ancestral step, "fixed-small" as published, or "exact", which is measured on healthy slices
    threads : of the network; None is what this process may use
    streams : batches at a time, each with its share of the threads; "auto" measures which number is the fastest
    hint : to back ends that take one: "latency" of a call, or "throughput" of many images
    n_boot : bootstrap draws for the intervals
    split : whose lesion cases are scored, "test" or "val"
    vary : what a sweep varies: a setting, or a method's field -> its values
    checkpoints : network name -> file, where not the shipped one
    hyperparameters : method -> its fields that differ from their defaults
    """

    methods: tuple[Text, ...] = ()
    dataset: Text = "phantom"
    data_root: Text | None = None
    noise: Text = "default"
    backends: tuple[Text, ...] = ("torch",)
    precision: tuple[Text, ...] = ("fp32",)
    steps: tuple[Annotated[int, Meta(ge=1, le=1000)] | Literal["paper"], ...] = ()
    t_start: Count | None = None
    limit: Count | None = None
    cases: tuple[Text, ...] = ()
    subjects: tuple[Text, ...] = ()
    val_limit: Annotated[int, Meta(ge=0, le=1_000_000)] = 16
    mask_rule: Literal["half", "any"] = "half"
    batch_size: Annotated[int, Meta(ge=1, le=4096)] = 4
    seed: tuple[Annotated[int, Meta(ge=0, le=2**63 - 1)], ...] = (0,)
    perceptual: tuple[Text, ...] = ("brain-squeeze",)
    perceptual_weights: Text | Mapping[str, str] | None = None
    post: tuple[Text, ...] = ("none",)
    component_px: Count = 7
    shift: tuple[Text, ...] = ()
    shift_limit: Count = 24
    device: Text = "cpu"
    threads: Annotated[int, Meta(ge=1, le=1024)] | None = None
    streams: Annotated[int, Meta(ge=1, le=1024)] | Literal["auto"] = 1
    hint: Literal["latency", "throughput"] = "latency"
    eta: Annotated[float, Meta(ge=0, le=1)] = 1.0
    variance: Literal["fixed-small", "exact"] = "fixed-small"
    n_boot: Annotated[int, Meta(ge=1, le=100_000)] = 1000
    split: Literal["test", "val"] = "test"
    vary: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    checkpoints: Mapping[str, str] = field(default_factory=dict)
    hyperparameters: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


_HINTS = typing.get_type_hints(RunConfig, include_extras=True)
_TABLES = ("checkpoints", "vary")  # settings that are tables
_SETTINGS = {key: hint for key, hint in _HINTS.items() if key not in (*_TABLES, "hyperparameters")}
_SETTINGS["perceptual_weights"] = Text | None  # as a value; a table is taken apart by `_files`


def unknown(what: str, name: object, choices: Iterable[str]) -> ConfigError:
    """The error for a name that is none of the choices: lists them and suggests the nearest."""
    names = list(choices)
    near = difflib.get_close_matches(str(name), names, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return ConfigError(f"unknown {what} {shown(name)}; {hint}choose from {listed(names)}")


def load_config(path: Path) -> dict[str, Any]:
    """Read a TOML file of settings; a table holds the hyper-parameters of the method that it names."""
    try:
        values = _toml(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise ConfigError(f"{path}: is not TOML ({error})") from error
    return dict(_spelled(key, value) for key, value in values.items())


def parse_set(text: str) -> tuple[str, Any]:
    """``key=value`` or ``method.key=value``; the value is read as TOML, or as it stands where it is none."""
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise ConfigError(f"--set {shown(text)} is not key=value, such as n_boot=100 or thor.t_start=300")
    try:
        parsed = _toml(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        parsed = value.strip()
    except ValueError as error:
        raise ConfigError(f"--set {key.strip()}: {error}") from error
    head, dot, tail = key.strip().partition(".")
    if not dot:
        return head.replace("-", "_"), parsed
    ((field_name, _),) = _spelled(head, {tail: parsed})[1].items()
    return f"{head}.{field_name}", parsed


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
        elif key in _TABLES:
            such = {"checkpoints": "checkpoints.unet-gaussian=FILE", "vary": "vary.t_start=[100, 200]"}
            raise ConfigError(f"{key} is {shown(value)}; a table is needed, such as {such[key]}")
        elif key in _SETTINGS:
            merged[key] = _setting(key, value)
        else:
            raise unknown("setting", key, _SETTINGS)
    checkpoints = _files("checkpoints", tables.pop("checkpoints", {}))
    if given_files := tables.pop("perceptual_weights", None):
        if merged.get("perceptual_weights"):
            raise ConfigError("perceptual_weights is given as one file and as a table; give one of them")
        merged["perceptual_weights"] = _files("perceptual_weights", given_files)
    vary = varied(tables.pop("vary", {}))
    for key in (key for key in LISTED if key in vary):
        if key in merged:
            raise ConfigError(f"{key} is both given and varied; do one of the two")
        merged[key] = _setting(key, list(vary[key]))
    wrong = sorted(set(tables) & set(_SETTINGS))
    if wrong:
        raise ConfigError(f"{wrong[0]} is a setting and takes a value, not a table")
    return RunConfig(**merged, vary=vary, checkpoints=checkpoints, hyperparameters=tables)


def _files(key: str, table: Mapping[str, Any]) -> dict[str, str]:
    """A table from names of networks to their files, checked."""
    return {
        convert_field("the name of a network", name, Text): convert_field(f"{key}.{name}", _plain(path), Text)
        for name, path in table.items()
    }


def canonical(config: RunConfig) -> dict[str, Any]:
    """The config as plain JSON values; every setting is present but those of ``LATER`` that are at their default."""
    usual = RunConfig()
    unused = {key for key in LATER if getattr(config, key) == getattr(usual, key)}
    values = {key: value for key, value in asdict(config).items() if key not in unused}
    return json.loads(json.dumps(values, sort_keys=True))


def config_hash(config: RunConfig) -> str:
    """sha256 of the canonical JSON, places of files and additions left out."""
    left_out = (*PLACES, *ADDITIONS)
    return digest({key: value for key, value in canonical(config).items() if key not in left_out})


def digest(value: Any) -> str:
    """sha256 of a JSON value in canonical form (sorted keys, no spaces)."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _toml(text: str) -> dict[str, Any]:
    """Read TOML; raises ValueError, and TOMLDecodeError is one, on what it cannot hold."""
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise ValueError("its lists or tables are nested too deep") from None
    except tomllib.TOMLDecodeError:
        raise
    except ValueError:  # the interpreter's own limit on digits
        raise ValueError("it holds a number of more than 4300 digits") from None


def _spelled(key: str, value: Any) -> tuple[str, Any]:
    """Settings and fields are identifiers, whose dashes become underscores; methods and networks keep theirs."""
    if not isinstance(value, dict):
        return key.replace("-", "_"), value
    if key in FILES:
        return key, value
    return key, {name.replace("-", "_"): inner for name, inner in value.items()}


def _setting(key: str, value: Any) -> Any:
    """One setting, checked; a setting of several values takes one, a list, or a text with commas."""
    hint, value = _SETTINGS[key], _plain(value)
    if key == "streams":
        value = _number(value)
    if typing.get_origin(hint) is not tuple:
        return convert_field(key, value, hint)
    if key == "steps" and value in ("default", [], ()):
        return ()
    if key == "shift":
        given = value if isinstance(value, list | tuple) else [value]
        value = spell_out(",".join(map(str, given)).split(","))
    element = typing.get_args(hint)[0]
    parts = value.split(",") if isinstance(value, str) else value
    parts = list(parts) if isinstance(parts, list | tuple) else [parts]
    if not parts or any(isinstance(part, str) and not part.strip() for part in parts):
        raise ConfigError(f"{key} is {shown(value)}; one of the names is empty")
    found = tuple(
        convert_field(key, _number(part) if key in _NUMBERS else _plain(part), element) for part in parts
    )
    twice = [part for part in found if found.count(part) > 1]
    if twice:
        raise ConfigError(f"{key} names {twice[0]!r} twice")
    return tuple(sorted(found)) if key in SETS else found


_NUMBERS = ("steps", "seed")


def _plain(value: Any) -> Any:
    """A path as text, a text without blanks around it."""
    value = os.fspath(value) if isinstance(value, os.PathLike) else value
    return value.strip(" ") if isinstance(value, str) else value


def _number(part: Any) -> Any:
    """A part of a text with commas, as the whole number that it spells, if it spells one."""
    part = _plain(part)
    return int(part) if isinstance(part, str) and re.fullmatch(r"-?[0-9]{1,30}", part) else part
