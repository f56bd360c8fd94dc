"""What DAE's page and the README say of it on the test split is what the committed runs say."""

from __future__ import annotations

import json

import pandas as pd
from support.pages import page
from support.places import ROOT
from support.published import board, holm, lead, points, with_interval

DATA = ("soop-flair", "ixi-stroke")
MEND, DAE = "mend-none-0", "dae-none-0"
TEXT = " ".join(page("methods/dae.md").split())


def row(data: str, method: str) -> pd.Series:
    frame = board(data)
    return frame[frame["method"] == method].iloc[0]


def test_the_readme_says_the_same() -> None:
    readme = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())

    def told(data: str, method: str) -> str:
        found = row(data, method)
        return f"{with_interval(found)} and {points(found['auprc'])}"

    flair, t1w = (told(data, "dae") for data in DATA)
    assert f"has {flair} in one call and on `ixi-stroke` {t1w}," in readme
    for method, link in (("reflect", ""), ("disyre", "in eight ")):
        flair, t1w = (told(data, method) for data in DATA)
        assert f"](docs/methods/{method}.md) {link}{flair}, and {t1w}" in readme


def test_the_sentences_are_those_of_the_paired_differences() -> None:
    t1w, flair = "ixi-stroke", "soop-flair"
    assert f"on `ixi-stroke` by {lead(t1w, MEND, DAE)} in max Dice" in TEXT
    assert f"{lead(t1w, MEND, DAE, 'auprc')} in AUPRC" in TEXT
    assert f"on `soop-flair` by {lead(flair, MEND, DAE)} in max Dice" in TEXT
    assert max(holm(t1w, MEND, DAE), holm(t1w, MEND, DAE, "auprc"), holm(flair, MEND, DAE)) < 0.05
    assert f"from it by max Dice ({lead(flair, DAE, 'intensity-none-0')})" in TEXT
    assert f"in average Dice ({lead(flair, DAE, 'intensity-none-0', 'dice_average')})" in TEXT
    assert holm(flair, DAE, "intensity-none-0", "dice_average") < 0.05


def test_the_trend_on_validation_lesions_is_that_of_the_card() -> None:
    card = json.loads((ROOT / "models/dae-unet.json").read_text())
    log = {entry["step"]: entry["one_call_dice"] for entry in card["log"]}
    falls, rises = ([points(log[step][data]["1"]) for step in (500, 3000)] for data in DATA)
    assert f"fell from {falls[0]} to {falls[1]} on `soop-flair`" in TEXT
    assert f"rose from {rises[0]} to {rises[1]} on `ixi-stroke`" in TEXT
