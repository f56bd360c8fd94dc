"""What other packages add by entry points beside methods: put into the registries, once a process.

An entry point does by itself what a line such as ``DATASETS["mine"] = open_mine`` does. A registry is imported only
where some package adds to it, so nothing heavy is imported without need. What cannot be used is left out, and named.
"""

from __future__ import annotations

import inspect
import math
import sys
from collections.abc import Callable, Iterator, MutableMapping
from dataclasses import dataclass, is_dataclass
from functools import cache, wraps
from importlib.metadata import entry_points
from typing import Any

from uadbench.engine.plugins import NAME, PLAIN, Plugin, first_line, load_plugins, needed

__all__ = ["GROUPS", "connect", "faults", "sources"]


@dataclass(frozen=True)
class _Registry:
    """Where values of a kind go. wrong : see ``load_plugins``; add : (name, value) -> None"""

    names: MutableMapping[str, Any]
    wrong: Callable[[str, Any], str]
    add: Callable[[str, Any], None]


def _datasets() -> _Registry:
    from uadbench.datasets import DATASETS

    def wrong(name: str, value: Any) -> str:
        if not callable(value):
            return needed(value, "function (root, seed, limit, params) -> Dataset")
        try:
            inspect.signature(value).bind(None, 0, None, params=None)
        except TypeError as error:
            return f": cannot be called with (root, seed, limit, params=): {first_line(error)}"
        return ""

    def add(name: str, value: Any) -> None:
        DATASETS[name] = _checked_opener(name, value)

    return _Registry(DATASETS, wrong, add)


def _checked_opener(name: str, opened: Callable[..., Any]) -> Any:
    """The opener, whose faults are CaseErrors of one line."""
    from uadbench.datasets.case import CaseError, Dataset

    @wraps(opened)
    def opener(*args: Any, **kwargs: Any) -> Any:
        try:
            found = opened(*args, **kwargs)
        except CaseError:
            raise
        except (Exception, SystemExit) as error:  # a package of others may raise anything
            raise CaseError(
                f"data set {name} cannot be opened: {type(error).__name__}: {first_line(error)}"
            ) from error
        if not isinstance(found, Dataset):
            raise CaseError(f"data set {name} opens as a {type(found).__name__}; a Dataset is needed")
        ids = [case.case_id for case in found.cases]
        if len(set(ids)) < len(ids):
            twice = next(case_id for case_id in ids if ids.count(case_id) > 1)
            raise CaseError(f"data set {name} has case {twice} twice; each case needs an id of its own")
        return found

    return opener


def _networks() -> _Registry:
    from torch import nn

    from uadbench.engine.networks import NETWORKS, NetworkKind

    def wrong(name: str, value: Any) -> str:
        if not isinstance(value, NetworkKind):
            return needed(value, "uadbench.engine.networks.NetworkKind")
        if not (isinstance(value.config, type) and is_dataclass(value.config)):
            return f": config is {value.config!r}; a frozen dataclass is needed"
        if not (isinstance(value.module, type) and issubclass(value.module, nn.Module)):
            return f": module is {value.module!r}; a torch.nn.Module is needed"
        return ""

    return _Registry(NETWORKS, wrong, NETWORKS.__setitem__)


def _backends() -> _Registry:
    from uadbench.engine.backends import BACKENDS, OURS, PRECISIONS, Backend

    def wrong(name: str, value: Any) -> str:
        if not isinstance(value, Backend):
            return needed(value, "uadbench.engine.backends.Backend")
        if value.package == OURS:
            return ": package is uadbench's own; name yours, or '' where the module is no package's"
        if value.source not in ("checkpoint", "onnx"):
            return f": source is {value.source!r}; 'checkpoint' or 'onnx' is needed"
        for device, precisions in value.precisions.items():
            if device not in ("cpu", "cuda") or not set(precisions) <= set(PRECISIONS):
                return f": has {precisions} on {device!r}; some of {', '.join(PRECISIONS)} on cpu or cuda are needed"
        return ""

    return _Registry(BACKENDS, wrong, BACKENDS.__setitem__)


