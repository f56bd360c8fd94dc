"""Results on disk as they come: one wait for the disk for all that came in a moment, whatever the rate.

A result that comes ``EVERY_S`` or more after the last commit is on disk before the next is taken. Those that come
sooner wait for the first that does not, or for the end. So what a kill can take are results that came within
``EVERY_S`` after a commit; they are computed again. Arrays are on disk before the lines that speak of them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

from uadbench.bench.run.executors import Evaluated
from uadbench.bench.run.tasks import keep, keep_unread
from uadbench.reports.cell import Together
from uadbench.reports.store import RunDirectory

__all__ = ["EVERY_S", "Keeper", "keeping"]

EVERY_S = 0.1
# Cells that are held open, each with a file and its index in memory: the arms of a variant, and more
OPEN = 32


@dataclass
class Keeper:
    """Keeps what executors yield in ``run``."""

    run: RunDirectory
    stack: ExitStack
    clock: Callable[[], float] = time.monotonic
    _cells: dict[str, Together] = field(default_factory=dict)
    _committed: float = float("-inf")

    def keep(self, evaluated: Evaluated) -> int:
        """Keep what came of a task; returns how many of its missing cases are done with."""
        task, slug = evaluated.task, evaluated.task.cell.slug
        directory = self.run.cell(slug)
        if evaluated.warm_up is not None:
            directory.write_warm_up(evaluated.warm_up)
        if evaluated.warm_up_detail:
            directory.log_error("warm-up", evaluated.warm_up_detail)
        if slug not in self._cells:
            if len(self._cells) == OPEN:
                self.commit()
                self.stack.close()
                self._cells.clear()
            self._cells[slug] = self.stack.enter_context(directory.together())
        results = self._cells[slug]
        for case, reason in evaluated.unread:
            if case.case_id in task.missing:
                keep_unread(results, task, case, reason)
        for outcome in evaluated.outcomes:
            if outcome.sample.case.case_id in task.missing:
                keep(results, task, outcome, evaluated.warm_up is not None)
        if self.clock() - self._committed >= EVERY_S:
            self.commit()
        return len(task.missing)

    def commit(self) -> None:
        """Put all that was kept on disk."""
        self.run.commit_inputs()
        for results in self._cells.values():
            results.commit()
        self._committed = self.clock()


@contextmanager
def keeping(run: RunDirectory) -> Iterator[Keeper]:
    """A keeper; what it keeps is on disk when this ends, also where it ends by an error or a stop."""
    with ExitStack() as stack:
        keeper = Keeper(run, stack)
        try:
            yield keeper
        finally:
            keeper.commit()
