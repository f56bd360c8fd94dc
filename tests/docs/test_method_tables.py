"""Tables of the methods' pages show what their folders hold, and every page has the tables of its folders."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
from method_tables import GOALS, beside, floors, goals, twofold, variants
from result_tables import compared_table, fill, main, parity_table, shift_table
from support.pages import page
from support.places import ROOT

METHODS = ("mend", "dae", "disyre", "reflect", "vae", "one-step")
COLUMNS = (
    "method",
    "title",
    "noise",
    "steps",
    "kind",
    "dice_max",
    "dice_average",
    "auprc",
    "nfe",
    "latency_ms_p50",
)
ROWS = [
    ("mine", "Mine", "none", "-", "method", 0.60, 0.5, 0.5, 2, 21.5),
    ("thor", "THOR", "simplex", "25", "method", 0.30, 0.2, 0.2, 25, 541.2),
    ("thor", "THOR", "gaussian", "25", "method", 0.20, 0.3, 0.1, 25, 550.0),
    ("zscore", "", "none", "0", "floor", 0.40, 0.3, 0.3, 0, 0.4),
    ("blur", "", "none", "0", "floor", 0.10, 0.1, 0.1, 0, 0.3),
    ("intensity", "", "none", "0", "floor", 0.05, 0.1, 0.1, 0, 0.5),
    ("zscore-fitted", "", "none", "0", "floor", 0.50, 0.5, 0.4, 0, 0.45),
]
PAIRS = [
    ("dice_max", "mine-none-0", "thor-simplex-25", -0.3, -0.4, -0.2, 0.01),
    ("auprc", "zscore-none-0", "mine-none-0", 0.2, 0.1, 0.3, 0.06),
    ("dice_average", "thor-gaussian-25", "mine-none-0", 0.2, -0.1, 0.5, 0.3),
    ("auprc", "thor-simplex-25", "mine-none-0", 0.3, 0.2, 0.4, 0.01),
    ("dice_max", "zscore-none-0", "mine-none-0", 0.2, 0.1, 0.3, 0.02),
]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    frame = pd.DataFrame(ROWS, columns=COLUMNS).assign(
        backend="torch", precision="fp32", settings="{}", seed=0, perceptual=None
    )
    slugs = [f"{r.method}-{r.noise}-{'0' if r.steps == '-' else r.steps}" for r in frame.itertuples()]
    frame = frame.assign(cell=[f"{slug}-torch-fp32" for slug in slugs])
    for end in ("lo", "hi"):
        frame[f"dice_max_{end}"] = frame["dice_max"] + (0.05 if end == "hi" else -0.05)
    for size in ("small", "medium", "large"):
        frame[f"dice_{size}"] = 0.25
    frame.to_csv(tmp_path / "leaderboard.csv", index=False)
    names = ["measure", "a", "b", "difference", "lo", "hi", "p_holm"]
    pd.DataFrame(PAIRS, columns=names).to_csv(tmp_path / "paired.csv", index=False)
    (tmp_path / "fitted.json").write_text(json.dumps({"zscore-fitted-none-0": {"record": {"sigma": 3.0}}}))
    return tmp_path


def test_beside_a_method_stand_the_best_variants_and_the_best_floors(folder: Path) -> None:
    lines = beside(folder, "mine").splitlines()[2:]
    assert lines == [
        "| **Mine** | 60.0 [55.0, 65.0] | 50.0 | 25.0 / 25.0 / 25.0 | 50.0 | 2 | 21.5 | – |",
        "| *floor:* zscore-fitted | 50.0 [45.0, 55.0] | 50.0 | 25.0 / 25.0 / 25.0 | 40.0 | 0 | 0.450 | – |",
        "| *floor:* zscore | 40.0 [35.0, 45.0] | 30.0 | 25.0 / 25.0 / 25.0 | 30.0 | 0 | 0.400 | +20.0 [10.0, 30.0] |",
        "| THOR · simplex · 25 steps | 30.0 [25.0, 35.0] | 20.0 | 25.0 / 25.0 / 25.0 | 20.0 | 25 | 541 | "
        "+30.0 [20.0, 40.0] |",
        "| *floor:* blur | 10.0 [5.0, 15.0] | 10.0 | 25.0 / 25.0 / 25.0 | 10.0 | 0 | 0.300 | – |",
    ]


def test_a_table_needs_one_row_of_its_method(folder: Path) -> None:
    with pytest.raises(LookupError, match=r"leaderboard\.csv has 0 rows of yours, not one"):
        goals(folder, "yours")
    with pytest.raises(LookupError, match="has 2 rows of thor, not one"):
        beside(folder, "thor")
    page = folder / "page.md"
    page.write_text("<!-- goals: . yours -->\n<!-- /goals -->\n")
    assert main([str(page)]) == 1


def test_a_goal_is_met_by_the_factor_by_an_interval_above_zero_and_after_holm(folder: Path) -> None:
    papers, fixed, fitted = goals(folder, "mine").splitlines()[2:]
    assert papers == (
        "| the papers' methods | 2 times | 2.00, met (thor; +30.0 [20.0, 40.0]) | "
        "1.67, **missed** (thor; +20.0 [-10.0, 50.0], p 0.3) | 2.50, met (thor; +30.0 [20.0, 40.0]) |"
    )
    assert "| 1.50, met (zscore; +20.0 [10.0, 30.0]) | 1.67, **missed** (zscore; –) |" in fixed
    assert "| 1.67, **missed** (zscore; +20.0 [10.0, 30.0], p 0.06) |" in fixed
    assert (
        f"| {list(GOALS)[2]} | 1.25 times | 1.20, **missed** (zscore-fitted; –) | 1.00, **missed**" in fitted
    )


def test_floors_stand_with_what_fitting_chose(folder: Path) -> None:
    lines = floors(folder, "mine").splitlines()[2:]
    assert [line.split(" | ")[:2] for line in lines] == [
        ["| zscore-fitted", "3"],
        ["| zscore", "fixed"],
        ["| blur", "fixed"],
        ["| intensity", "fixed"],
    ]
    assert lines[1].endswith("| +20.0 [10.0, 30.0] |")


def test_shifts_stand_side_by_side_a_row_a_method(tmp_path: Path) -> None:
    (tmp_path / "shifts.csv").write_text(
        "variant,kind,shift,value,n,kld_unclipped\nDDPM,method,contrast,0.6,24,0.51249\n"
        "DDPM,method,contrast,1,24,0.25\nDDPM,method,gamma,0.8,24,1\nDDPM,method,gamma,1,24,0.25\n"
        "cDDPM,method,contrast,0.6,24,0.1\ncDDPM,method,contrast,1,24,0.2\ncDDPM,method,gamma,0.8,24,0.4\n"
        "cDDPM,method,gamma,1,24,0.2\nblur,floor,gamma,1,24,0.2\n"
    )
    assert shift_table(tmp_path / "shifts.csv").splitlines() == [
        "| method | contrast 0.6 | as it is | gamma 0.8 |",
        "| --- | ---: | ---: | ---: |",
        "| DDPM | 0.512 | 0.250 | 1.000 |",
        "| cDDPM | 0.100 | 0.200 | 0.400 |",
    ]


def test_two_runs_stand_with_the_paired_gain(tmp_path: Path) -> None:
    (tmp_path / "compared.csv").write_text(
        "cell_a,variant_a,measure,a,b,difference,lo,hi,p_holm\n"
        "blur-none-0-torch-fp32,blur,dice_max,0.1,0.1,0,,,\n"
        "ddpm-gaussian-25-openvino-bf16,DDPM,auprc,0.25,0.5,0.25,-0.01,0.3,0.06\n"
    )
    assert compared_table(tmp_path / "compared.csv").splitlines()[2:] == [
        "| DDPM | AUPRC | 25.0 | 50.0 | +25.0 [-1.0, 30.0], p 0.06 |"
    ]


def test_parity_stands_as_the_worst_call_and_the_end_of_each_chain(folder: Path) -> None:
    def verdict(call: float, end: float) -> dict[str, object]:
        return {"network": {"rel_image": call}, "trajectory": {"final": end}}

    (folder / "parity.json").write_text(
        json.dumps(
            {
                "thor-simplex-25-torch-fp32": verdict(1e-3, 2e-3),
                "thor-gaussian-25-torch-fp32": verdict(3e-3, 1e-4),
                "mine-none-0-torch-fp32": {"verdict": "not judged"},
            }
        )
    )
    assert parity_table(folder / "parity.json").splitlines() == [
        "| back end | one call | THOR · gaussian · 25 steps | THOR · simplex · 25 steps |",
        "| --- | ---: | ---: | ---: |",
        "| torch fp32 | 3.0e-03 | 1.0e-04 | 2.0e-03 |",
    ]


def test_variants_stand_in_the_commands_order_beside_the_first_of_their_noise(folder: Path) -> None:
    frame = pd.read_csv(folder / "leaderboard.csv", dtype={"steps": str}, keep_default_na=False)
    thor = frame[(frame["method"] == "thor") & (frame["noise"] == "simplex")]
    other = thor.assign(settings='{"window": 9}', cell="thor-simplex-25-ab12cd-torch-fp32", dice_max=0.35)
    pd.concat([other, frame]).to_csv(folder / "leaderboard.csv", index=False)
    cells = ["zscore-none-0-torch-fp32", "thor-gaussian-25-torch-fp32", "thor-simplex-25-torch-fp32"]
    (folder / "manifest.json").write_text(json.dumps({"cells": [*cells, *other["cell"]]}))
    with (folder / "paired.csv").open("a") as pairs:
        pairs.write("dice_max,thor-simplex-25,thor-simplex-25-ab12cd,0.05,-0.01,0.1,0.4\n")
    assert variants(folder, "thor").splitlines()[2:] == [
        "| THOR · gaussian · 25 steps | 20.0 [15.0, 25.0] | 30.0 | 10.0 | 25 | – |",
        "| THOR · simplex · 25 steps | 30.0 [25.0, 35.0] | 20.0 | 20.0 | 25 | – |",
        "| THOR · simplex · 25 steps · window 9 | 35.0 [25.0, 35.0] | 20.0 | 20.0 | 25 | +5.0 [-1.0, 10.0], p 0.4 |",
    ]
    assert twofold(folder).splitlines()[2:] == [
        "| THOR · simplex | 25 | 25 | 30.0 | 35.0 | +5.0 [-1.0, 10.0], p 0.4 | 20.0 | 20.0 | – |"
    ]
    pd.concat([other, other.assign(cell="more"), frame]).to_csv(folder / "leaderboard.csv", index=False)
    (folder / "manifest.json").write_text(json.dumps({"cells": [*cells, *other["cell"], "more"]}))
    with pytest.raises(LookupError, match="has 3 rows of THOR · simplex, not two"):
        twofold(folder)
    with pytest.raises(LookupError, match="has no row of yours"):
        variants(folder, "yours")


@pytest.mark.parametrize("name", [*METHODS, "floors"])
def test_a_pages_tables_are_those_of_the_committed_runs(name: str) -> None:
    text = page(f"methods/{name}.md")
    assert fill(text, ROOT / "docs" / "methods") == text
    kind, method = ("floors", "mend") if name == "floors" else ("beside", name)
    for data in ("soop-flair", "ixi-stroke"):
        assert f"<!-- {kind}: ../../reports/results/{data} {method} -->" in text
