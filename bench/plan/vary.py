"""What a sweep varies: settings with several values each, whose product are its variants."""

from __future__ import annotations

import dataclasses
import json
import math
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import product
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from uadbench.bench.plan.fields import ConfigError, shown

if TYPE_CHECKING:
    from uadbench.bench.plan.config import RunConfig
    from uadbench.bench.plan.weights import NetworkFile
    from uadbench.engine.methods import MethodInfo
    from uadbench.reports.identity import Variant

__all__ = [
    "LISTED",
    "Vary",
    "check_vary",
    "count_variants",
    "fields_of",
    "parse_vary",
    "points",
    "swept",
    "varied",
    "varied_fields",
]

Vary = Mapping[str, tuple[Any, ...]]
"""Name -> its values: of a setting, of a method's field ("t_start", or "thor.t_start" for one method alone)."""

CHECKPOINT = "checkpoint"  # varies the file of a method's network
LISTED = ("steps", "perceptual", "post", "seed")  # settings of which a run may have several anyway


def parse_vary(text: str) -> tuple[str, list[Any]]:
    """``NAME=V,V`` -> (name, values), each read as TOML, or as it stands where it is none; lists as [3,2],[2,1]."""
    name, equals, values = text.partition("=")
    if not equals or not name.strip() or not values.strip():
        raise ConfigError(f"--vary {shown(text)} is not NAME=VALUE,VALUE, such as t_start=100,200")
    try:
        found = _toml(f"[{values}]")
    except tomllib.TOMLDecodeError:
        found = [_read(part) for part in values.split(",")]
    head, dot, tail = name.strip().partition(".")
    return f"{head}.{tail.replace('-', '_')}" if dot else head.replace("-", "_"), found


def _read(part: str) -> Any:
    try:
        return _toml(part)
    except tomllib.TOMLDecodeError:
        return part.strip()


