"""What the page says of methods and floors: dashes where nothing was scored, no claim over what did not run."""

from __future__ import annotations

import html
import re
from pathlib import Path

import pytest
from support.runs import CELLS, make_run

from uadbench.reports.leaderboard import write_reports
from uadbench.reports.vocabulary import FURTHER as ALL_FURTHER
from uadbench.reports.vocabulary import MEASURES
from uadbench.reports.vocabulary import TABLE as ALL_TABLE

TABLE, FURTHER = (
    [name for name in names if MEASURES[name].applies_to("mask")] for names in (ALL_TABLE, ALL_FURTHER)
)


def page_of(run: Path, output: Path) -> str:
    return write_reports([run], output)[2].read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> str:
    run = make_run(tmp_path_factory.mktemp("runs") / "a", n_lesion=4, n_healthy=2)
    return page_of(run, tmp_path_factory.mktemp("page"))


def test_a_method_that_failed_on_every_case_gets_dashes_and_leaves_the_others_whole(
    text: str, tmp_path: Path
) -> None:
    """Null latencies and scores (NaN weights, a plug-in that raises) cost that row its figures and nothing else."""
    dead = page_of(make_run(tmp_path / "dead", dead=("ddpm",), n_lesion=4, n_healthy=2), tmp_path)
    rows = {
        name: re.findall(rf"<tr data-kind[^>]*data-text=\"{name}.*?</tr>", dead, re.S)
        for name in ("DDPM", "THOR")
    }
    assert len(rows["DDPM"]) == 2
    for row in rows["DDPM"]:
        assert re.findall(r"<b>(.*?)</b>", row) == ["–"] * len(TABLE)
        assert "6 failed" in row
    whole = re.findall(r"<tr data-kind[^>]*data-text=\"THOR.*?</tr>", text, re.S)
    assert rows["THOR"] == whole
    assert "image is constant" in dead


@pytest.mark.parametrize("name", ["metrics.json", "latency.json", "both"])
def test_a_cell_without_its_summary_gets_dashes(name: str, tmp_path: Path) -> None:
    """Unfinished cells: what is missing is a dash, what is there stands."""
    run = make_run(tmp_path / "run", n_lesion=3, n_healthy=1, cells=CELLS[3:5], parity=False)
    for file in ("metrics.json", "latency.json") if name == "both" else (name,):
        (run / "cells" / "ddpm-gaussian-25-torch-fp32" / file).unlink()
    text = page_of(run, tmp_path)
    row = re.search(r'<tr data-kind[^>]*data-text="DDPM.*?</tr>', text, re.S)
    assert row is not None
    assert ("18.7" in row[0]) == (name == "latency.json")
    assert "44.1" in text


def test_a_part_of_the_test_split_is_called_one(text: str, tmp_path: Path) -> None:
    """A banner over the section, and none over a whole split."""
    part = make_run(
        tmp_path / "part", n_lesion=3, n_healthy=1, cells=CELLS[:2], dataset={"n_test": 12, "n_test_all": 617}
    )
    assert "Subset: 12 of 617 test cases: figures of a part are no results." in page_of(part, tmp_path)
    assert "figures of a part" not in text


def test_what_cannot_apply_is_told_once_and_nothing_is_claimed_over_it(tmp_path: Path) -> None:
    """Dashes in the row, the reason once, not among the unfinished; the claim counts the floors that were scored."""
    why = "the folder has no healthy training slices"
    cells = (*CELLS[:1], *CELLS[-4:])
    applied = {"asymmetry": why, "residual-median": why}
    text = page_of(
        make_run(tmp_path / "run", n_lesion=3, n_healthy=1, cells=cells, not_applicable=applied), tmp_path
    )
    assert text.count(why) == 1
    assert f"Not applicable: asymmetry, residual-median: {why}." in text
    assert "all are above the best of 2 floors scored; not scored: asymmetry, residual-median" in text
    assert "not scored</td>" not in text
    row = re.search(r'<tr data-kind="floor"[^>]*data-text="asymmetry.*?</tr>', text, re.S)
    assert row is not None
    assert re.findall(r"<b>(.*?)</b>", row[0]) == ["–"] * len(TABLE)
    assert "not applicable" in row[0]


def test_without_any_floor_no_method_is_said_to_be_above_one(tmp_path: Path) -> None:
    """Nothing is claimed over floors that did not run or have no score."""
    for name, cells, dead in (("none", CELLS[:2], ()), ("dead", CELLS[:2] + CELLS[-1:], ("blur",))):
        text = page_of(
            make_run(tmp_path / name, n_lesion=3, n_healthy=1, cells=cells, dead=dead),
            tmp_path / f"page-{name}",
        )
        assert "above the best" not in text
        assert "Methods below" not in text


def test_columns_are_the_vocabularys_in_its_order(text: str) -> None:
    """Every measure is a column of one of the two tables, under its title, and rises or falls first by direction."""
    head = text[text.index('<table class="results') : text.index("</thead>")]
    found = re.findall(r'data-first="(\w+)"[^>]*><button type="button">([^<]+)<', html.unescape(head))
    wanted = [
        ("descending" if MEASURES[name].better > 0 else "ascending", MEASURES[name].title) for name in TABLE
    ]
    assert found[3 : 3 + len(TABLE)] == wanted
    further = text[text.index("Further scores and reconstruction") :]
    further = further[: further.index("</thead>")]
    places = [
        further.index(f'class="num">{MEASURES[name].title}')
        for name in FURTHER
        if not MEASURES[name].optional
    ]
    assert places == sorted(places)
