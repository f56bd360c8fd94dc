"""The three files of a leaderboard, from any set of runs."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd
import pytest
from support.files import edit
from support.runs import CELLS, make_run

from uadbench.reports.atomic import RunError, read_json, write_json
from uadbench.reports.leaderboard import rows, write_reports
from uadbench.reports.rows import FIXED

SPEC_COLUMNS = (
    "dataset,method,noise,steps,backend,precision,n_cases,n_failed,dice_max,dice_max_lo,dice_max_hi,dice_average,dice_small,"
    "dice_medium,dice_large,auprc,dice_healthy_fpr5,auroc_image,nfe,latency_ms_p50,latency_ms_p90,network_ms_p50"
)


def test_the_csv_starts_with_the_agreed_columns_and_holds_fractions(run: Path, tmp_path: Path) -> None:
    """leaderboard.csv: fixed columns first, one line a cell, scores as stored, values that are none left empty."""
    write_reports([run], tmp_path)
    text = (tmp_path / "leaderboard.csv").read_text()
    assert text.splitlines()[0].startswith(SPEC_COLUMNS + ",")
    assert ",".join(FIXED) == SPEC_COLUMNS
    frame = pd.read_csv(tmp_path / "leaderboard.csv")
    assert len(frame) == len(CELLS)
    thor = frame[frame["cell"] == "thor-simplex-25-torch-fp32"].iloc[0]
    metrics = read_json(run / "cells" / "thor-simplex-25-torch-fp32" / "metrics.json")
    assert thor["dice_max"] == pytest.approx(metrics["dice_max"]["value"])
    assert thor["auprc"] == pytest.approx(metrics["auprc"]["value"])
    assert (thor["nfe"], thor["n_cases"], thor["n_failed"]) == (31, 11, 1)
    assert pd.isna(frame[frame["method"] == "blur"].iloc[0]["network_ms_p50"])


def test_the_order_of_runs_does_not_matter(tmp_path: Path) -> None:
    """The same runs in another order give the same bytes in all three files."""
    dataset = {"fingerprint": "cd" * 32}
    other = make_run(
        tmp_path / "b", run_id="b", seed=5, n_lesion=3, n_healthy=2, cells=CELLS[:2], dataset=dataset
    )
    run = make_run(tmp_path / "a", n_lesion=3, n_healthy=1, cells=CELLS[:2] + CELLS[-1:])
    first = [path.read_bytes() for path in write_reports([run, other], tmp_path / "x")]
    second = [path.read_bytes() for path in write_reports([other, run], tmp_path / "y")]
    assert first == second


def test_an_unfinished_cell_is_a_row_without_scores(tmp_path: Path) -> None:
    """A run that was stopped is still reported; its unscored cell has no figures and the page says so."""
    path = make_run(tmp_path / "run", cells=CELLS[:2], n_lesion=4, n_healthy=2)
    cell = path / "cells" / "thor-gaussian-25-onnxruntime-fp32"
    (cell / "metrics.json").unlink()
    (cell / "latency.json").unlink()
    frame = rows([path]).set_index("cell")
    assert frame.loc[cell.name, ["dice_max", "latency_ms_p50", "n_cases"]].isna().all()
    page = write_reports([path], tmp_path)[2].read_text()
    assert "thor-gaussian-25-onnxruntime-fp32: 6 cases done, not scored" in page


def test_no_run_is_refused(tmp_path: Path) -> None:
    """A report of nothing is an error with the remedy."""
    with pytest.raises(RunError, match="no run directory given"):
        write_reports([], tmp_path)


def test_a_run_without_the_reference_is_not_judged_and_not_red(tmp_path: Path) -> None:
    """Without torch fp32 the verdict is shown neutrally and the speed-up is a dash with its reason."""
    path = make_run(tmp_path / "run", cells=CELLS[1:2], n_lesion=3, n_healthy=1)
    verdict = {"verdict": "not judged", "reason": "this run has no torch fp32 cell of the method"}
    write_json(path / "parity.json", {"thor-gaussian-25-onnxruntime-fp32": verdict})
    row = rows([path]).iloc[0]
    assert pd.isna(row["speedup"])
    page = write_reports([path], tmp_path)[2].read_text()
    assert re.search(r'<small class="neutral" title="[^"]*">not judged</small>', page)
    assert 'title="this run has no torch fp32 cell of the method">–' in page


def test_the_first_call_is_shown_an_image(tmp_path: Path) -> None:
    """The timing table divides the first call of a batch by the batch size and counts batches as batches."""
    path = make_run(tmp_path / "run", cells=CELLS[:1], n_lesion=3, n_healthy=1)
    edit(path / "cells" / "thor-gaussian-25-torch-fp32" / "latency.json", first_call_ms=8 * 123.0)
    page = write_reports([path], tmp_path)[2].read_text()
    assert '<td class="num">123</td>' in page
    for title in ("timed batches", "first network call ms/image", "process peak MiB"):
        assert f'<th scope="col" class="num">{title}</th>' in page
