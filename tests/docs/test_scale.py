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


def test_the_memory_of_many_cells_is_that_of_the_measurements() -> None:
    def peak(step: str, cases: int) -> int:
        (row,) = of_step(step, cases).itertuples()
        return int(row.peak_mib)

    few, many = (peak(f"load_run with {n} cells, lines repeated", 200_000) for n in (2, 16))
    assert f"opened in {few} MiB with 2 cells and in {many} MiB with 16" in TEXT
    few, many = (peak(f"bench report with {n} cells, lines repeated", 200_000) for n in (2, 6))
    assert f"written in {few} MiB with 2 cells and in {many} MiB with 6" in TEXT
    few, many = (peak(f"bench report with {n} cells, limit 30 MB", 20_000) for n in (2, 8))
    before = [peak(f"bench report before with {n} cells", 20_000) for n in (2, 8)]
    assert f"took {few} MiB with 2 cells and {many} MiB with 8 (before: {before[0]} and {before[1]})" in TEXT
    few, many = (peak(f"bench compare with {n} cells, limit 30 MB", 20_000) for n in (2, 8))
    all_held = peak("bench compare with 8 cells, all held", 20_000)
    assert f"`bench compare` took {few} and {many} MiB, and {all_held} where all 8 are held" in TEXT
