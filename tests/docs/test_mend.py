"""Mend's page and the README say of it what the committed runs say, and what was taught is what is shipped."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import pandas as pd
import pytest
from mend_validation import DATA, MAPS
from mend_validation import rows as scored_maps
from support.pages import page, table
from support.places import ROOT
from support.published import PAPERS, board

from uadbench.datasets import DATASETS, lesions
from uadbench.engine.networks.checkpoint import load_checkpoint, shipped
from uadbench.engine.training import corruptions

RESULTS = ROOT / "docs" / "results"


def percent(value: float) -> str:
    return f"{100 * value:.1f}"


def interval(row: pd.Series, score: str) -> str:
    return f"{percent(row[score])} [{percent(row[f'{score}_lo'])}, {percent(row[f'{score}_hi'])}]"


def test_the_table_on_validation_is_that_of_its_file_and_of_the_shipped_network() -> None:
    frame = pd.read_csv(RESULTS / "mend-validation.csv")
    wanted = [
        {
            "data": row["dataset"],
            "map": row["map"],
            "max Dice": interval(row, "dice_max"),
            "any threshold": percent(row["dice_max_exact"]),
            "average": percent(row["dice_average"]),
            "AUPRC": percent(row["auprc"]),
        }
        for _, row in frame.iterrows()
    ]
    text = page("methods/mend.md")
    assert table(text, "validation: mend") == wanted
    assert [tuple(row) for row in frame[["dataset", "map"]].to_numpy()] == list(product(DATA, MAPS))
    assert set(frame["network"]) == {load_checkpoint(shipped("mend-unet"))[1]["sha256"]}
    for name, count in frame[["dataset", "n_lesion"]].drop_duplicates().itertuples(index=False):
        assert f"`{name}` ({count})" in text


def test_each_map_of_the_table_is_scored_on_validation_lesions_by_its_switches() -> None:
    dataset = DATASETS["phantom"](None, 0, None)
    lesions = [case for case in dataset.split("val") if case.lesion]
    found = {row["map"]: row for row in scored_maps(replace(dataset, cases=tuple(lesions[:2])))}
    assert [row["n_lesion"] for row in found.values()] == [2] * len(MAPS)
    exact = {name: row["dice_max_exact"] for name, row in found.items()}
    assert len(set(exact.values())) == len(MAPS) - 1
    # a power changes no order of pixels
    assert exact["T P A, no root"] == pytest.approx(exact["T P A"], abs=1e-6)
    assert found["T P A, no root"]["dice_max"] != found["T P A"]["dice_max"]


PARTS = {
    "nothing": ("on", "on", "on", "0.02"),
    "the mirrored calls": ("off", "on", "on", "0.02"),
    "A": ("on", "on", "on", "none"),
    "P": ("on", "off", "on", "0.02"),
    "A and P": ("on", "off", "on", "none"),
    "the sign (and so A)": ("on", "on", "off", "0.02"),
    "all of these": ("off", "off", "off", "none"),
}
"""What is left out -> mirrored, placed, signed and asymmetry."""


def test_the_table_of_parts_removed_is_that_of_the_sweeps() -> None:
    frame = pd.read_csv(RESULTS / "mend-ablation.csv", keep_default_na=False)
    switches = ["mirrored", "placed", "signed", "asymmetry"]
    found = {(row["dataset"], *(str(row[name]) for name in switches)): row for _, row in frame.iterrows()}
    assert len(found) == 2 * 2**4

    def change(row: pd.Series, score: str) -> str:
        value, low, high = (row[f"{score}_change{end}"] for end in ("", "_lo", "_hi"))
        if value == "":
            return "-"
        return f"{100 * float(value):+.1f} [{percent(float(low))}, {percent(float(high))}]"

    told = table(page("methods/mend.md"), "ablation: mend")
    assert [(row["data"], row["without"]) for row in told] == list(product(DATA, PARTS))
    for line in told:
        row = found[line["data"], *PARTS[line["without"]]]
        assert line["calls"] == f"{float(row['nfe']):.0f}"
        for name, score in (("max Dice", "dice_max"), ("average", "dice_average"), ("AUPRC", "auprc")):
            assert (line[name], line[f"change of {name}"]) == (percent(row[score]), change(row, score))


def test_what_the_rivals_residuals_do_is_that_of_the_file() -> None:
    frame = pd.read_csv(RESULTS / "mend-ensembles.csv").set_index(["dataset", "map"])
    text = " ".join(page("methods/mend.md").split())

    def told(name: str) -> str:
        flair, t1w = (percent(frame.loc[(data, f"{name}, sigma 1.5"), "dice_max"]) for data in DATA)
        return f"{flair} and {t1w}"

    assert (
        f"beside T {told('T D F P A')}, DISYRE's, REFLECT's and DAE's alone, given the sign, {told('D F C')}, "
        in text
    )
    assert f"where Mend has {told('T P A')}" in text
    dice, average = (
        percent(frame.loc[("ixi-stroke", "C, sigma 1.5"), score]) for score in ("dice_max", "dice_average")
    )
    own = percent(frame.loc[("ixi-stroke", "T P A, sigma 1.5"), "dice_average"])
    assert f"has {dice} there, with a higher average Dice ({average}) than Mend ({own})" in text


def test_the_recipes_side_by_side_are_those_of_the_code() -> None:
    rows = {row[""]: row for row in table(page("methods/mend.md"), "recipes: mend")}
    low, high = corruptions.RADII
    assert f"{low:g} to {high:g} px" in rows["outline"]["here"]
    low, high = corruptions.STRENGTHS
    assert f"by {low:g} to {high:g}" in rows["change"]["here"]
    low, high = (100 * end for end in lesions.CONTRAST)
    assert f"down by {low:g} to {high:g} % of" in rows["change"]["`ixi-stroke`"]


def test_the_shipped_network_is_the_one_of_the_page() -> None:
    model, card = load_checkpoint(shipped("mend-unet"))
    assert (card["kind"], card["prediction"], card["steps"]) == ("restoration-unet", "change", 3000)
    assert 1.9e6 < sum(weight.numel() for weight in model.parameters()) < 2.1e6
    assert card["training"]["initial"]  # an earlier Mend's, trained as long
    assert f"The picture is of the weights `{card['sha256'][:8]}`" in page("methods/mend.md")
    assert set(pd.read_csv(RESULTS / "mend-ablation.csv")["network"]) == {card["sha256"]}
    readme = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    assert f"(Mend, 2 M parameters) has seen {card['images_seen']:,} images of the same data" in readme


def test_the_readme_says_what_the_parts_and_the_goals_pages_say() -> None:
    readme = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    frame = pd.read_csv(RESULTS / "mend-ablation.csv", keep_default_na=False)
    switches = frame[["dataset", "mirrored", "placed", "signed", "asymmetry"]].astype(str)
    (number,) = switches.index[switches.eq(["soop-flair", *PARTS["the sign (and so A)"]]).all(axis=1)]
    row = frame.loc[number]
    change, low, high = (-float(row[f"dice_max_change{end}"]) for end in ("", "_hi", "_lo"))
    assert f"it loses [{percent(change)} [{percent(low)}, {percent(high)}] points]" in readme
    costs = []
    for part in ("P", "A", "the mirrored calls"):
        found = frame[switches.drop(columns="dataset").eq([*PARTS[part]]).all(axis=1)].set_index("dataset")
        costs += [f"{abs(100 * float(found.loc[data, 'dice_max_change'])):.1f}" for data in DATA]
        assert all(float(found.loc[data, "dice_max_change"]) < 0.0005 for data in DATA)
    words = "something was put in costs {} there and {} on T1w, asymmetry {} and {}, the mirrored calls {} and {}."
    assert words.format(*costs) in readme
    told = []
    for data in ("soop-flair", "ixi-stroke"):
        rows = board(data)
        own = rows[rows["method"].eq("mend")]["dice_max"].item()
        papers, floor = (
            own / rows[chosen]["dice_max"].max()
            for chosen in (rows["method"].isin(PAPERS), rows["kind"].eq("floor"))
        )
        told.append(f"{papers:.2f} and {floor:.2f} times on")
    assert f"{told[0]} FLAIR, {told[1]} T1w, of the papers' methods as published." in readme
