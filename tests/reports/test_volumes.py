"""Scores by volume stand in every table and file of a run that has volumes, and in no other."""

from __future__ import annotations

import io
from pathlib import Path

import pandas as pd
import pytest
from rich.console import Console
from support.runs import CELLS, make_run
from support.volumed import DEPTH, VOLUMES, make_volume_run

from uadbench.bench.compare.runs import compare_runs
from uadbench.bench.score.cells import scored
from uadbench.bench.score.lesions import NEEDS_MONAI
from uadbench.reports.leaderboard import write_reports
from uadbench.reports.rows import rows_of
from uadbench.reports.runs import load_run
from uadbench.reports.text import markdown, terminal_table
from uadbench.reports.volumes import COLUMNS


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_volume_run(tmp_path_factory.mktemp("volumes") / "run")


@pytest.fixture(scope="module")
def written(path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("reports")
    write_reports([path], folder)
    return folder


def shown(frame: pd.DataFrame) -> str:
    console = Console(file=io.StringIO(), width=80)
    console.print(terminal_table(frame))
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_every_volume_of_every_cell_has_its_row(written: Path) -> None:
    frame = pd.read_csv(written / "volumes.csv")
    assert list(frame) == list(COLUMNS)
    assert sorted(frame["volume"]) == sorted(VOLUMES * 3)
    thor = frame[frame["variant"].str.startswith("THOR")].set_index("volume")
    assert (thor["n_slices"] == DEPTH).all()
    assert thor["lesions"].to_dict() == {"north": 1, "south": 2}
    assert thor["lesion_voxels"].to_dict() == {"north": 72, "south": 108}
    assert (thor["lesion_recall"] == 1).all()
    assert (thor["dice"] == 1).all()  # its lesions lie at 2, above all noise, and the best threshold is 1
    assert (thor["hausdorff95_mm"] == 0).all()
    assert thor[["slice_mm", "row_mm", "column_mm"]].to_numpy().tolist() == [[3.0, 1.5, 1.5]] * 2


def test_the_leaderboard_has_the_means(written: Path) -> None:
    frame, each = pd.read_csv(written / "leaderboard.csv"), pd.read_csv(written / "volumes.csv")
    means = each.groupby("cell")[["dice", "auprc", "lesion_f1", "hausdorff95_mm"]].mean()
    found = frame.set_index("cell").loc[means.index]
    for name, column in (
        ("volume_dice_max", "dice"),
        ("volume_auprc", "auprc"),
        ("volume_lesion_f1", "lesion_f1"),
        ("volume_hausdorff95", "hausdorff95_mm"),
    ):
        assert found[name].to_numpy() == pytest.approx(means[column].to_numpy(), rel=1e-4)
    assert "volume_dice_fitted" not in frame


def test_tables_and_page_have_a_table_by_volume(path: Path, written: Path) -> None:
    run = load_run(path)
    frame = rows_of([run])
    lines = markdown([run], frame).splitlines()
    assert "### By volume" in lines
    head = next(line for line in lines if line.startswith("| method | Best Dice by volume"))
    assert "Hausdorff 95, mm (less is better)" in head
    assert "* 2 volumes scored." in lines
    assert "v.Dice v.Dice5 v.AUPRC les.F1 les.rec. HD95 ASD" in " ".join(shown(frame).split())
    html = (written / "leaderboard.html").read_text()
    assert "<h3>By volume</h3>" in html
    assert html.count("Hausdorff 95, mm") >= 2  # the head, and what it means


def test_a_run_without_volumes_has_nothing_of_them(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", cells=CELLS[:1], n_lesion=2, n_healthy=1)
    paths = write_reports([run], tmp_path / "reports")
    assert not [one for one in paths if one.name == "volumes.csv"]
    for one in paths:
        assert "olume_" not in one.read_text()
        assert "By volume" not in one.read_text()


def test_a_volume_with_a_failed_slice_is_left_out_of_that_cell_and_of_its_comparisons(tmp_path: Path) -> None:
    run = load_run(make_volume_run(tmp_path / "run", failed=("south-003",)))
    text = markdown([run], rows_of([run]))
    assert "* 1 volume scored (thor-gaussian-25-torch-fp32)." in text
    assert "* Left out, slices of it failed: south (thor-gaussian-25-torch-fp32)." in text
    found = compare_runs([run], ("volume_dice_max", "volume_hausdorff95"), n_boot=50)
    for one in found.pairs:
        for row in one.rows:
            assert row.change is not None
            assert row.change.n_cases == 1 if "thor" in (one.pair.a.cell.slug + one.pair.b.cell.slug) else 2


def test_what_was_scored_before_there_were_scores_by_volume_is_scored_again(path: Path) -> None:
    cell = load_run(path).cells[0].directory
    assert scored(cell, volumes=True)
    metrics = {name: entry for name, entry in (cell.metrics or {}).items() if not name.startswith("volume")}
    latency = cell.latency
    assert latency is not None
    try:
        whole = cell.metrics
        assert whole is not None
        cell.write_summary(metrics, latency)
        assert scored(cell)
        assert not scored(cell, volumes=True)
    finally:
        cell.write_summary(whole, latency)  # type: ignore[arg-type]


def test_without_monai_the_report_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("uadbench.bench.score.lesions.surfaces_known", lambda: False)
    monkeypatch.setattr("uadbench.bench.score.volume_scorers.surfaces_known", lambda: False)
    run = load_run(make_volume_run(tmp_path / "run"))
    text = markdown([run], rows_of([run]))
    assert f"* N{NEEDS_MONAI[1:].split(':')[0]}" in text
    assert "Lesion F1" in text.split("### By volume")[1].split("###")[0]
    assert "Hausdorff" not in text.split("### By volume")[1].split("###")[0]
