"""Reports of runs of many cases: what comes from bins says so, and no page grows with the number of cases."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.runs import CELLS, make_run

from uadbench.reports.atomic import read_json, write_json
from uadbench.reports.leaderboard import write_reports
from uadbench.reports.page.distributions import MAX_DOTS, case_dice
from uadbench.reports.page.thresholds import dice_curve
from uadbench.reports.rows import rows_of
from uadbench.reports.runs import Run, load_run

NOTE = "AUPRC is taken from bins: off by 0.013 % at most, the bins of its interval by 0.027 % ("


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run of which one cell was scored from bins and holds its curve, without any map or input."""
    path = tmp_path_factory.mktemp("many") / "run"
    make_run(path, cells=(CELLS[0], CELLS[9]), n_lesion=3, n_healthy=2)
    file = next(path.glob("cells/thor*/metrics.json"))
    metrics = read_json(file)
    metrics["auprc"] |= {"error": 1.3e-4, "interval_error": 2.7e-4}
    metrics["dice_curve"] = {"threshold": [0.0, 0.5, 1.0], "dice": [0.1, 0.4, 0.0]}
    write_json(file, metrics)
    return load_run(path)


def test_what_was_taken_from_bins_is_said_with_its_error_on_the_page_and_in_the_text(
    run: Run, tmp_path: Path
) -> None:
    write_reports([run.path], tmp_path)
    for name in ("leaderboard.md", "leaderboard.html"):
        text = (tmp_path / name).read_text()
        assert text.count(NOTE) == 1
        assert "Max Dice, all thresholds is taken from bins" not in text


def test_a_curve_that_the_scores_hold_is_drawn_without_reading_a_map(run: Run) -> None:
    cell = next(cell for cell in run.cells if cell.info["kind"] == "method")
    assert dice_curve(cell, []) == ([0.0, 0.5, 1.0], [0.1, 0.4, 0.0])


def test_a_strip_of_many_cases_draws_some_of_them_from_end_to_end_and_says_so(run: Run) -> None:
    frame, rng = rows_of([run]), np.random.default_rng(0)
    many = {f"c{k}": float(value) for k, value in enumerate(rng.random(20 * MAX_DOTS))}
    few = dict(list(many.items())[:MAX_DOTS])
    drawn = {}
    for name, cases in (("few", few), ("many", many)):
        svg = case_dice(frame, {0: cases}, name)
        assert svg is not None
        drawn[name] = svg
    assert f"n = {20 * MAX_DOTS} · {MAX_DOTS} drawn" in drawn["many"]
    assert "drawn" not in drawn["few"]
    assert len(drawn["many"]) < 1.1 * len(drawn["few"])
