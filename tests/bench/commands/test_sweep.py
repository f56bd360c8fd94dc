"""A sweep is a run: scored on validation lesions, taken up, with a table and curves of what was varied."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from support.faults import invoke, make_slices

from uadbench.bench import api
from uadbench.bench.cli import cli
from uadbench.reports.cases import case_rows
from uadbench.reports.runs import load_run
from uadbench.reports.sweep import VALIDATION

QUICK = ["--set", "n_boot=20", "--set", "val_limit=1", "--threads", "1", "--no-progress"]
VARIED = ["--method", "intensity,asymmetry", "--vary", "sigma=0.5,3", "--vary", "asymmetry.signed=true,false"]


def sweep(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["sweep", *arguments])


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    counts = {"train": 2, "val": 6, "test": 2}
    return make_slices(tmp_path_factory.mktemp("sweep") / "data", counts, side=64, lesions=("val", "test"))


@pytest.fixture(scope="module")
def run(data: Path) -> Path:
    path = data.with_name("run")
    done = sweep(*VARIED, "--dataset", "folder", "--data-root", str(data), *QUICK, "--output", str(path))
    assert done.exit_code == 0, done.output
    assert str(path / "sweep.csv") in done.stdout
    return path


def test_the_table_has_a_row_a_variant_with_what_was_varied(run: Path) -> None:
    rows = list(csv.DictReader((run / "sweep.csv").read_text().splitlines()))
    assert {(row["method"], row["sigma"], row["signed"]) for row in rows} == {
        ("intensity", "0.5", ""),
        ("intensity", "3", ""),
        *(("asymmetry", sigma, signed) for sigma in ("0.5", "3") for signed in ("on", "off")),
    }
    assert {"dice_max", "dice_max_lo", "auprc", "auprc_hi", "nfe", "latency_ms_p50"} <= set(rows[0])
    assert all(0 < float(row["dice_max"]) <= 1 and float(row["nfe"]) == 0 for row in rows)


def test_its_cases_are_validation_cases_and_every_figure_says_so(run: Path) -> None:
    manifest = json.loads((run / "manifest.json").read_text())
    assert (manifest["config"]["split"], manifest["dataset"]["split"]) == ("val", "val")
    assert manifest["dataset"]["name"] == "folder:val"
    lines = [line for path in run.rglob("cases.jsonl") for line in path.read_text().splitlines()]
    ids = {json.loads(line)["case_id"] for line in lines}
    assert ids
    assert all(name.startswith("val") for name in ids)
    page = (run / "leaderboard.html").read_text()
    assert page.count('<figure class="plot">') == page.count(VALIDATION)
    assert "VALIDATION" in (run / "leaderboard.md").read_text()


def test_a_table_of_cases_says_their_split_and_which_are_scored(run: Path) -> None:
    made = load_run(run)
    frame = case_rows([made])
    ids = set(frame["case"])
    assert set(frame["split"]) == set(api.load_run(run).cases["split"]) == {"val"}
    scored = {case["case_id"] for cell in made.cells for case in cell.cases if case["split"] == "test"}
    assert scored == set(frame[frame["scored"]]["case"]) < ids
    index = invoke("export-maps", str(run), "--format", "npy", "--output", str(run.with_name("maps")))
    assert index.exit_code == 0, index.output
    rows = list(csv.DictReader((run.with_name("maps") / "index.csv").read_text().splitlines()))
    assert {row["split"] for row in rows} == {"val"}
    assert {row["case_id"] for row in rows if row["scored"] == "True"} == scored


def test_the_page_draws_dice_and_milliseconds_over_each_thing_varied(run: Path) -> None:
    page = (run / "leaderboard.html").read_text()
    for name in ("sigma", "signed"):
        assert f'aria-label="Max Dice, % over {name}"' in page
        assert f'aria-label="ms an image, median over {name}"' in page
    assert "asymmetry · signed off" in page


def test_the_same_command_finds_nothing_left_to_do(run: Path, data: Path) -> None:
    before = {path: path.read_bytes() for path in run.rglob("cases.jsonl")}
    done = sweep(*VARIED, "--dataset", "folder", "--data-root", str(data), *QUICK, "--output", str(run))
    assert done.exit_code == 0
    assert {path: path.read_bytes() for path in run.rglob("cases.jsonl")} == before


def test_a_dry_run_shows_the_grid_and_writes_nothing(data: Path, tmp_path: Path) -> None:
    where = ["--dataset", "folder", "--data-root", str(data), "--output", str(tmp_path / "run")]
    shown = sweep(*VARIED, *where, "--dry-run").stdout
    assert "sweep       sigma (2) x asymmetry.signed (2): 6 cells" in shown
    assert "network calls" in shown
    assert not (tmp_path / "run").exists()
    on_test = sweep(*VARIED, *where, "--dry-run", "--split", "test").stdout
    assert "2 test, " in on_test


def test_a_product_that_is_too_large_is_refused_with_its_number() -> None:
    many = ",".join(map(str, range(1, 11)))
    done = sweep("--method", "thor", "--vary", f"t_start={many}", "--vary", f"window={many}", "--dry-run")
    assert done.exit_code == 2
    assert "up to 100 variants, more than 64" in done.stderr
    assert "--limit-variants 100" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        pytest.param([], "nothing is varied", id="nothing"),
        pytest.param(["--vary", "sigma=1", "--vary", "sigma=2"], "names one thing twice", id="twice"),
    ],
)
def test_a_sweep_that_is_none_is_refused(arguments: list[str], words: str) -> None:
    done = sweep("--method", "intensity", *arguments)
    assert done.exit_code == 2
    assert words in done.stderr


def test_a_run_does_not_take_what_belongs_to_a_sweep() -> None:
    done = CliRunner().invoke(cli, ["run", "--methods", "intensity", "--set", "vary.sigma=[1, 2]"])
    assert done.exit_code == 2
    assert "`bench sweep`" in done.stderr
