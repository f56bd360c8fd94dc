"""Keeps where things lay on somebody's machine out of what is published: only the last part of a path is shown."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any

__all__ = ["short_command", "short_config", "short_place", "short_text"]

_DRIVE = re.compile(r"[A-Za-z]:[\\/]|\\\\")
_USERS = re.compile(r"(^|[\\/])(home|users|tmp|root)[\\/]", re.IGNORECASE)
# an absolute path inside a sentence: not within a word, an address (https://) or a closing tag (</p>)
_INSIDE = re.compile(
    r"(?<![\w.~/<\\-])(?:file://)?(?:~[\w.-]*/|/(?![/\s])|[A-Za-z]:[\\/](?!/)|\\\\(?=\w))[^\s'\"`,;:()<>|=]*"
)
_PLACES = ("data_root", "perceptual_weights", "output")
_TABLES = ("checkpoints", "perceptual_weights")  # from names to places


def short_place(value: str) -> str:
    """The last part of a path that is absolute, starts at a home folder or leads through one; else the value.

    A home folder itself becomes '~', as its last part is a person's name.
    """
    text = value.removeprefix("file://")
    windows = bool(_DRIVE.match(text))
    if not (windows or text.startswith(("/", "~")) or ".." in text.split("/") or _USERS.search(text)):
        return value
    path: PurePosixPath | PureWindowsPath = PureWindowsPath(text) if windows else PurePosixPath(text)
    if path.parent.name.lower() in ("home", "users") or (text[0] == "~" and len(path.parts) == 1):
        return "~"
    return path.name or "/"


def short_text(text: str) -> str:
    """A sentence in which every absolute path is reduced to its last part."""

    def short(found: re.Match[str]) -> str:
        whole = found[0].rstrip(".")
        return short_place(whole) + found[0][len(whole) :]

    return _INSIDE.sub(short, text)


def short_command(command: str) -> str:
    """A command line whose arguments and ``option=value`` values are reduced by ``short_place``."""
    try:
        words = shlex.split(command)
    except ValueError:  # not a shell's line: taken as a sentence
        return short_text(command)
    return shlex.join([_argument(word) for word in words])


def _argument(word: str) -> str:
    name, equals, value = word.partition("=")
    short = f"{name}={short_place(value)}" if equals and "/" not in name else short_place(word)
    return short_text(short)  # lists such as a,/b/c


def short_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """A run's configuration with files and folders by their names (data_root, perceptual_weights, checkpoints.*)."""

    def named(name: str, value: Any, place: bool) -> Any:
        if isinstance(value, Mapping):
            return {str(key): named(str(key), entry, name in _TABLES) for key, entry in value.items()}
        if isinstance(value, list | tuple):
            return [named(name, entry, place) for entry in value]
        if not isinstance(value, str):
            return value
        if place or name in _PLACES:
            return PureWindowsPath(value).name or value  # takes '/' and '\\' alike
        return short_text(value)

    return {str(name): named(str(name), value, False) for name, value in config.items()}
