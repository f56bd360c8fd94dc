"""Every measure stands once, is scored, and is found wherever figures are shown."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest
from support.runs import CELLS, make_run

from uadbench.bench.score.scorers import SCORERS
from uadbench.datasets.case import SIZES, TOO_SMALL
from uadbench.reports import columns as columns_module
from uadbench.reports import rows as rows_module
from uadbench.reports import text as text_module
from uadbench.reports import truth as truth_module
from uadbench.reports import vocabulary
from uadbench.reports.atomic import read_json, write_json
from uadbench.reports.rows import rows_of
from uadbench.reports.runs import load_run
from uadbench.reports.text import markdown
from uadbench.reports.vocabulary import (
    FURTHER,
    HEADLINES,
    MEASURES,
    RANKED,
    SCORES,
    SIZE_NAMES,
    STAGES,
    TABLE,
    VOLUMES,
    Measure,
)


def test_every_name_and_every_head_of_a_column_stands_once() -> None:
    for heads in (
        [measure.name for measure in MEASURES.values()],
        [measure.title for measure in MEASURES.values()],
        [measure.short for measure in MEASURES.values() if measure.short],
        list(STAGES),
    ):
        assert len(set(heads)) == len(heads)
    assert [measure.name for measure in MEASURES.values()] == list(MEASURES)


def test_every_measure_stands_in_one_place_and_what_is_ranked_is_better_when_higher() -> None:
    assert sorted([*TABLE, *FURTHER, *VOLUMES]) == sorted(SCORES)
    assert {*VOLUMES} == {name for name, measure in MEASURES.items() if measure.volumes}
    assert {*RANKED} <= {*TABLE}
    for name in (*TABLE, *VOLUMES):  # a terminal needs its short head
        assert MEASURES[name].short, name
    for measure in MEASURES.values():
        assert measure.better in (-1, 1)
        assert measure.unit in ("%", "dB", "mm", "")
        assert measure.about.endswith("."), measure.name
    assert all(MEASURES[name].better == 1 for name in RANKED)  # marks takes the highest as the best


def test_every_measure_has_a_scorer_and_every_scorer_a_measure() -> None:
    assert set(SCORERS) == set(SCORES)


def test_the_size_groups_are_those_of_the_data_and_the_text_says_their_bounds() -> None:
    assert tuple(SIZES) == SIZE_NAMES
    about = MEASURES["dice_small"].about
    found = re.search(r"small (\d+) to (\d+), medium (\d+) to (\d+), large above (\d+) px", about)
    assert found
    (small, medium, large) = SIZES.values()
    bounds = (small[0] + 1, small[1], medium[0] + 1, medium[1], large[0])
    assert tuple(map(int, found.groups())) == bounds
    assert f"lesions of {TOO_SMALL} pixels or fewer" in about


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [("dice_max", 0.4126, "41.3"), ("psnr_healthy", 27.44, "27.4"), ("ssim_healthy", 0.91234, "0.912")],
)
def test_a_value_is_printed_in_its_unit(name: str, value: float, text: str) -> None:
    assert MEASURES[name].text(value) == text


def test_a_new_measure_is_in_table_and_csv_without_any_other_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    new = Measure("hausdorff", "Hausdorff px", "HD", "Distance.", better=-1, unit="", ranked=False)
    measures = {**MEASURES, "hausdorff": new}
    for module in (vocabulary, columns_module, rows_module, text_module, truth_module):
        for name, value in (("SCORES", tuple(measures)), ("TABLE", (*TABLE, "hausdorff"))):
            if hasattr(module, name):
                monkeypatch.setattr(module, name, value)
    monkeypatch.setitem(MEASURES, "hausdorff", new)
    path = make_run(tmp_path / "run", cells=CELLS[:1], n_lesion=2, n_healthy=1)
    metrics = path / "cells" / "thor-gaussian-25-torch-fp32" / "metrics.json"
    write_json(metrics, read_json(metrics) | {"hausdorff": {"value": 12.34, "lo": 10.0, "hi": 15.0}})
    run = load_run(path)
    frame = rows_of([run])
    assert frame.loc[0, ["hausdorff", "hausdorff_lo", "hausdorff_hi"]].tolist() == [12.34, 10.0, 15.0]
    assert "hausdorff" in frame.to_csv().splitlines()[0].split(",")
    lines = markdown([run], frame).splitlines()
    head = next(line for line in lines if line.startswith("| method |"))
    row = next(line for line in lines if line.startswith("| THOR"))
    assert row.split(" | ")[head.split(" | ").index("Hausdorff px")].startswith("12.3")


def test_a_measure_that_is_left_out_of_metrics_json_is_missing_and_not_zero(tmp_path: Path) -> None:
    path = make_run(tmp_path / "run", cells=CELLS[:1], n_lesion=2, n_healthy=1)
    metrics = path / "cells" / "thor-gaussian-25-torch-fp32" / "metrics.json"
    write_json(metrics, {key: value for key, value in read_json(metrics).items() if key not in SCORES})
    frame = rows_of([load_run(path)])
    of_masks = (measure for measure in MEASURES.values() if measure.applies_to("mask"))
    usual = [measure.name for measure in of_masks if not measure.optional and not measure.volumes]
    assert frame.loc[0, usual].isna().all()
    assert not set(SCORES) - set(usual) & set(frame)


def test_the_truth_of_a_data_set_decides_which_measures_it_has() -> None:
    assert {measure.truth for measure in MEASURES.values()} == {"mask", "boxes", "any"}
    masks, boxes = ({n for n, m in MEASURES.items() if m.applies_to(truth)} for truth in ("mask", "boxes"))
    assert masks & boxes == {
        "auroc_image",
        "fpr_healthy_test",
        "ssim_healthy",
        "psnr_healthy",
        "lpips_healthy",
    }
    assert masks | boxes == set(MEASURES)
    for truth, headline in HEADLINES.items():
        assert headline.applies_to(truth)
        assert headline.name in RANKED


def test_a_measure_is_a_record_that_nobody_changes() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        MEASURES["auprc"].better = -1  # type: ignore[misc]
