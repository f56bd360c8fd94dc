"""A value held against its annotated type, and what is wrong with it in words."""

from __future__ import annotations

import math
import typing
from collections.abc import Sequence
from types import NoneType, UnionType
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

__all__ = ["ConfigError", "Text", "convert_field", "listed", "shown"]

# Names and paths end up in messages, manifests and file names: no control characters, nothing that is not Unicode.
Text = Annotated[str, Meta(pattern=r"\A[^\x00-\x1f\x7f\ud800-\udfff]{1,4096}\Z")]


MOST_LISTED = 20


def listed(choices: Sequence[str]) -> str:
    """Names to choose from, the first of many only, so that a message stays a line."""
    left = len(choices) - MOST_LISTED
    return ", ".join(choices) if left <= 0 else f"{', '.join(choices[:MOST_LISTED])} and {left} more"


class ConfigError(ValueError):
    """A setting is wrong; the message names it, its value and what is allowed, in one line."""


def convert_field(name: str, value: Any, hint: Any) -> Any:
    """The value as its annotated type: a list as a tuple, a whole number as a number where that is the type.

    hint : a type as ``typing.get_type_hints`` gives it; ranges by ``Annotated[int, msgspec.Meta(ge=1)]``
    Raises ConfigError where it does not fit, with what is needed in words; NaN and infinity never fit.
    """
    try:
        if not _finite(value):
            raise ValueError
        return msgspec.convert(value, hint)
    except ValueError as error:
        if value == "none" and NoneType in typing.get_args(hint):  # TOML has no word for it
            return None
        raise ConfigError(f"{name} is {shown(value)}; {_words(hint)} is needed") from error
    except TypeError as error:
        raise ConfigError(f"{name} cannot be set: its type {hint} cannot be checked") from error


def _finite(value: Any) -> bool:
    """Whether all numbers in a value are finite and no whole one is longer than 64 bits."""
    if isinstance(value, list | tuple):
        return all(_finite(part) for part in value)
    if isinstance(value, dict):
        return all(_finite(part) for part in value.values())
    if isinstance(value, int):
        return -(2**63) <= value < 2**63
    return not isinstance(value, float) or math.isfinite(value)


def shown(value: Any) -> str:
    """A value as a message shows it, short enough for a line."""
    if isinstance(value, int) and value.bit_length() > 128:
        return f"a number of about {round(value.bit_length() * math.log10(2))} digits"
    try:
        text = repr(value)
    except ValueError:  # such a number is somewhere inside
        return "a value with a number of more than 4300 digits"
    return text if len(text) <= 100 else f"{text[:80]}... ({len(text)} characters)"


_NEEDED: dict[Any, str] = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "a text",
    NoneType: "none",
}


def _words(hint: Any) -> str:
    """An annotated type in words, with its range."""
    origin, inner = typing.get_origin(hint), [kind for kind in typing.get_args(hint) if kind is not Ellipsis]
    if hint == Text:
        return "a text of 1 to 4096 characters, none of them a control character,"
    if origin is Annotated:
        return _words(inner[0]) + "".join(_range(mark) for mark in inner[1:] if isinstance(mark, Meta))
    if origin is Literal:
        return " or ".join(repr(value) for value in inner)
    if origin in (typing.Union, UnionType):
        return " or ".join(_words(kind) for kind in inner)
    if origin in (tuple, list):
        return f"a list, each of it {' or '.join(dict.fromkeys(_words(kind) for kind in inner))},"
    return _NEEDED.get(hint, f"a {getattr(hint, '__name__', hint)}")


def _range(mark: Meta) -> str:
    """ " from 1 to 4", " from 1 on", " above 0", " up to 9", or nothing."""
    if mark.ge is not None:
        return f" from {mark.ge}" + (" on" if mark.le is None else f" to {mark.le}")
    if mark.gt is not None:
        return f" above {mark.gt}" + ("" if mark.le is None else f" to {mark.le}")
    return "" if mark.le is None else f" up to {mark.le}"
