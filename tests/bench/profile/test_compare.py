"""A profile against its baseline: what fails, and what is never judged."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.profiled import made_profile, made_row

from uadbench.bench.profile.compare import RowChange, compare_profiles, load_profile
from uadbench.reports.atomic import RunError


def times(median: float, seed: int = 0, spread: float = 0.01) -> list[float]:
    """Twenty times about a median."""
    return (median * (1 + spread * np.random.default_rng(seed).standard_normal(20))).tolist()


def only(before: dict[str, Any], after: dict[str, Any], **ours: Any) -> RowChange:
    (row,) = compare_profiles(made_profile([before]), made_profile([after], **ours)).rows
    return row


def test_a_row_that_got_a_tenth_slower_fails_a_limit_of_5_percent_and_passes_one_of_20() -> None:
    row = only(made_row(times(10)), made_row(times(11, 1)))
    assert row.ratio is not None
    assert row.ratio.value == pytest.approx(1.1, abs=0.02)
    assert row.fails(0.05)
    assert not row.fails(0.20)


def test_a_row_that_got_faster_passes() -> None:
    assert not only(made_row(times(10)), made_row(times(5))).fails(0.0)


def test_a_change_within_chance_passes_whatever_the_limit() -> None:
    row = only(made_row(times(10, 0, 0.06)), made_row(times(10.05, 1, 0.06)))
    assert row.ratio is not None
    assert row.ratio.lo < 1 < row.ratio.hi
    assert not row.unjudged
    assert not row.fails(0.0)


@pytest.mark.parametrize(
    ("before", "after", "why"),
    [
        ({}, {"under_load": True, "load_max": 4.0}, r"it was taken under load \(4.0\)"),
        ({"under_load": True, "load_max": 4.0}, {}, r"the baseline was taken under load"),
        ({"nfe": 25}, {"nfe": 50}, "another amount of work"),
        ({"flops": 1}, {}, "another amount of work"),
        ({}, {"parity": "fail"}, r"it was without a pass of parity \(fail\)"),
        ({"parity": "not judged"}, {}, r"the baseline was without a pass of parity"),
    ],
)
def test_rows_that_mean_something_else_are_never_judged(
    before: dict[str, Any], after: dict[str, Any], why: str
) -> None:
    row = only(made_row(times(10), **before), made_row(times(20), **after))
    assert row.unjudged.startswith("not judged: ")
    assert re.search(why, row.unjudged)
    assert not row.fails(0.05)


def test_noisy_drifting_and_few_times_are_never_judged() -> None:
    for series, why in (
        ([8.0, 14.0] * 10, "noisy"),
        ([10.0] * 10 + [12.0] * 10, "drifting"),
        ([10.0] * 5, "too few"),
    ):
        row = only(made_row(times(5)), made_row(series))
        assert f"it was {why}" in row.unjudged
        assert not row.fails(0.05)


def test_another_machine_thread_count_or_hint_is_never_judged() -> None:
    row = only(made_row(times(10)), made_row(times(20)), machine="ffffffff")
    assert "another machine (0123abcd, now ffffffff)" in row.unjudged
    row = only(made_row(times(10)), made_row(times(20)), threads=4)
    assert "4 threads, the baseline had 2" in row.unjudged
    row = only(made_row(times(10)), made_row(times(20)), hint="throughput")
    assert "OpenVINO's hint is throughput, the baseline had latency" in row.unjudged
    assert not row.fails(0.05)


def test_a_row_that_fails_now_fails_every_limit() -> None:
    broken = {**made_row(times(10)), "raw": [], "status": "failed", "reason": "boom"}
    row = only(made_row(times(10)), broken)
    assert row.fails(9.0)
    assert row.unjudged == "failed now: boom"


def test_rows_are_matched_by_arm_and_batch_and_the_others_are_named() -> None:
    before = [made_row(times(10)), made_row(times(10), backend="openvino")]
    after = [made_row(times(10), batch=4), made_row(times(10))]
    found = compare_profiles(made_profile(before), made_profile(after))
    assert [row.title for row in found.rows] == ["unet-gaussian, torch fp32, batch 1"]
    assert found.missing == ("unet-gaussian, openvino fp32, batch 1",)
    assert found.new == ("unet-gaussian, torch fp32, batch 4",)
    assert found.judged == 1


@pytest.mark.parametrize(
    "content",
    [
        {"kind": "run"},
        made_profile(schema=1),
        made_profile(rows=[{"network": "x"}]),
        made_profile(rows=[{**made_row(), "raw": [{"ms": "10"}]}]),
        made_profile(rows=[{**made_row(), "raw": [{"ms": 0}]}]),
        made_profile(rows=[{**made_row(), "batch": [1]}]),
    ],
)
def test_what_is_no_profile_is_refused_in_a_line(content: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "profile.json").write_text(json.dumps(content))
    with pytest.raises(RunError, match="is no profile of this version"):
        load_profile(tmp_path)


def test_a_profile_is_read_from_its_folder_or_its_file(tmp_path: Path) -> None:
    (tmp_path / "profile.json").write_text(json.dumps(made_profile()))
    assert load_profile(tmp_path) == load_profile(tmp_path / "profile.json") == made_profile()
    with pytest.raises(RunError, match="cannot be read"):
        load_profile(tmp_path / "nothing")