def _measures() -> _Registry:
    from uadbench.bench.score.scorers import SCORERS
    from uadbench.reports.vocabulary import MEASURES, Measure

    def wrong(name: str, value: Any) -> str:
        if not (isinstance(value, tuple) and len(value) == 2):
            return needed(value, "pair (Measure, function of a Sample)")
        if not isinstance(value[0], Measure) or not callable(value[1]):
            kinds = " and ".join(type(part).__name__ for part in value)
            return f" is a pair of {kinds}; (Measure, function) is needed"
        return "" if value[0].name == name else f": its Measure is named {value[0].name!r}, not {name!r}"

    def add(name: str, value: Any) -> None:
        MEASURES[name] = value[0]
        SCORERS[name] = _checked_scorer(name, value[1])

    return _Registry(MEASURES, wrong, add)


def _checked_scorer(name: str, scorer: Callable[[Any], Any]) -> Any:
    """The scorer; where it raises or gives what is no score there is no score, which is said once."""
    from uadbench.bench.score.sample import Score

    said: set[str] = set()

    def checked(sample: Any) -> Score:
        try:
            found = scorer(sample)
            if not isinstance(found, Score):
                raise TypeError(f"it gave a {type(found).__name__}; a Score is needed")
            if found.value is not None and not math.isfinite(found.value):
                raise ValueError(f"it gave {found.value}; a finite number, or None, is needed")
            if found.samples is not None and found.samples.shape != (len(sample.w_lesion),):
                raise ValueError(f"its samples are {found.samples.shape}; one a resample is needed")
            found.entry  # noqa: B018  its interval, which may fail, too
        except Exception as error:  # a package of others may raise anything
            line = f"{type(error).__name__}: {first_line(error)}"
            if line not in said:
                print(f"warning: measure {name} gives no score: {line}", file=sys.stderr)
            said.add(line)
            return Score()
        return found

    return checked


def _posts() -> _Registry:
    from uadbench.engine.post import POSTS, Post

    def wrong(name: str, value: Any) -> str:
        if not isinstance(value, Post):
            return needed(value, "uadbench.engine.post.Post")
        return "" if name != "none" else ": 'none' is what leaves maps as they are; use another name"

    return _Registry(POSTS, wrong, POSTS.__setitem__)


GROUPS: dict[str, tuple[str, Callable[[], _Registry]]] = {
    "uadbench.datasets": ("data set", _datasets),
    "uadbench.networks": ("network", _networks),
    "uadbench.backends": ("back end", _backends),
    "uadbench.measures": ("measure", _measures),
    "uadbench.posts": ("post-processing", _posts),
}
"""Entry-point group -> the kind in words, and its registry; methods have theirs in ``engine.methods``."""


@cache
def connect() -> tuple[Plugin, ...]:
    """Add what other packages bring to the registries, and say what was found; the second call changes nothing."""
    return tuple(_connected())


def _connected() -> Iterator[Plugin]:
    there = entry_points().groups
    for group, (kind, registry_of) in GROUPS.items():
        if group not in there:
            continue
        registry = registry_of()
        pattern = PLAIN if kind == "measure" else NAME
        for plugin in load_plugins(group, kind, frozenset(registry.names), registry.wrong, pattern):
            if not plugin.fault:
                registry.add(plugin.name, plugin.value)
            yield plugin


def _all() -> Iterator[Plugin]:
    from uadbench.engine.methods import method_plugins

    yield from method_plugins()
    yield from connect()


def faults() -> list[Plugin]:
    """Those of other packages that cannot be used, of every kind."""
    return [plugin for plugin in _all() if plugin.fault]


def sources() -> dict[tuple[str, str], str]:
    """(kind, name) -> the package that it comes from; what is ours is not there."""
    return {(plugin.kind, plugin.name): plugin.package for plugin in _all() if not plugin.fault}
