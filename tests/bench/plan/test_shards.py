"""Shards: every case is in exactly one, a volume or batch is never divided."""

from __future__ import annotations

import pytest

from uadbench.bench.plan.config import ConfigError
from uadbench.bench.plan.shards import Shard, divide, read_shard
from uadbench.datasets.case import Case


def images(count: int) -> list[Case]:
    return [Case(f"c{i}", f"s{i}", "test", False) for i in range(count)]


def slices(sizes: list[int]) -> list[Case]:
    """Volumes of so many slices, in succession."""
    return [
        Case(f"v{v}-{i}", f"s{v}", "test", True, f"v{v}", i) for v, n in enumerate(sizes) for i in range(n)
    ]


@pytest.mark.parametrize("count", [1, 2, 3, 7, 16])
@pytest.mark.parametrize(
    "cases", [pytest.param(images(50), id="images"), pytest.param(slices([9, 1, 30, 5, 5, 8]), id="volumes")]
)
def test_every_case_is_in_one_shard_in_the_runs_order(cases: list[Case], count: int) -> None:
    shards = divide(cases, 4, count)
    assert len(shards) == count
    assert [case for shard in shards for case in shard] == cases


def test_images_are_divided_by_whole_batches_into_equal_parts() -> None:
    assert [len(shard) for shard in divide(images(64), 4, 4)] == [16] * 4
    assert [len(shard) for shard in divide(images(50), 4, 3)] == [20, 16, 14]
    assert [len(shard) for shard in divide(images(9), 4, 3)] == [4, 4, 1]
    assert [len(shard) for shard in divide(images(6), 4, 3)] == [4, 0, 2]


def test_all_of_a_subject_is_in_one_shard_even_where_its_slices_lie_apart() -> None:
    cases = slices([10, 10, 10])
    mixed = cases[::2] + cases[1::2]
    for shard in divide(mixed, 4, 3):
        assert len({case.subject for case in shard}) == 1
        assert len(shard) == 10
    assert sum(map(len, divide([*images(8), *mixed], 4, 5))) == 38


def test_the_label_is_what_was_typed() -> None:
    assert read_shard("3/16") == Shard(3, 16)
    assert read_shard(" 1/1 ").label == "1/1"


@pytest.mark.parametrize("text", ["", "3", "0/4", "5/4", "1/0", "1/20000", "a/b", "1/2/3", "-1/4", "1.5/4"])
def test_what_is_no_shard_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="K/N is needed"):
        read_shard(text)
