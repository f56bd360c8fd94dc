"""What the page on perceptual nets says of the nets alone stands in the committed file."""

from __future__ import annotations

import csv
import json

import pandas as pd
from support.pages import page, table
from support.places import ROOT
from support.published import board


def percent(row: pd.Series) -> str:
    value, low, high = (100 * row[name] for name in ("dice_max", "dice_max_lo", "dice_max_hi"))
    return f"{value:.1f} ({low:.1f}–{high:.1f})"


def test_the_nets_alone_and_the_floors_beside_them_are_those_of_the_committed_runs() -> None:
    told = table(page("methods/perceptual.md"), "alone")
    assert [line["data set"] for line in told] == ["`phantom`", "`ixi-stroke`", "`soop-flair`"]
    for line in told:
        frame = board(line["data set"].strip("`"))
        floors = frame[frame["kind"].eq("floor") & ~frame["method"].str.endswith("-fitted")]
        best = floors.loc[floors["dice_max"].idxmax()]
        alone = floors[floors["method"].eq("perceptual-blur")].set_index("perceptual")
        assert line["cases"] == f"{best['n_cases']:.0f}"
        assert line["brain-squeeze alone"] == percent(alone.loc["brain-squeeze"])
        assert line["lpips-squeeze alone"] == percent(alone.loc["lpips-squeeze"])
        assert line["`blur`"] == percent(floors[floors["method"].eq("blur")].iloc[0])
        assert line["best floor"] == f"`{best['method']}`, {percent(best)}"


def test_the_choice_on_validation_is_that_of_the_file() -> None:
    with (ROOT / "docs" / "results" / "perceptual-choice.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    told = table(page("methods/perceptual.md"), "choice")
    assert 2 * len(told) == len(rows)
    for line in told:
        data, n_cases = line["validation cases"].split(", ")
        for head, training in zip(list(line)[2:], ("240 + 100 steps", "3000 + 600 steps"), strict=True):
            assert head.startswith(training)
            (row,) = (
                row
                for row in rows
                if f"`{row['dataset']}`" == data
                and row["variant"].removesuffix(" · brain-squeeze") == line["row"]
                and row["training"] == training
            )
            assert row["n_cases"] == n_cases
            scores = (f"{100 * float(row[name]):.1f}" for name in ("dice_max", "dice_average", "auprc"))
            assert line[head] == " / ".join(scores)
    card = json.loads((ROOT / "models" / "brain-squeeze.json").read_text())
    assert {"steps": 3000, "head_steps": 600}.items() <= card["training"].items()
    assert f"{card['slices']} healthy slices" in page("methods/perceptual.md")
