"""Stopping a run by SIGINT or SIGTERM without losing what is done."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

__all__ = ["Interrupted", "ignore_signals", "stop_on_signal"]


class Interrupted(KeyboardInterrupt):
    """The user asked to stop; raised between two network calls, never while a result is being written."""


def ignore_signals() -> None:
    """Ignore SIGINT and SIGTERM from here on: the process says its last line and ends, and one more cannot hurry it."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


@contextmanager
def stop_on_signal() -> Iterator[Callable[[], None]]:
    """Yields a function that raises Interrupted once SIGINT or SIGTERM has come.

    It is called at safe points only, so writing is never cut short; a second signal stops at once, and those after it
    change nothing.
    """
    asked: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        asked.append(number)
        if len(asked) == 2:
            raise Interrupted

    def stop() -> None:
        if asked:
            raise Interrupted

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