def _toml(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        raise
    except (ValueError, RecursionError) as error:  # a number of thousands of digits, lists nested too deep
        raise ConfigError(f"--vary: {shown(text)} cannot be read") from error


def varied(table: Mapping[str, Any]) -> dict[str, tuple[Any, ...]]:
    """A table from names to values, or to a table of a method's fields, as ``Vary``; ConfigError where it is none."""
    flat: dict[str, Any] = {}
    for name, values in table.items():
        inner = values if isinstance(values, Mapping) else {"": values}
        flat |= {f"{name}.{field}" if field else name: found for field, found in inner.items()}
    return {name: _values(name, values) for name, values in flat.items()}


def _values(name: str, values: Any) -> tuple[Any, ...]:
    found = values if isinstance(values, list | tuple) else [values]
    if not found or any(value == "" for value in found):
        raise ConfigError(f"vary.{name} is {shown(values)}; one value or more is needed, none of them empty")
    if any(isinstance(value, Mapping) for value in found):
        raise ConfigError(f"vary.{name} is {shown(values)}; values are needed, no tables")
    try:
        spelled = [json.dumps(value, allow_nan=False) for value in found]
    except (TypeError, ValueError):
        raise ConfigError(
            f"vary.{name} is {shown(values)}; numbers, texts or lists of them are needed"
        ) from None
    if twice := [text for text in spelled if spelled.count(text) > 1]:
        raise ConfigError(f"vary.{name} names {twice[0]} twice")
    return tuple(found)


def count_variants(vary: Vary, methods: int) -> int:
    """Variants that a sweep asks for at most: the product of its values for each method."""
    return methods * math.prod(len(values) for values in vary.values())


def fields_of(info: MethodInfo, noise: str) -> tuple[str, ...]:
    """A method's hyper-parameters; () where it cannot be built, which is found out when it is."""
    try:
        return tuple(field.name for field in dataclasses.fields(info.preset(noise)))  # type: ignore[arg-type]
    except (Exception, SystemExit):  # a method of others may raise anything
        return ()


def check_vary(config: RunConfig, methods: Mapping[str, Iterable[str]]) -> None:
    """ConfigError where a name is no field of any swept method, or one that is given besides.

    methods : name -> its fields
    """
    every = sorted({field for fields in methods.values() for field in fields})
    for name in config.vary:
        head, dot, field = name.rpartition(".")
        if name in ("noise", CHECKPOINT, *LISTED):
            continue
        if dot and head not in methods:
            raise ConfigError(
                f"vary.{name}: {head} is not among the methods swept, which are {', '.join(methods)}"
            )
        if field not in (methods[head] if dot else every):
            of = head if dot else ", ".join(methods)
            allowed = sorted(methods[head]) if dot else sorted({*every, "noise", CHECKPOINT, *LISTED})
            raise ConfigError(
                f"unknown field {shown(field)} to vary of {of}; choose from {', '.join(allowed)}"
            )
        given = config.hyperparameters.items()
        if (field == "t_start" and config.t_start is not None) or any(
            field in table and (not dot or method == head) for method, table in given
        ):
            raise ConfigError(f"{field} is both given and varied; do one of the two")


def points(
    config: RunConfig, name: str, fields: Iterable[str], networks: Mapping[str, str]
) -> Iterator[tuple[RunConfig, str]]:
    """The configuration for each combination of what is varied of a method; once where nothing is.

    fields : of the method ``name``; what others alone have is passed over
    networks : role -> network, of which ``checkpoint`` varies the denoiser's
    Besides: the name of the checkpoint where that is varied, else ""
    """
    own = varied_fields(config.vary, name, fields)
    table = config.hyperparameters.get(name, {})
    files = config.vary.get(CHECKPOINT, ()) if networks else ()
    for values in product(*own.values()):
        changed = {**table, **dict(zip(own, values, strict=True))}
        point = replace(config, hyperparameters={**config.hyperparameters, name: changed}) if own else config
        if not files:
            yield point, ""
        for file, weights in zip(files, _stems(files), strict=bool(files)):
            yield replace(point, checkpoints={**config.checkpoints, networks["denoiser"]: file}), weights


def _stems(files: Iterable[Any]) -> list[str]:
    """What variants of several checkpoints are told apart by: the files' names without their endings."""
    wrong = [file for file in files if not isinstance(file, str)]
    if wrong:
        raise ConfigError(f"{CHECKPOINT} is {shown(wrong[0])}; the names of files are needed")
    stems = [PurePath(file).stem for file in files]
    if twice := [stem for stem in stems if stems.count(stem) > 1]:
        raise ConfigError(f"two checkpoints are called {shown(twice[0])}; give the files names of their own")
    return stems


def swept(
    vary: Vary, variant: Variant, method: Any, networks: Mapping[str, NetworkFile], weights: str
) -> dict[str, Any]:
    """What of a cell is other in a sweep: ``varied``; with several checkpoints also variant and networks, by name.

    weights : of ``points``
    """
    found = told(vary, variant, method)
    if not weights:
        return {"varied": found}
    settings = json.dumps({**json.loads(variant.settings), CHECKPOINT: weights}, sort_keys=True)
    return {
        "varied": {**found, CHECKPOINT: weights},
        "variant": replace(variant, settings=settings),
        "networks": {role: replace(file, name=f"{file.name}@{weights}") for role, file in networks.items()},
    }


def varied_fields(vary: Vary, name: str, fields: Iterable[str]) -> dict[str, tuple[Any, ...]]:
    """Field of the method -> its values; "thor.t_start" wins over "t_start"."""
    own = {field: vary[field] for field in fields if field in vary and field not in LISTED}
    return own | {field: vary[f"{name}.{field}"] for field in fields if f"{name}.{field}" in vary}


def told(vary: Vary, variant: Variant, method: Any) -> dict[str, Any]:
    """Name -> value of what is varied, as one variant has it; what means nothing to it is left out."""
    own = varied_fields(vary, variant.method, [field.name for field in dataclasses.fields(method)])
    settings = {name: getattr(variant, name) for name in ("noise", *LISTED) if name in vary}
    without = {"noise": "none", "steps": "-", "perceptual": ""}  # of a method that has no such thing
    found = {name: value for name, value in settings.items() if value != without.get(name)}
    return found | {field: getattr(method, field) for field in own}
