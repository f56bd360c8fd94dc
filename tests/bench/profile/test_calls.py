"""Timed calls by a clock that only fakes move, and rounds in which all take turns."""

from __future__ import annotations

import itertools

import pytest
import torch
from support.cells import make_bench, make_dataset, method_cell
from support.profiled import Clock, Slow

from uadbench.bench.profile.calls import Timed, call_in_turn, call_network, interleave, time_method, turns
from uadbench.bench.run.interrupt import Interrupted

X, T = torch.ones(2, 1, 4, 4), torch.full((2,), 250)


def test_a_call_is_timed_from_idle_to_done_and_its_return_apart() -> None:
    clock = Clock()

    class Queued(Slow):
        """Returns at once; the work is waited for."""

        def denoise(
            self, x_t: torch.Tensor, t: torch.Tensor, cond: torch.Tensor | None = None
        ) -> torch.Tensor:
            self.queued = self.seconds
            self.clock.now += 0.001
            return x_t

        def synchronize(self) -> None:
            self.clock.now += getattr(self, "queued", 0.0)
            self.queued = 0.0

    denoiser = Queued(clock, 0.5)
    denoiser.queued = 3.0  # of somebody else, before
    found = call_network(denoiser, X, T, clocks=clock.clocks)
    assert found.seconds == pytest.approx(0.501)
    assert found.enqueue == pytest.approx(0.001)
    assert found.start == pytest.approx(3.0)
    assert found.device_ms is None


def test_a_method_is_timed_by_stage_by_the_code_of_bench_run() -> None:
    clock, dataset = Clock(), make_dataset()
    samples = [dataset.load(case) for case in dataset.split("test")[:2]]
    found = time_method(method_cell(), Slow(clock, 0.25), samples, make_bench(), clock.clocks)
    assert found.network_calls == pytest.approx([0.25] * 3)
    assert found.seconds == pytest.approx(0.75)
    assert found.stages_ms["network"] == pytest.approx(750)
    assert sum(found.stages_ms.values()) == pytest.approx(750)


def test_every_arm_has_each_place_and_both_neighbours() -> None:
    rounds = [turns("abc", number) for number in range(6)]
    assert all(sorted(order) == list("abc") for order in rounds)
    for place in range(3):
        assert {order[place] for order in rounds} == set("abc")
    followed = {pair for order in rounds for pair in itertools.pairwise(order)}
    assert followed == {(a, b) for a in "abc" for b in "abc" if a != b}


@pytest.mark.parametrize("count", [2, 3, 4, 5, 6])
def test_no_arm_has_two_turns_in_succession_and_from_three_on_none_always_follows_the_same(
    count: int,
) -> None:
    row = [key for number in range(2 * count + 1) for key in turns(range(count), number)]
    followed = set(itertools.pairwise(row))
    assert all(a != b for a, b in followed)
    for arm in range(count):
        assert len({a for a, b in followed if b == arm}) == min(count - 1, 2)


def test_rounds_interleave_and_keep_the_load_before_each() -> None:
    said: list[str] = []

    def call(name: str) -> Timed:
        said.append(name)
        return Timed(0.0, 1.0, 1.0)

    loads = iter([0.5, 1.5])
    taken: dict[str, list[Timed]] = {}
    interleave({n: lambda n=n: call(n) for n in "ab"}, 2, lambda: next(loads), lambda: None, taken, {})
    assert said == ["a", "b", "a", "b"]
    assert [(c.round, c.load) for c in taken["a"]] == [(0, 0.5), (1, 1.5)]


def test_an_arm_that_raises_is_left_out_from_then_on_and_the_others_go_on() -> None:
    counts = {"a": 0, "b": 0}

    def call(name: str) -> Timed:
        counts[name] += 1
        if name == "a" and counts["a"] == 2:
            raise RuntimeError("out of memory\nat line 3")
        return Timed(0.0, 1.0, 1.0)

    taken: dict[str, list[Timed]] = {}
    failed: dict[str, str] = {}
    interleave({n: lambda n=n: call(n) for n in "ab"}, 5, lambda: 0.0, lambda: None, taken, failed)
    assert counts == {"a": 2, "b": 5}
    assert failed == {"a": "RuntimeError: out of memory"}
    assert len(taken["a"]) == 1


def test_what_was_timed_outlives_an_interruption() -> None:
    left = iter([None, None, None, Interrupted()])

    def stop() -> None:
        if (error := next(left)) is not None:
            raise error

    taken: dict[str, list[Timed]] = {}
    with pytest.raises(Interrupted):
        interleave({n: lambda: Timed(0.0, 1.0, 1.0) for n in "ab"}, 9, lambda: 0.0, stop, taken, {})
    assert sum(map(len, taken.values())) == 3


def test_of_two_calls_in_a_turn_the_second_is_timed() -> None:
    clock = Clock()
    slow = Slow(clock, 0.25, first=1.0)
    found = call_in_turn(slow, X, T, clocks=clock.clocks)
    assert (found.seconds, slow.calls) == (0.25, 2)
