"""``--shard 3/16``: which cases of a run one of several processes computes, the same on every machine.

What is kept together is a batch of the run, so that no network call is made twice; of slices that know their volume it
is all that there is of their subject, so that a volume is opened by one shard alone. These groups stay in the order of
their first cases and are dealt out in succession, so that each shard has about as many cases. Batches are those of
the whole run in any case: a shard that has only part of one computes all of it and keeps its part, so that each result
is the same to the byte.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from uadbench.bench.plan.fields import ConfigError, shown
from uadbench.datasets.case import Case

__all__ = ["MOST", "Shard", "divide", "read_shard"]

MOST = 10_000


@dataclass(frozen=True)
class Shard:
    """One part of a run; ``index`` counts from 1 to ``count``."""

    index: int
    count: int

    @property
    def label(self) -> str:
        """'3/16'."""
        return f"{self.index}/{self.count}"


def read_shard(text: str) -> Shard:
    """'3/16'; ConfigError for what is none."""
    found = re.fullmatch(r"([0-9]{1,6})/([0-9]{1,6})", text.strip())
    index, count = map(int, found.groups()) if found else (0, 0)
    if not 1 <= index <= count <= MOST:
        raise ConfigError(
            f"shard is {shown(text)}; K/N is needed, K from 1 to N and N up to {MOST}, such as 3/16"
        )
    return Shard(index, count)


def divide(cases: Sequence[Case], batch_size: int, count: int) -> list[tuple[Case, ...]]:
    """The cases of each of ``count`` shards, in the run's order; a shard has none where there are too few groups.

    cases : all of the run, in its order
    """
    groups: dict[tuple[str, object], list[Case]] = {}
    for place, case in enumerate(cases):
        key = ("subject", case.subject) if case.volume else ("batch", place // batch_size)
        groups.setdefault(key, []).append(case)
    taken, shard_of = 0, dict[str, int]()
    for members in groups.values():
        # the shard in whose span of cases the group begins
        shard_of |= dict.fromkeys((case.case_id for case in members), taken * count // len(cases))
        taken += len(members)
    return [tuple(case for case in cases if shard_of[case.case_id] == index) for index in range(count)]
