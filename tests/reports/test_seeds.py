"""The spread over noise seeds: one line a variant, of what differs in nothing but the seed."""

from __future__ import annotations

import io
from pathlib import Path

import pandas as pd
import pytest
from rich.console import Console
from support.files import edit
from support.runs import CELLS, make_run

from uadbench.reports.atomic import read_json
from uadbench.reports.leaderboard import rows, terminal_table, write_reports
from uadbench.reports.seeds import SEEDS, spreads

THOR = CELLS[0]
# The run's folder names tell them apart by steps; cell.json, which counts, by the seed.
SEEDED = tuple(
    (*THOR[:2], str(k), *THOR[3:6], dice, *THOR[7:]) for k, dice in enumerate((0.297, 0.308, 0.368))
)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """THOR with the three seeds of the protocol's example, and DDPM with one."""
    path = make_run(tmp_path / "run", cells=(*SEEDED, CELLS[4]), n_lesion=3, n_healthy=1)
    for k in range(3):
        edit(path / "cells" / f"thor-gaussian-{k}-torch-fp32" / "cell.json", steps="25", seed=k)
    return path


def test_the_spread_is_mean_lowest_and_highest_of_the_seeds(run: Path) -> None:
    (spread,) = spreads(rows([run]))
    assert (spread.label, spread.arm) == ("THOR · gaussian · 25 steps · brain-squeeze", "torch fp32")
    assert spread.seeds == (0, 1, 2)
    assert spread.values["dice_max"] == pytest.approx(((0.297 + 0.308 + 0.368) / 3, 0.297, 0.368))


def test_what_differs_in_more_than_the_seed_is_no_spread(run: Path) -> None:
    edit(run / "cells" / "thor-gaussian-1-torch-fp32" / "cell.json", settings={"window": 9})
    edit(run / "cells" / "thor-gaussian-2-torch-fp32" / "cell.json", backend="openvino")
    assert spreads(rows([run])) == []
    assert rows([run])["n_seeds"].isna().all()


def test_a_seed_without_a_score_is_left_out_of_the_mean(run: Path) -> None:
    edit(run / "cells" / "thor-gaussian-2-torch-fp32" / "metrics.json", dice_max=None, auprc=None)
    edit(run / "cells" / "thor-gaussian-1-torch-fp32" / "metrics.json", auprc=None)
    (spread,) = spreads(rows([run]))
    assert spread.values["dice_max"] == pytest.approx((0.3025, 0.297, 0.308))
    assert "auprc" not in spread.values


def test_every_report_shows_the_spread_beside_the_rows_of_the_seeds(run: Path, tmp_path: Path) -> None:
    csv, text, page = write_reports([run], tmp_path / "out")
    shown = "32.4 (29.7–36.8)"
    frame = pd.read_csv(csv).set_index("cell")
    thor, ddpm = "thor-gaussian-0-torch-fp32", "ddpm-gaussian-25-torch-fp32"
    assert frame.loc[thor, "n_seeds"] == 3
    columns = [f"dice_max_seeds_{name}" for name in ("mean", "min", "max")]
    assert frame.loc[thor, columns].tolist() == pytest.approx([0.97300 / 3, 0.297, 0.368], abs=1e-5)
    assert frame.loc[ddpm, ["n_seeds", *columns]].isna().all()
    markdown, html = text.read_text(), page.read_text()
    assert markdown.count("| THOR · gaussian · 25 steps · brain-squeeze") == 4  # three seeds and their spread
    row = next(line for line in markdown.splitlines() if shown in line).split(" | ")
    assert row[:3] == ["| THOR · gaussian · 25 steps · brain-squeeze", "torch fp32", "0, 1, 2"]
    assert '<td class="num">32.4<small>(29.7–36.8)</small></td>' in html
    buffer = io.StringIO()
    Console(file=buffer, width=80, color_system=None).print(terminal_table(rows([run])))
    assert f"3 seeds: Dice {shown}." in " ".join(buffer.getvalue().split())
    for part in (SEEDS, "The variance over training seeds is not covered"):
        assert part in markdown
        assert part in html
    metrics = read_json(run / "cells" / thor / "metrics.json")
    assert f"{metrics['dice_max']['value']:.3f}" == "0.297"


def test_a_run_of_one_seed_says_nothing_of_a_spread(tmp_path: Path) -> None:
    path = make_run(tmp_path / "run", cells=CELLS[3:5], n_lesion=3, n_healthy=1)
    for report in write_reports([path], tmp_path / "out")[1:]:
        assert "ver noise seeds:" not in report.read_text()
