"""What a run has of each case is in memory for a few cells at a time, and the same whenever it is read."""

from __future__ import annotations

import gc
import tracemalloc
import weakref
from pathlib import Path

import pytest
from support.runs import CELLS, make_run

from uadbench.reports.atomic import RunError
from uadbench.reports.leaderboard import write_reports
from uadbench.reports.lines import append_records
from uadbench.reports.runs import Held, load_run
from uadbench.reports.store import RunDirectory

CASE = {"status": "ok", "split": "test", "subject": "s", "lesion": True, "batch_size": 8, "nfe": 3}


def many_cases(path: Path, n_cells: int, n_cases: int = 1000) -> Path:
    """A run of finished cells with that many cases each, without arrays."""
    run = RunDirectory(path)
    slugs = [f"cell{number}" for number in range(n_cells)]
    run.write_manifest({"run_id": "many", "cells": slugs})
    for slug in slugs:
        cell = run.cell(slug)
        cell.write_info({"method": "thor"})
        append_records(cell.path / "cases.jsonl", [{**CASE, "case_id": f"c{k}"} for k in range(n_cases)])
        each = {f"c{k}": {"dice": k / n_cases, "score": 0.5} for k in range(n_cases)}
        cell.write_summary({"n_cases": n_cases, "per_case": each}, {"n": 0})
    return path


def test_a_cells_cases_are_released_when_the_next_cell_is_read(tmp_path: Path) -> None:
    first, second = load_run(many_cases(tmp_path / "run", 2, 10), Held(limit=0)).cells
    seen = weakref.ref(first._each)
    assert first.by_id["c3"] is first.cases[3]
    assert seen() is first._each, "read once while it is the last"
    assert second.scores["c9"] == {"dice": 0.9, "score": 0.5}
    gc.collect()
    assert seen() is None


def test_the_cells_used_last_stay_while_their_files_are_within_the_limit(tmp_path: Path) -> None:
    path = many_cases(tmp_path / "run", 3, 10)
    size = sum((path / "cells" / "cell0" / name).stat().st_size for name in ("cases.jsonl", "metrics.json"))
    cells = load_run(path, Held(limit=2 * size)).cells
    kept = [weakref.ref(cells[place]._each) for place in (1, 2)]
    assert cells[1].cases
    assert cells[0].cases, "which takes the place of the one that was used longest ago"
    gc.collect()
    assert [one() is not None for one in kept] == [True, False]


def test_opening_and_going_through_a_run_takes_no_more_memory_for_more_cells(tmp_path: Path) -> None:
    def peak(path: Path, held: Held) -> int:
        gc.collect()
        tracemalloc.start()
        run = load_run(path, held)
        for _ in range(2):
            assert sum(len(cell.cases) + len(cell.by_id) + len(cell.scores) for cell in run.cells) > 0
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    few, many = many_cases(tmp_path / "few", 2), many_cases(tmp_path / "many", 6)
    assert peak(many, Held(limit=0)) < 1.2 * peak(few, Held(limit=0))
    assert peak(many, Held()) > 2 * peak(few, Held()), "what is within the limit is kept"


def test_reports_are_the_same_to_the_byte_however_few_cells_are_held(tmp_path: Path) -> None:
    path = make_run(tmp_path / "run", cells=CELLS[:4], n_lesion=4, n_healthy=2)
    for limit, name in ((10**9, "all"), (0, "one")):
        written = write_reports([path], tmp_path / name, Held(limit))
        assert len(written) == 3
    for file in (tmp_path / "all").iterdir():
        assert file.read_bytes() == (tmp_path / "one" / file.name).read_bytes(), file.name


def test_a_run_that_goes_on_stays_what_it_was_when_it_was_opened(tmp_path: Path) -> None:
    path = many_cases(tmp_path / "run", 2, 10)
    first, second = load_run(path, Held(limit=0)).cells
    append_records(path / "cells" / "cell0" / "cases.jsonl", [{**CASE, "case_id": "new"}])
    assert len(first.cases) == first.n_cases == 10
    assert second.n_cases == 10


def test_scores_that_were_replaced_meanwhile_are_not_taken_for_those_that_were_opened(tmp_path: Path) -> None:
    path = many_cases(tmp_path / "run", 2, 10)
    first, _ = load_run(path, Held(limit=0)).cells
    first.directory.write_summary({"n_cases": 10, "per_case": {}}, {"n": 0})
    with pytest.raises(
        RunError, match=r"metrics\.json: was replaced while it was read; run the command again"
    ):
        first.scores  # noqa: B018
    assert load_run(path).cells[0].scores == {}
