"""The progress bar: to stderr, with case rate and time left, silent without a terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as Bar
from rich.text import Text

from uadbench.bench.run.run import Progress

__all__ = ["progress_bar"]


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(f"{task.speed:.2f} cases/s" if task.speed else "- cases/s")


@contextmanager
def progress_bar(silent: bool) -> Iterator[Callable[[int, int], Progress]]:
    """Yields (all cases, cases done already) -> what is told of each result."""
    if silent or not sys.stderr.isatty():
        yield lambda total, done: lambda slug, cases: None
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        _Rate(),
        TimeRemainingColumn(),
    )
    with Bar(*columns, console=Console(stderr=True), speed_estimate_period=120) as bar:

        def begin(total: int, done: int) -> Progress:
            task = bar.add_task("opening", total=total, completed=done)
            return lambda slug, cases: bar.update(task, advance=cases, description=slug)

        yield begin
