"""Run directories with random damage: a table, a report, or one line of the project's own errors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.draws import CHANGES, changed, draws, sizes
from support.faults import invoke, only_ours
from support.runs import CELLS, make_run

from uadbench.reports.leaderboard import write_reports
from uadbench.reports.rows import rows_of
from uadbench.reports.runs import load_run
from uadbench.reports.text import markdown, terminal_table

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**20), 10**20) | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A small finished run of two methods and a floor."""
    return make_run(tmp_path / "run", cells=(CELLS[0], CELLS[1], CELLS[9]), n_lesion=2, n_healthy=1)


def damaged_runs(run: Path, count: int, check: Any) -> None:
    """Calls check for many states of the run, each with one or two of its files changed or gone."""
    files = sorted(path for path in run.rglob("*") if path.is_file())
    sound = {path: path.read_bytes() for path in files}

    @draws(count)
    @given(st.lists(st.tuples(st.integers(0, len(files) - 1), CHANGES | st.none()), min_size=1, max_size=2))
    def state(damages: list[tuple[int, Any]]) -> None:
        for index, changes in damages:
            if changes is None:
                files[index].unlink(missing_ok=True)
            else:
                files[index].write_bytes(changed(sound[files[index]], changes))
        check()
        for index, _ in damages:
            files[index].write_bytes(sound[files[index]])

    state()


@sizes(60, 2000)
def test_any_damage_to_a_run_is_a_table_or_one_line(run: Path, count: int) -> None:
    def check() -> None:
        with only_ours():
            loaded = load_run(run)
            rows_of([loaded])
            for cell in loaded.cells:
                for case in cell.cases:
                    with only_ours():
                        cell.arrays(case["case_id"])
                        loaded.directory.read_input(case["case_id"])

    damaged_runs(run, count, check)


@sizes(3, 200)
@pytest.mark.filterwarnings("ignore")
def test_any_damage_to_a_run_is_a_report_or_one_line(run: Path, tmp_path: Path, count: int) -> None:
    def check() -> None:
        with only_ours():
            write_reports([run], tmp_path / "out")

    damaged_runs(run, count, check)


JSON_FILES = ("manifest.json", "cell.json", "metrics.json", "latency.json", "parity.json", "paired.json")


def replaced(value: Any, path: list[float], new: Any) -> Any:
    """A JSON value with one of its parts, found by walking down by fractions, replaced."""
    if not path or not isinstance(value, dict | list) or not value:
        return new
    keys = sorted(value) if isinstance(value, dict) else list(range(len(value)))
    key = keys[min(int(path[0] * len(keys)), len(keys) - 1)]
    copy = value.copy()
    copy[key] = replaced(value[key], path[1:], new)
    return copy


def replaced_values(run: Path, count: int, check: Any) -> None:
    """Calls check for many states of the run, in each of which one value of its records is another."""
    files = sorted(file for file in run.rglob("*.json") if file.name in JSON_FILES)
    sound = {file: json.loads(file.read_text()) for file in files}

    @draws(count)
    @given(st.sampled_from(files), st.lists(st.floats(0, 1), min_size=1, max_size=3), JSON)
    def state(file: Path, path: list[float], new: Any) -> None:
        file.write_text(json.dumps(replaced(sound[file], path, new)))
        check()
        file.write_text(json.dumps(sound[file]))

    state()


@sizes(60, 3000)
@pytest.mark.filterwarnings("ignore")
def test_any_value_in_the_place_of_another_is_a_table_or_one_line(run: Path, count: int) -> None:
    def check() -> None:
        with only_ours():
            loaded = load_run(run)
            frame = rows_of([loaded])
            terminal_table(frame)
            markdown([loaded], frame)

    replaced_values(run, count, check)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_any_value_in_the_place_of_another_is_exit_code_0_1_or_2(run: Path) -> None:
    def check() -> None:
        invoke("report", str(run))
        invoke("compare", str(run))

    replaced_values(run, 150, check)
