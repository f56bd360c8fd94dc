"""Shifts of intensity in the reports: a figure, a table and a file where some were run, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from support.runs import CELLS, make_run

from uadbench.reports.leaderboard import write_reports
from uadbench.reports.rows import rows_of, sections
from uadbench.reports.runs import load_run
from uadbench.reports.shifts import COLUMNS, shift_rows
from uadbench.reports.store import RunDirectory

TWO = (CELLS[0], CELLS[4], CELLS[-1])  # THOR, DDPM, blur
SLUGS = ["-".join(cell[:5]) for cell in TWO]


def line(case: str, shift: str, value: float, kld: float | None, status: str = "ok") -> dict:
    metrics = {"kld_unclipped": kld, "mae": 0.1, "ssim": 0.9} if status == "ok" else {}
    return {
        "case_id": case,
        "shift": shift,
        "value": value,
        "status": status,
        "reason": None,
        "metrics": metrics,
    }


def run_with(path: Path, lines: list[dict]) -> Path:
    make_run(path, cells=TWO, n_lesion=2, n_healthy=2)
    for slug in SLUGS:
        for one in lines:
            RunDirectory(path).cell(slug).append_shift(one)
    return path


LINES = [
    *(line(case, "none", 1.0, kld) for case, kld in (("a", 0.1), ("b", 0.3), ("c", 9.0))),
    *(line(case, "contrast", 0.6, kld) for case, kld in (("a", 0.5), ("b", 0.7), ("c", 9.0))),
    *(line(case, "contrast", 1.2, kld) for case, kld in (("a", 0.2), ("b", 0.4))),
    line("c", "contrast", 1.2, None, "failed"),
    *(line(case, "gamma", 0.7, None, "failed") for case in "abc"),
]


def rows(path: Path) -> pd.DataFrame:
    run = load_run(path)
    (section,) = sections([run], rows_of([run]))
    return shift_rows(section)


def test_means_are_over_the_cases_that_have_all_values_of_a_kind_and_1_is_the_case_as_it_is(
    tmp_path: Path,
) -> None:
    found = rows(run_with(tmp_path / "run", LINES))
    one = found[(found["cell"] == SLUGS[0]) & (found["shift"] == "contrast")]
    assert one["value"].tolist() == [0.6, 1.0, 1.2]
    assert one["n"].tolist() == [2, 2, 2]
    assert one["kld_unclipped"].tolist() == pytest.approx([0.6, 0.2, 0.3])
    gamma = found[(found["cell"] == SLUGS[0]) & (found["shift"] == "gamma")]
    assert gamma["n"].tolist() == [0, 3]
    assert gamma["kld_unclipped"].isna().tolist() == [True, False]


def test_a_mean_is_missing_where_a_case_has_none(tmp_path: Path) -> None:
    lines = [line("a", "none", 1.0, 0.1), line("b", "none", 1.0, None)]
    lines += [line("a", "gain", 2.0, 0.1), line("b", "gain", 2.0, 0.2)]
    found = rows(run_with(tmp_path / "run", lines))
    assert found[found["cell"] == SLUGS[0]]["kld_unclipped"].isna().tolist() == [True, False]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The reports of a run with shifts."""
    path = run_with(tmp_path_factory.mktemp("shifts") / "run", LINES)
    return write_reports([path], path)


def test_the_page_shows_a_figure_a_kind_with_a_line_a_method(written: list[Path]) -> None:
    texts = {file.suffix: file.read_text() for file in written[1:3]}
    page = texts[".html"]
    figures = [part for part in page.split("<figure")[1:] if "Histograms under shifted" in part]
    contrast, _ = (part.split("</figure>")[0] for part in figures)
    assert "KL divergence of intensity histograms over contrast" in contrast
    assert "n = 2." in contrast
    legend = contrast[contrast.index("legend") :]
    assert "THOR · gaussian" in legend
    assert "DDPM · gaussian" in legend
    assert "blur" not in legend
    table = texts[".md"].split("### Under simulated scanner changes")[1]
    assert "| contrast | 0.6 | 2 | 0.600 | 0.100 | 0.900 |" in table
    assert "| gamma | 0.7 | 0 | – | – | – |" in table


def test_the_csv_holds_the_same_rows_and_is_written_only_where_there_are_some(
    written: list[Path], tmp_path: Path
) -> None:
    assert [file.name for file in written][3:] == ["shifts.csv"]
    table = pd.read_csv(written[3])
    assert tuple(table.columns) == COLUMNS
    assert len(table) == len(TWO) * 5
    plain = make_run(tmp_path / "plain", cells=TWO, n_lesion=2, n_healthy=1)
    without = write_reports([plain], plain)
    assert [file.name for file in without] == ["leaderboard.csv", "leaderboard.md", "leaderboard.html"]
    assert "shifted" not in without[2].read_text()
    assert "scanner changes" not in without[1].read_text()


def test_damaged_lines_count_as_never_done_and_the_last_of_a_case_wins(tmp_path: Path) -> None:
    cell = RunDirectory(tmp_path).cell("blur")
    cell.append_shift(line("a", "gain", 2.0, None, "failed"))
    cell.append_shift(line("a", "gain", 0.5, 0.2))
    cell.append_shift(line("a", "gain", 2.0, 0.4))
    with (cell.path / "shifts.jsonl").open("a") as file:
        file.write('{"case_id": "b", "status": "ok"}\n{"case_id": "c", "sta')
    assert [(r["value"], r["status"]) for r in cell.read_shifts()] == [(2.0, "ok"), (0.5, "ok")]
