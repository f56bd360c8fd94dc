"""What may be said of rows: ranks by paired tests, best, tied, below a floor."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from support.runs import CELLS, make_run

from uadbench.reports.leaderboard import rows, write_reports
from uadbench.reports.ranking import marks, ranks
from uadbench.reports.store import RunDirectory
from uadbench.reports.vocabulary import RANKED

SLUGS = ["-".join(cell[:5]) for cell in CELLS]


def pair(a: str, b: str, difference: float, p_holm: float | None, n_subjects: int = 12) -> dict[str, Any]:
    """One test of paired.json."""
    found = {"a": a, "b": b, "difference": difference, "p_holm": p_holm, "n_subjects": n_subjects}
    return found | {"lo": None, "hi": None, "p": p_holm, "n_cases": n_subjects}


def small_frame(entries: list[tuple[str, float, int | None]]) -> pd.DataFrame:
    """(kind, value, rank) rows with the same figures for every score."""
    frame = pd.DataFrame(
        [{"kind": kind, "method": f"m{number}"} for number, (kind, *_) in enumerate(entries)]
    )
    for score in RANKED:
        frame[score] = [entry[1] for entry in entries]
        frame[f"rank_{score}"] = pd.array([entry[2] for entry in entries], dtype="Int64")
    return frame


def ranked_run(path: Path, pairs: list[dict[str, Any]], draws: int = 2000, **options: Any) -> Path:
    """A run of four cells whose rows were tested so by max Dice."""
    run = make_run(path, cells=CELLS[3:7], n_lesion=3, n_healthy=1, **options)
    tested = {"seed": 0, "draws": draws, "n_pairs": len(pairs), "measures": {"dice_max": pairs}}
    RunDirectory(run).write_paired(tested)
    return run


def test_a_rank_is_one_and_the_number_of_rows_that_are_significantly_better() -> None:
    """A chain in which neighbours are not told apart: b and c are only told from the far ends."""
    pairs = [
        pair("a", "b", -0.01, 0.4),
        pair("a", "c", -0.05, 0.01),
        pair("a", "d", -0.09, 0.001),
        pair("b", "c", -0.04, 0.06),
        pair("b", "d", -0.08, 0.002),
        pair("c", "d", -0.04, 0.2),
    ]
    assert ranks(pairs) == {"a": 1, "b": 1, "c": 2, "d": 3}
    assert ranks(pairs, better=-1) == {"d": 1, "c": 1, "b": 2, "a": 3}
    assert ranks([pair("a", "b", 0.0, 0.001)]) == {"a": 1, "b": 1}


def test_a_row_that_could_not_be_tested_has_no_rank_and_costs_nobody_one() -> None:
    assert ranks([pair("a", "b", -0.3, 0.001), pair("a", "c", 0.5, None), pair("b", "c", 0.5, None)]) == {
        "a": 1,
        "b": 2,
    }


def test_ties_have_rank_one_without_the_best_value() -> None:
    found = marks(small_frame([("method", 0.50, 1), ("method", 0.45, 1), ("method", 0.45, 2)]))
    assert {index for index, score in found.best if score == "auprc"} == {0}
    assert {index for index, score in found.ties if score == "auprc"} == {1}


def test_without_ranks_only_equal_values_share_the_first_place() -> None:
    found = marks(small_frame([("method", 0.5, None), ("method", 0.5, None), ("method", 0.49, None)]))
    assert {index for index, score in found.best if score == "dice_max"} == {0, 1}
    assert not found.ties


def test_a_method_under_the_best_floor_is_marked_whatever_its_rank() -> None:
    """Only methods are marked, and against the best floor, not any floor."""
    entries = [("method", 0.31, 1), ("method", 0.29, 1), ("floor", 0.30, 1), ("floor", 0.1, 2)]
    found = marks(small_frame(entries))
    assert found.below == {1: "below the floor m2 (30.0)"}


def test_without_a_floor_that_ran_nothing_is_said_of_floors() -> None:
    """A floor without scores (it was not applicable, or every case failed) is not below any method."""
    assert marks(small_frame([("method", 0.31, 1), ("floor", float("nan"), None)])).below == {}
    assert marks(small_frame([("method", 0.31, 1)])).below == {}


def test_tests_and_not_intervals_rank_every_report(tmp_path: Path) -> None:
    """The intervals of rows 1 and 2 are far apart, and the tests do not part them; of 1 and 4 they do."""
    thor, ddpm, anoddpm, autoddpm = SLUGS[3:7]
    pairs = [
        pair(thor, ddpm, -0.25, 0.001),
        pair(thor, anoddpm, -0.18, 0.2),
        pair(thor, autoddpm, -0.09, 0.3),
        pair(ddpm, anoddpm, 0.08, 0.4),
        pair(ddpm, autoddpm, 0.16, 0.01),
        pair(anoddpm, autoddpm, 0.09, 0.2),
    ]
    run = ranked_run(tmp_path / "run", pairs)
    frame = rows([run]).set_index("cell")
    assert frame["rank_dice_max"].to_dict() == {thor: 1, autoddpm: 1, anoddpm: 1, ddpm: 3}
    assert frame["rank_auprc"].isna().all()
    csv, text, page = (path.read_text() for path in write_reports([run], tmp_path / "out"))
    table = pd.read_csv(tmp_path / "out" / "leaderboard.csv").set_index("cell")
    assert table.loc[ddpm, "rank_dice_max"] == 3
    found = [line.split(" | ") for line in text.splitlines() if line.startswith("| ")]
    lines, head = {cells[0]: cells for cells in found}, found[0]
    (thor_row,) = (cells for name, cells in lines.items() if name.startswith("| THOR · simplex · 25"))
    (ddpm_row,) = (cells for name, cells in lines.items() if name.startswith("| DDPM · gaussian · 25"))
    assert (thor_row[head.index("rank")], ddpm_row[head.index("rank")]) == ("1", "3")
    assert text.count(" ≈ (") == 2  # AutoDDPM and AnoDDPM, by max Dice
    assert page.count('title="no row is significantly better in this column"') == 2
    assert "Overlapping intervals decide nothing" in text
    assert "Overlapping intervals decide nothing" in page
    assert "rank_dice_max" in csv.splitlines()[0]


@pytest.mark.parametrize(
    ("pairs", "draws", "said"),
    [
        pytest.param(
            [pair(SLUGS[3], SLUGS[4], -0.2, None, 9)],
            2000,
            "No ranks, for fewer than 10 subjects: Max Dice",
            id="few",
        ),
        pytest.param(
            [pair(SLUGS[3], SLUGS[4], -0.2, None)],
            2000,
            "No ranks, for undefined in many resamples: Max Dice",
            id="nan",
        ),
        pytest.param([], 2000, "No ranks: one variant alone", id="alone"),
        pytest.param(
            [pair(SLUGS[3], SLUGS[4], -0.2, 0.5)] * 50,
            1999,
            "No difference can pass the correction: 50 pairs are too many for 1999 resamples",
            id="many",
        ),
    ],
)
def test_what_the_ranks_lack_is_said(tmp_path: Path, pairs: list, draws: int, said: str) -> None:
    run = ranked_run(tmp_path / "run", pairs, draws)
    for path in write_reports([run], tmp_path / "out")[1:]:
        assert said in path.read_text()


def test_measures_without_ranks_are_told_apart_though_their_titles_have_commas(tmp_path: Path) -> None:
    run = ranked_run(tmp_path / "run", [])
    few, undefined = (pair(SLUGS[3], SLUGS[4], -0.2, None, subjects) for subjects in (9, 12))
    measures = {"dice_average_papers": [few], "dice_healthy_fpr5": [few], "auprc": [undefined]}
    RunDirectory(run).write_paired({"seed": 0, "draws": 2000, "n_pairs": 1, "measures": measures})
    assert rows([run])["rank_note"].unique().tolist() == [
        "no ranks, for fewer than 10 subjects: Average, papers' weights; Dice at 5 % FPR, image. "
        "No ranks, for undefined in many resamples: AUPRC"
    ]


def test_a_run_without_tests_and_rows_of_two_runs_have_no_ranks_and_say_why(tmp_path: Path) -> None:
    old = make_run(tmp_path / "old", cells=CELLS[3:5], n_lesion=3, n_healthy=1)
    text = write_reports([old], tmp_path / "x")[1].read_text()
    assert "* No ranks: the run has no paired.json; its bench run command, given again, makes it." in text
    new = ranked_run(tmp_path / "new", [pair(SLUGS[3], SLUGS[4], -0.2, 0.01)], run_id="b")
    frame = rows([old, new])
    assert frame["rank_dice_max"].isna().all()
    assert frame["rank_note"].str.startswith("no ranks: rows of several runs").all()
