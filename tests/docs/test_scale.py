"""What the page says of many cases is what was measured and committed."""

from __future__ import annotations

import pandas as pd
from support.pages import page, table
from support.places import ROOT

FRAME = pd.read_csv(ROOT / "docs" / "results" / "scale.csv")
TEXT = page("run-directory.md")


def of_step(step: str, cases: int) -> pd.DataFrame:
    return FRAME[(FRAME["step"] == step) & (FRAME["cases"] == cases)]


def test_the_table_is_that_of_the_measurements() -> None:
    for line in table(TEXT, "scale"):
        (row,) = of_step(line["step"], 200_000).itertuples()
        for head, value in (("processor s", row.cpu_s), ("wall s", row.wall_s), ("peak MiB", row.peak_mib)):
            assert line[head] == (f"{value:.1f}" if value < 10 else f"{value:.0f}")


def test_the_rates_of_keeping_are_those_of_the_measurements() -> None:
    held, fast = (
        of_step(step, 5000) for step in ("keep from an executor of 500 a second", "keep as fast as it can")
    )
    assert f"5000 in {held['wall_s'].median():.1f} s, three times" in TEXT
    assert len(held) == 3
    assert (held["cpu_s"] < 0.5 * held["wall_s"]).all()
    low, high = (round(5000 / wall, -1) for wall in (fast["wall_s"].max(), fast["wall_s"].min()))
    assert f"{low:.0f} to {high:.0f} a\n  second at most" in TEXT
    (before,) = FRAME[FRAME["step"].str.startswith("keep before")].itertuples()
    assert f"gave {before.cases / before.wall_s:.0f} a second" in TEXT
