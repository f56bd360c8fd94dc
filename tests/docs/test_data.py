"""The page on data quotes the published run on wrists as it is."""

from __future__ import annotations

import pandas as pd
from support.pages import page
from support.published import RESULTS, board, points

METHODS = {"ddpm": "DDPM", "autoddpm": "AutoDDPM", "thor": "THOR"}


def test_the_page_says_how_many_boxes_are_found_and_that_no_method_is_above_the_floor() -> None:
    rows, text = board("phantom-wrist").set_index("method"), " ".join(page("data.md").split())
    first, *others = [f"{title}{{}} {points(rows.box_recall[name])} %" for name, title in METHODS.items()]
    found = ", ".join([first.format(" finds"), *(other.format("") for other in others)])
    assert found.replace(" %", " % of the boxes", 1) in text
    classes = pd.read_csv(RESULTS / "phantom-wrist" / "boxes.csv").set_index(["cell", "class"]).recall
    ddpm, autoddpm, thor = (points(classes[rows.cell[name], "fracture"]) for name in METHODS)
    assert f"of fractures {ddpm}, {autoddpm} and {thor} %" in text
    assert rows.box_f1[list(METHODS)].max() < rows.box_f1["intensity"]
