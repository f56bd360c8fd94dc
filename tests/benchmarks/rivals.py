"""Two ways to do the same work, timed in turn in one process."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from time import perf_counter, process_time

import numpy as np

SAMPLE = 0.005  # seconds: what takes less is run several times for one sample


def compare(
    work: str, rival: str, ours: Callable[[], object], theirs: Callable[[], object], rounds: int
) -> dict[str, str]:
    """Time both in turn, print milliseconds a call and the ratio's quartiles, return them.

    The ratio of processor time is what a busy machine changes least; threads gain nothing in it.
    """
    repeats = []
    for side in (ours, theirs):
        side()  # compile, and fill caches
        start = perf_counter()
        side()
        repeats.append(max(1, int(SAMPLE / (perf_counter() - start))))
    seconds, busy = np.empty((rounds, 2)), np.empty((rounds, 2))
    for n in range(rounds):
        for side in (0, 1) if n % 2 == 0 else (1, 0):
            start, used = perf_counter(), process_time()
            for _ in range(repeats[side]):
                (ours, theirs)[side]()
            seconds[n, side] = (perf_counter() - start) / repeats[side]
            busy[n, side] = (process_time() - used) / repeats[side]
    low, middle, high = np.quantile(seconds[:, 1] / seconds[:, 0], (0.25, 0.5, 0.75))
    (own, other), (own_best, other_best) = np.median(seconds, axis=0) * 1e3, seconds.min(axis=0) * 1e3
    processor = np.median(busy[:, 1] / busy[:, 0])
    print(
        f"{work}, {rival}: median {own:.3f} against {other:.3f} ms, best {own_best:.3f} against {other_best:.3f} ms, "
        f"ratio {middle:.2f} (quartiles {low:.2f} to {high:.2f}), of processor time {processor:.2f}"
    )
    figures = {"ours_ms": own, "rival_ms": other, "ratio": middle, "ratio_q1": low, "ratio_q3": high}
    return {"work": work, "rival": rival} | {name: f"{value:.4g}" for name, value in figures.items()}


def write(rows: Sequence[Mapping[str, str]], paths: Iterable[str]) -> None:
    """The comparisons as a table, to each of these files."""
    for path in paths:
        with Path(path).open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
