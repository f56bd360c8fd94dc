"""What other packages bring by entry points: found, loaded, looked at, the same for all that has a name.

Who keeps a registry says what is taken and what is wrong with a value; nothing is registered here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Container
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import Any

__all__ = ["NAME", "PLAIN", "Plugin", "first_line", "load_plugins", "needed"]

NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")
PLAIN = re.compile(r"[a-z0-9][a-z0-9_]{0,63}")


@dataclass(frozen=True)
class Plugin:
    """Something by name from another package. package : 'my-package 1.0'; fault : why it cannot be used, "" if it can

    value : what its entry point names; None where there is a fault
    """

    kind: str
    name: str
    package: str
    value: Any = None
    fault: str = ""


def load_plugins(
    group: str,
    kind: str,
    taken: Container[str],
    wrong: Callable[[str, Any], str],
    pattern: re.Pattern[str] = NAME,
) -> tuple[Plugin, ...]:
    """All of an entry-point group, in its order.

    kind : what each is, in words
    taken : our own names, which nobody takes the place of
    wrong : (name, value) -> why nothing can be done with a value, "" where it is sound
    pattern : of names
    """
    found: dict[str, Plugin] = {}
    for index, point in enumerate(entry_points(group=group)):
        package = f"{point.dist.name} {point.dist.version}" if point.dist else point.module
        value, fault = None, _name_fault(point.name, kind, taken, found, pattern)
        if not fault:
            value, fault = _loaded(point, wrong)
        key = point.name if point.name not in found else f"{point.name} ({index})"
        found[key] = Plugin(kind, point.name, package, None if fault else value, fault)
    return tuple(found.values())


def _name_fault(
    name: str, kind: str, taken: Container[str], found: Container[str], pattern: re.Pattern[str]
) -> str:
    if not pattern.fullmatch(name):
        sign = "-" if pattern is NAME else "_"
        return f"the name {name[:80]!r} is not allowed; use small letters, digits and {sign!r}"
    if name in taken:
        return f"the name is that of a {kind} of uadbench itself; use another"
    return "another package has the name already; one of them must use another" if name in found else ""


def _loaded(point: EntryPoint, wrong: Callable[[str, Any], str]) -> tuple[Any, str]:
    """(value, "") or (whatever, fault)."""
    try:
        value = point.load()
        fault = wrong(point.name, value)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # a package of others may raise anything, SystemExit included
        return None, f"{point.value} cannot be imported: {type(error).__name__}: {first_line(error)}"
    return value, f"{point.value}{fault}" if fault else ""


def needed(value: Any, what: str) -> str:
    """The fault of a value of another type than is needed, as ``wrong`` gives it."""
    return f" is a {type(value).__name__}; a {what} is needed"


def first_line(error: BaseException) -> str:
    """Of its message, '-' where it has none."""
    return (str(error).strip().splitlines() or ["-"])[0]
