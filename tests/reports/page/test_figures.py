"""The plots: colours that a method keeps, axes that can be read, curves that agree with the scores."""

from __future__ import annotations

import re
from importlib.resources import files
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from support.runs import make_run
from support.stored import change_blob

from uadbench.engine.methods import METHODS
from uadbench.reports.page.distributions import case_dice_of, paired_differences, reference_row
from uadbench.reports.page.figures import accuracy_against_latency, latency_ticks
from uadbench.reports.page.shown import METHOD_COLOURS, colour_of, looks, shown_cells
from uadbench.reports.page.svg import SERIES
from uadbench.reports.page.thresholds import dice_curve
from uadbench.reports.page.times import stages_of, time_by_stage, time_outside_network
from uadbench.reports.rows import rows_of
from uadbench.reports.runs import Cell, Run, load_run
from uadbench.reports.store import RunDirectory
from uadbench.reports.vocabulary import STAGES


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return load_run(make_run(tmp_path_factory.mktemp("runs") / "a", n_lesion=6, n_healthy=2))


@pytest.fixture(scope="module")
def frame(run: Run) -> pd.DataFrame:
    return rows_of([run])


@pytest.mark.parametrize(
    ("low", "high"),
    [
        pytest.param(3000.0, 4500.0, id="3299 and 4147 ms"),
        pytest.param(1130.0, 1190.0, id="all but equal"),
        pytest.param(0.1, 9000.0, id="five decades"),
        pytest.param(560.0, 4100.0, id="one decade"),
        pytest.param(9.2, 10.9, id="around a power of ten"),
    ],
)
def test_a_latency_axis_has_at_least_two_labelled_ticks(low: float, high: float) -> None:
    """However close the values lie, and few enough to be read however far apart."""
    ticks = latency_ticks(low, high)
    assert 2 <= len(ticks) <= 8
    assert all(low <= tick <= high for tick in ticks)


def test_close_latencies_are_labelled_in_the_drawing(frame: pd.DataFrame) -> None:
    """Two methods at 3299 and 4147 ms: the axis shows round values between and around them."""
    part = frame[frame["kind"] == "method"].head(2).assign(latency_ms_p50=[3299.0, 4147.0])
    svg = accuracy_against_latency(part, "x")
    assert svg is not None
    numbers = [float(text) for text in re.findall(r">(\d+)</text>", svg)]
    assert len([value for value in numbers if 2500 < value < 5000]) >= 2


def test_a_methods_colour_depends_on_its_name_alone(frame: pd.DataFrame) -> None:
    """Other methods, other data and other order change nothing; what has no place of its own is hashed to the rest."""
    assert len(set(METHOD_COLOURS.values())) == len(METHOD_COLOURS)
    assert set(METHOD_COLOURS) == set(METHODS)
    alone = looks(frame[frame["method"] == "ddpm"])
    assert all(looks(frame)[name].colour == look.colour for name, look in alone.items())
    for name in ("one-call", "my method", ""):
        assert max(METHOD_COLOURS.values()) < colour_of(name) < SERIES
        assert colour_of(name) == colour_of(name)


def test_variants_of_one_method_share_its_colour_and_differ_otherwise(frame: pd.DataFrame) -> None:
    """By dash of lines and fill of markers."""
    found = [look for name, look in looks(frame).items() if name.startswith("THOR")]
    assert len(found) == 2
    assert found[0].colour == found[1].colour
    assert found[0].dash != found[1].dash
    assert found[0].fill != found[1].fill


def test_the_reference_arm_is_shown_where_it_is_scored(frame: pd.DataFrame) -> None:
    """One cell a variant, torch fp32 among the back ends, every floor."""
    shown = shown_cells(frame)
    assert len(shown) == frame["variant"].nunique()
    assert set(shown["arm"]) == {"torch fp32"}


def test_stages_without_times_are_no_bar(frame: pd.DataFrame) -> None:
    """latency.json with nulls, as a cell has it that failed on every case, or none at all."""
    assert stages_of({"stages_ms": dict.fromkeys(STAGES)}) == {}
    assert stages_of({"stages_ms": None}) == {}
    assert stages_of(None) == {}
    assert time_by_stage(frame, {0: {}, 1: {}}, "x") is None
    assert time_outside_network(frame, {0: dict.fromkeys(STAGES, 0.0) | {STAGES[0]: 5.0}}, "x") is None
    svg = time_by_stage(frame, {0: dict.fromkeys(STAGES, 0.0) | {STAGES[0]: 5.0}}, "x")
    assert svg is not None
    assert "100.0% network" in svg


