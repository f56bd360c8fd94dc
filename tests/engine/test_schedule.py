"""The schedule and its chains."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from uadbench.engine.schedule import LINEAR, Schedule, linear_schedule, schedule_from


def test_abar_is_the_running_product_and_starts_at_one() -> None:
    schedule = linear_schedule()
    betas = np.linspace(1e-4, 0.02, 1000)
    assert schedule.length == 1000
    assert schedule.abar[0] == 1.0
    np.testing.assert_allclose(schedule.abar[1:], np.cumprod(1 - betas), rtol=1e-12)


def test_the_paper_chain_visits_every_level_down_to_the_clean_image() -> None:
    pairs = linear_schedule().pairs(350)
    assert pairs == [(t, t - 1) for t in range(350, 0, -1)]


@pytest.mark.parametrize("steps", [5, 8, 25, 50, 349, 350])
def test_a_respaced_chain_has_the_asked_number_of_steps_and_visits_the_required_levels(steps: int) -> None:
    required = (300, 150, 50)
    pairs = linear_schedule().pairs(350, steps, required)
    levels = [t for t, _ in pairs]
    assert len(pairs) == steps
    assert levels[0] == 350
    assert pairs[-1][1] == 0
    assert set(required) <= set(levels)
    assert [t_prev for _, t_prev in pairs[:-1]] == levels[1:]
    assert all(a > b for a, b in pairs)


def test_levels_above_the_start_are_left_out() -> None:
    assert linear_schedule().pairs(100, 2, through=(300, 50)) == [(100, 50), (50, 0)]


@pytest.mark.parametrize(
    ("t_start", "steps", "through", "message"),
    [
        pytest.param(0, None, (), "t_start is 0; allowed is 1 to 1000", id="start too low"),
        pytest.param(1001, None, (), "allowed is 1 to 1000", id="start too high"),
        pytest.param(10, 11, (), "steps is 11", id="more steps than levels"),
        pytest.param(
            350,
            2,
            (300, 150, 50),
            r"2 steps cannot visit the 4 levels \[350, 300, 150, 50\]; 4 is the least$",
            id="too few for the required levels",
        ),
    ],
)
def test_an_impossible_chain_is_refused_with_the_reason(
    t_start: int, steps: int | None, through: tuple[int, ...], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        linear_schedule().pairs(t_start, steps, through)


def test_the_least_number_of_steps_visits_the_required_levels_and_no_other() -> None:
    assert [t for t, _ in linear_schedule().pairs(350, 4, (300, 150, 50))] == [350, 300, 150, 50]


def test_betas_outside_the_open_unit_interval_are_refused() -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        Schedule((0.1, 1.0))


def test_a_cards_schedule_is_the_one_it_records() -> None:
    assert schedule_from(LINEAR) == linear_schedule()
    other = schedule_from({"kind": "linear", "length": 4, "start": 0.1, "end": 0.4})
    np.testing.assert_allclose(other.betas, [0.1, 0.2, 0.3, 0.4])
    np.testing.assert_allclose(other.abar, [1, 0.9, 0.9 * 0.8, 0.9 * 0.8 * 0.7, 0.9 * 0.8 * 0.7 * 0.6])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param({"kind": "cosine"}, "kind is 'cosine'; 'linear' is known", id="kind"),
        pytest.param({"kind": None}, "kind is None", id="no kind"),
        pytest.param({"length": 0}, "length is 0; a whole number from 1 to 100000", id="empty"),
        pytest.param({"length": 10**9}, "length is 1000000000", id="so long that it fills the memory"),
        pytest.param({"length": 10.0}, "length is 10.0", id="fraction"),
        pytest.param({"length": True}, "length is True", id="boolean"),
        pytest.param({"start": "a"}, "runs from 'a' to 0.02; two numbers", id="word"),
        pytest.param({"end": None}, "two numbers are needed", id="no end"),
        pytest.param({"end": 1.0}, "each between 0 and 1", id="beta of 1"),
        pytest.param({"start": 0}, "each between 0 and 1", id="beta of 0"),
        pytest.param({"end": float("nan")}, "each between 0 and 1", id="NaN"),
    ],
)
def test_what_is_no_schedule_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        schedule_from({**LINEAR, **change})
