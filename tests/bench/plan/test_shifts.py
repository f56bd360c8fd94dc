"""What may be typed behind --shift, and that it changes no run's identity."""

from __future__ import annotations

import dataclasses
import re

import pytest
from support.cells import make_dataset

from uadbench.bench.plan.config import ConfigError, canonical, config_hash, make_config
from uadbench.bench.plan.plan import make_plan
from uadbench.bench.plan.shifts import Shift, read_shifts
from uadbench.datasets import DATASETS


@pytest.mark.parametrize(
    "given",
    [
        ("contrast=0.6,0.80", "gain=0.8"),
        "contrast=0.6,0.8,gain=0.8",
        ["contrast=0.6, 1, 0.8", "gain=0.8"],
    ],
)
def test_a_bare_value_is_of_the_kind_before_it_and_1_goes_without_saying(given: object) -> None:
    config = make_config({}, {"methods": "blur", "shift": given})
    assert config.shift == ("contrast=0.6", "contrast=0.8", "gain=0.8")
    assert read_shifts(config.shift)[1] == Shift("contrast", 0.8)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("0.6", "shift is '0.6'; KIND=VALUE,.. is needed"),
        ("contrast=", "shift is 'contrast='"),
        ("contrast=0.5,", "shift is ''"),
        ("gain=0", "shift is 'gain=0'; .* each value above 0 up to 10"),
        ("gain=11", "shift is 'gain=11'"),
        ("gain=nan", "shift is 'gain=nan'"),
        ("gamma=1", "shift names no value but 1"),
        ("gain=0.5,0.50", "shift names 'gain=0.5' twice"),
    ],
)
def test_what_is_no_shift_is_refused_in_one_line(given: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make_config({}, {"methods": "blur", "shift": given})


def test_shifts_add_results_and_so_leave_the_runs_identity_as_it_was() -> None:
    plain = make_config({}, {"methods": "blur"})
    more = make_config({}, {"methods": "blur", "shift": "gain=0.5", "shift_limit": 3})
    assert config_hash(more) == config_hash(plain)
    assert not {"shift", "shift_limit"} & set(canonical(plain))
    assert canonical(more)["shift"] == ["gain=0.5"]


def test_a_plan_takes_the_first_healthy_test_cases_and_counts_their_calls() -> None:
    config = make_config(
        {},
        {"methods": "ddpm", "steps": "5", "shift": "gain=0.5,2", "shift_limit": 4, "post": "none,behrendt"},
    )
    plan = make_plan(config)
    healthy = [case for case in plan.dataset.split("test") if not case.lesion]
    assert plan.shift_cases == tuple(healthy[:4])
    assert plan.shift_calls == 5 * 4 * 2  # both post-processings share them


def test_an_unknown_kind_and_a_data_set_without_healthy_cases_are_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(ConfigError, match=re.escape("unknown shift 'contrst'; did you mean 'contrast'?")):
        make_plan(make_config({}, {"methods": "blur", "shift": "contrst=0.5"}))
    dataset = make_dataset()
    lesions = tuple(case for case in dataset.cases if case.split != "test" or case.lesion)
    monkeypatch.setitem(DATASETS, "sick", lambda *_: dataclasses.replace(dataset, cases=lesions))
    with pytest.raises(ConfigError, match="has no healthy test case"):
        make_plan(make_config({}, {"methods": "blur", "dataset": "sick", "shift": "gain=0.5"}))
