"""Which cases the page shows, and what its pictures are made from."""

from __future__ import annotations

import base64
import io
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from uadbench.reports.page.choice import Chosen, choose
from uadbench.reports.page.pictures import colour_range, grey_image, map_image, mask_image, outline_path
from uadbench.reports.runs import load_run
from uadbench.reports.store import RunDirectory


def cell_of(path: Path, values: list[tuple[str, str | None, float]]) -> Any:
    """A cell whose cases are (id, size group or None where healthy, per-case figure)."""
    run = RunDirectory(path)
    run.write_manifest({"run_id": "r", "cells": ["thor"]})
    run.cell("thor").write_info({"kind": "method", "method": "thor"})
    for case_id, group, _ in values:
        record = {
            "case_id": case_id,
            "split": "test",
            "status": "ok",
            "lesion": group is not None,
            "lesion_px": 50,
        }
        run.cell("thor").append_case(record)
    scored = {case_id: {"dice": value, "score": value, "group": group} for case_id, group, value in values}
    run.cell("thor").write_summary({"n_cases": len(values), "per_case": scored}, {"n": 0})
    return load_run(path).cells[0]


def test_cases_are_spread_from_best_to_worst_over_sizes_and_healthy(tmp_path: Path) -> None:
    """8 places among 5 small, 5 large, 9 healthy: shared in turn, first and last of each group always among them."""
    values: list[tuple[str, str | None, float]] = [
        (f"s{number}", "small", number / 10) for number in range(5)
    ]
    values += [(f"l{number}", "large", number / 10) for number in range(5)]
    values += [(f"h{number}", None, number / 10) for number in range(9)]
    chosen = choose([cell_of(tmp_path, values)], limit=8)
    assert [case.group for case in chosen] == ["small"] * 3 + ["large"] * 3 + ["healthy"] * 2
    assert [case.case_id for case in chosen] == ["s4", "s2", "s0", "l4", "l2", "l0", "h8", "h0"]
    assert [(case.rank, case.of) for case in chosen[-2:]] == [(1, 9), (9, 9)]


def test_the_page_stays_small_whatever_the_number_of_methods(tmp_path: Path) -> None:
    """More methods mean fewer cases, never more pictures than a page may hold."""
    cell = cell_of(tmp_path, [(f"c{number}", "small", 0.5) for number in range(4, 90)])
    assert len(choose([cell] * 4)) == 24
    assert len(choose([cell] * 40, images=700)) == 700 // 82


def test_a_lesion_that_is_not_scored_is_not_shown(tmp_path: Path) -> None:
    """Lesions of 3 pixels or fewer have no group."""
    cell = cell_of(tmp_path, [("a", "small", 0.5), ("b", "tiny", 0.5)])
    assert [case.case_id for case in choose([cell])] == ["a"]


def decoded(address: str) -> np.ndarray:
    header, _, data = address.partition(",")
    assert header in ("data:image/webp;base64", "data:image/png;base64")
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB")).astype(int)


def test_pictures_show_what_they_are_made_from() -> None:
    """Slices keep the order of values; maps keep every grey level exactly, so that a cut at one is what it says."""
    ramp = np.tile(np.linspace(0, 1, 128, dtype=np.float32), (128, 1))
    assert np.abs(decoded(grey_image(ramp))[64, :, 0] - np.linspace(0, 255, 128)).max() < 8
    anomaly = np.random.default_rng(0).random((128, 128), dtype=np.float32)
    assert (decoded(map_image(anomaly, 0.8))[..., 1] == np.rint(np.minimum(anomaly / 0.8, 1) * 255)).all()
    mask = anomaly > 0.9
    assert (decoded(mask_image(mask))[..., 0] == 255 * mask).all()


@pytest.mark.parametrize(
    ("rows", "columns"),
    [
        pytest.param(slice(60, 62), slice(60, 63), id="six pixels"),
        pytest.param(slice(0, 9), slice(0, 4), id="in the picture's corner"),
        pytest.param(slice(20, 90), slice(30, 100), id="large"),
    ],
)
def test_an_outline_runs_half_a_pixel_outside_the_lesion(rows: slice, columns: slice) -> None:
    """So that a line of 1.5 screen pixels hides nothing of a lesion of 6 pixels."""
    mask = np.zeros((128, 128), bool)
    mask[rows, columns] = True
    points = np.array(
        [
            [float(part) for part in pair.split(",")]
            for pair in re.findall(r"[\d.-]+,[\d.-]+", outline_path(mask))
        ]
    )
    low, high = points.min(axis=0), points.max(axis=0)
    assert low == pytest.approx([columns.start - 0.5, rows.start - 0.5], abs=0.06)
    assert high == pytest.approx([columns.stop + 0.5, rows.stop + 0.5], abs=0.06)


def test_a_healthy_slice_has_no_outline_and_two_regions_have_two() -> None:
    """A path of closed parts."""
    mask = np.zeros((64, 64), bool)
    assert outline_path(mask) == ""
    mask[5:9, 5:9] = mask[30:40, 30:33] = True
    assert outline_path(mask).count("M") == outline_path(mask).count("Z") == 2


def test_a_colour_scale_is_a_cells_own_percentile(tmp_path: Path) -> None:
    """The scale's top is the 99.9th percentile over the chosen cases; a map of zeros has the scale 0 to 1."""
    cell = cell_of(tmp_path, [("a", "small", 0.5), ("b", "small", 0.4)])
    cases = [Chosen("a", "small", 1, 2, 50), Chosen("b", "small", 2, 2, 50)]
    values = np.arange(128 * 128, dtype=np.float32).reshape(128, 128)
    for scale, top in ((1, 0.999 * (128 * 128 - 1)), (0, 1.0)):
        for case in cases:
            cell.directory.write_arrays(case.case_id, scale * values, np.zeros((128, 128)))
        assert colour_range(cell, cases) == pytest.approx(top, rel=1e-3)
