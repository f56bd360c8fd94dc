"""What the pages say of floors at their best is what the committed runs say."""

from __future__ import annotations

import math

import pandas as pd
from support.pages import page, table
from support.places import ROOT

from uadbench.engine.methods import FITTED_FLOORS, FLOORS
from uadbench.engine.methods.tuning import SIGMAS

RESULTS = ROOT / "docs" / "results"
FRAME = pd.read_csv(RESULTS / "fitted-floors.csv")
PAIRED = pd.read_csv(RESULTS / "fitted-floors-paired.csv")
FLOORS_PAGE = page("methods/floors.md")


def percent(value: float) -> str:
    return f"{100 * value:.1f}"


def lead(data: str, floor: str, measure: str) -> str:
    """Of Mend, in points, with its interval; "-" where the pair was not tested."""
    wanted = (PAIRED["dataset"] == data) & (PAIRED["variant_b"] == floor) & (PAIRED["measure"] == measure)
    found = PAIRED[wanted]
    if found.empty:
        return "-"
    (row,) = found.itertuples()
    return f"{percent(-row.difference)} [{percent(-row.hi)}, {percent(-row.lo)}]"


def test_the_table_is_that_of_the_committed_runs() -> None:
    told = table(FLOORS_PAGE, "results: fitted-floors")
    shown = FRAME[~FRAME["method"].isin(["blur", "perceptual-blur"])]
    assert [(row["data"], row["row"]) for row in told] == list(
        zip(shown["dataset"], shown["method"], strict=True)
    )
    for line, (_, row) in zip(told, shown.iterrows(), strict=True):
        assert line["sigma"] == ("-" if math.isnan(row["sigma"]) else f"{row['sigma']:g}")
        ends = f"[{percent(row['dice_max_lo'])}, {percent(row['dice_max_hi'])}]"
        assert line["max Dice"] == f"{percent(row['dice_max'])} {ends}"
        assert (line["average"], line["AUPRC"]) == (percent(row["dice_average"]), percent(row["auprc"]))
        assert line["Mend's lead, max Dice"] == lead(row["dataset"], row["method"], "dice_max")


def test_the_committed_runs_have_every_floor_and_the_fixed_ones_score_as_they_did() -> None:
    before = pd.read_csv(RESULTS / "mend.csv")
    for data, part in FRAME.groupby("dataset"):
        assert {*FLOORS, *FITTED_FLOORS, "mend"} == set(part["method"])
        then = before[before["dataset"] == data].set_index("method")["dice_max"]
        now = part.set_index("method")["dice_max"]
        for name in ("mend", "intensity", "asymmetry", "residual-median"):
            if name in then:
                assert abs(now[name] - then[name]) < 1e-5, (data, name)


def test_the_sentences_on_mend_are_those_of_the_committed_runs() -> None:
    text = " ".join(page("methods/mend.md").split())
    best = FRAME.set_index(["dataset", "method"]).loc[("soop-flair", "asymmetry-intensity-fitted")]
    pair = f"{percent(best['dice_max'])} in max Dice and {percent(best['auprc'])} in AUPRC on `soop-flair`"
    assert pair in text
    flair, t1w = ("soop-flair", "asymmetry-intensity-fitted"), ("ixi-stroke", "zscore-fitted")
    assert f"({lead(*flair, 'dice_max')} and {lead(*flair, 'auprc')} points)" in text
    assert f"leads it by {lead(*flair, 'dice_average')}" in text
    assert f"by {lead(*t1w, 'dice_max')} in max Dice and {lead(*t1w, 'auprc')} in AUPRC" in text
    readme = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    ends = f"[{percent(best['dice_max_lo'])}, {percent(best['dice_max_hi'])}]"
    assert f"has {percent(best['dice_max'])} {ends} and {percent(best['auprc'])} there" in readme


def test_what_fitting_mends_own_width_gives_is_told_as_it_is() -> None:
    text, rows = " ".join(page("methods/mend.md").split()), pd.read_csv(RESULTS / "mend-fitted.csv")
    flair, t1w = (row for _, row in rows.iterrows())
    assert f"becomes {flair['sigma']:g} px on `soop-flair` and {t1w['sigma']:g} px on `ixi-stroke`" in text
    told = [
        f"{percent(row['dice_max'])} [{percent(row['dice_max_lo'])}, {percent(row['dice_max_hi'])}]"
        for row in (flair, t1w)
    ]
    assert " and ".join(told) in text


def test_the_widths_of_the_page_are_those_that_are_tried() -> None:
    *some, last = (f"{sigma:g}" for sigma in SIGMAS)
    assert f"`sigma` among {', '.join(some)} and {last} px" in " ".join(FLOORS_PAGE.split())
    assert all(f"`{name}`" in FLOORS_PAGE for name in FITTED_FLOORS)
