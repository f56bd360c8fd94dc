"""What DAE's page says of the test split is what the committed run says."""

from __future__ import annotations

import pandas as pd
from support.pages import page, table
from support.places import ROOT

RESULTS = ROOT / "docs" / "results"
FRAME = pd.read_csv(RESULTS / "dae.csv").set_index(["dataset", "method"])
PAIRED = pd.read_csv(RESULTS / "dae-paired.csv").set_index(["dataset", "measure", "other"])
PAGE = page("methods/dae.md")


def points(value: float) -> str:
    return f"{100 * value:.1f}"


def dice_of(row: pd.Series) -> str:
    return f"{points(row['dice_max'])} [{points(row['dice_max_lo'])}, {points(row['dice_max_hi'])}]"


def lead(data: str, measure: str, other: str, sign: int = 1) -> str:
    """DAE's lead over another row, or the other's (sign -1), with its interval."""
    row = PAIRED.loc[(data, measure, other)]
    low, high = sorted((sign * row["lo"], sign * row["hi"]))
    return f"{points(sign * row['difference'])} [{points(low)}, {points(high)}]"


def test_the_table_is_that_of_the_committed_run() -> None:
    for line in table(PAGE, "results: dae"):
        row = FRAME.loc[(line["data"], line["method"])]
        assert line["max Dice"] == dice_of(row)
        assert (line["average"], line["AUPRC"]) == (points(row["dice_average"]), points(row["auprc"]))
        sizes = " / ".join(points(row[f"dice_{size}"]) for size in ("small", "medium", "large"))
        assert line["small / medium / large"] == sizes


def test_the_readme_says_the_same() -> None:
    readme = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    scores = {key: f"{dice_of(row)} and {points(row['auprc'])}" for key, row in FRAME.iterrows()}
    assert f"has {scores['soop-flair', 'dae']}, and on `ixi-stroke` {scores['ixi-stroke', 'dae']}" in readme
    assert f"Mend ({scores['ixi-stroke', 'mend']})" in readme


def test_the_sentences_are_those_of_the_paired_differences() -> None:
    text = " ".join(PAGE.split())
    assert f"max Dice ({lead('ixi-stroke', 'dice_max', 'mend')} points)" in text
    assert f"leads Mend by AUPRC, {lead('ixi-stroke', 'auprc', 'mend')}, and" in text
    assert f"Mend leads by {lead('soop-flair', 'dice_max', 'mend', -1)} in max Dice" in text
    assert f"from it by max Dice ({lead('soop-flair', 'dice_max', 'intensity')})" in text
    told_apart = PAIRED.xs("mend", level="other").loc["ixi-stroke"]["p_holm"] < 0.05
    assert told_apart.to_dict() == {"auprc": True, "dice_average": False, "dice_max": False}
    assert PAIRED.loc[("soop-flair", "dice_average", "intensity")]["hi"] < 0