def test_differences_are_held_against_the_best_method_case_by_case(frame: pd.DataFrame) -> None:
    """Of the cases that both have; the reference has no row of its own."""
    best = reference_row(frame, {0: {"a": 0.5, "b": 0.5}, 1: {"a": 0.6}})
    assert best == 0
    cases = {0: {"a": 0.5, "b": 0.5, "c": 0.1}, 2: {"a": 0.6, "b": 0.2, "d": 0.9}}
    svg = paired_differences(frame, cases, "x")
    assert svg is not None
    assert "mean −10.0 · 1 up, 1 down" in svg
    assert paired_differences(frame, {0: cases[0]}, "x") is None


def test_a_case_dice_is_the_scored_lesions_own(run: Run) -> None:
    """Healthy and failed cases have none."""
    found = case_dice_of(run.cells[0])
    assert len(found) == 5
    assert all(0 <= value <= 1 for value in found.values())


def cell_of(
    tmp_path: Path, maps: list[np.ndarray], masks: list[np.ndarray], groups: list[str | None]
) -> tuple[Cell, Run]:
    """A cell with these maps, and its run alone."""
    run = RunDirectory(tmp_path)
    run.write_manifest({"run_id": "r", "cells": ["c"]})
    run.cell("c").write_info({"method": "thor"})
    for number, (anomaly, mask) in enumerate(zip(maps, masks, strict=True)):
        run.write_input(f"{number}", np.zeros_like(anomaly), mask)
        run.cell("c").write_arrays(f"{number}", anomaly, np.zeros_like(anomaly))
    per_case = {f"{number}": {"group": group} for number, group in enumerate(groups)}
    run.cell("c").write_summary({"n_cases": len(maps), "per_case": per_case}, {"n": 0})
    loaded = load_run(tmp_path)
    return loaded.cells[0], [loaded]


def test_dice_over_the_threshold_pools_the_scored_lesions(tmp_path: Path) -> None:
    """By hand, over both lesion cases: unscored lesions and healthy cases count for nothing."""
    rng = np.random.default_rng(0)
    maps = [rng.random((16, 16), dtype=np.float32) for _ in range(4)]
    masks = [rng.random((16, 16)) < share for share in (0.3, 0.1, 0.01, 0.0)]
    cell, runs = cell_of(tmp_path, maps, masks, ["large", "small", None, None])
    thresholds, dice = dice_curve(cell, runs) or ([], [])
    for threshold, value in list(zip(thresholds, dice, strict=True))[::10]:
        above = [anomaly > np.float32(threshold) for anomaly in maps[:2]]
        hit = sum(int((cut & mask).sum()) for cut, mask in zip(above, masks[:2], strict=True))
        total = sum(int(cut.sum() + mask.sum()) for cut, mask in zip(above, masks[:2], strict=True))
        assert value == pytest.approx(2 * hit / total)


def test_a_curve_with_a_case_missing_is_not_drawn(tmp_path: Path) -> None:
    """A part of the cases would give another maximum than the table's."""
    maps, masks = [np.ones((4, 4), np.float32)] * 2, [np.eye(4, dtype=bool)] * 2
    cell, runs = cell_of(tmp_path, maps, masks, ["small", "small"])
    assert dice_curve(cell, runs) is not None
    change_blob(tmp_path / "cells" / "c" / "arrays", "1", lambda blob: b"torn")
    assert dice_curve(cell, runs) is None


def test_colours_reach_the_contrast_that_wcag_asks_for() -> None:
    """In both themes: 4.5 to 1 for text on any of the page's grounds, 3 to 1 for what plots are drawn with."""
    style = files("uadbench.reports.page").joinpath("templates", "page.css").read_text(encoding="utf-8")
    colours = dict(re.findall(r"--(\w+): light-dark\(([^)]+)\)", style))
    for theme in (0, 1):
        value = {name: pair.split(", ")[theme] for name, pair in colours.items()}
        for ground in ("paper", "raised", "tint"):
            for name in ("ink", "muted", "accent", "warn", "good"):
                assert contrast(value[name], value[ground]) >= 4.5, (theme, name, ground)
        for name in value:
            if re.fullmatch(r"[st]\d", name):
                assert contrast(value[name], value["paper"]) >= 3, (theme, name)


def contrast(one: str, other: str) -> float:
    """WCAG's contrast ratio of two #rrggbb colours."""

    def luminance(colour: str) -> float:
        parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)
