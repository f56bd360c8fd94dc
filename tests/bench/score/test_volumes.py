"""Scores of whole volumes against closed forms, and which volumes are scored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from uadbench.bench.score.cases import Scored, Thresholds
from uadbench.bench.score.cells import has_volumes, incomplete_volumes, slice_of
from uadbench.bench.score.lesions import NEEDS_MONAI
from uadbench.bench.score.measured import Cases, Slice
from uadbench.bench.score.operating import OperatingPoint
from uadbench.bench.score.summary import differences, summarize
from uadbench.bench.score.tally import tally
from uadbench.bench.score.volume_scorers import UNKNOWN_SPACING, VOLUME_SCORERS
from uadbench.bench.score.volumes import FAILED, NO_LESION

SIDE = 8
SPACING = (3.0, 2.0, 1.0)


def plane(*blobs: tuple[int, int, float]) -> np.ndarray:
    made = np.zeros((SIDE, SIDE), dtype=np.float32)
    for row, column, value in blobs:
        made[row : row + 2, column : column + 2] = value
    return made


def of_volume(
    name: str,
    slices: Sequence[tuple[np.ndarray, np.ndarray]],
    spacing: tuple[float, float, float] | None = SPACING,
) -> list[tuple[Scored, Slice]]:
    """Cases of (map, mask) from position 10 upwards."""
    return [
        (
            Scored(f"{name}-{z}", name, bool(mask.any()), anomaly, mask.astype(bool)),
            Slice(name, 10 + z, spacing),
        )
        for z, (anomaly, mask) in enumerate(slices)
    ]


def cases(made: Sequence[tuple[Scored, Slice]], incomplete: frozenset[str] = frozenset()) -> Cases:
    scored = [case for case, _ in made]
    return replace(Cases.held(scored), slices=[place for _, place in made], incomplete=incomplete)


def one() -> list[tuple[Scored, Slice]]:
    """A lesion of 8 voxels, in two slices at 0.6 and 0.4; 4 voxels beside at 0.5; 64 x 3 voxels in all."""
    lesion = plane((1, 1, 1))
    return of_volume(
        "one", [(plane((1, 1, 0.6)), lesion), (plane((1, 1, 0.4), (5, 5, 0.5)), lesion), (plane(),) * 2]
    )


def two() -> list[tuple[Scored, Slice]]:
    """Two lesions of 4 voxels in the outer slices, the first at 0.9, the second missed."""
    return of_volume(
        "two", [(plane((1, 1, 0.9)), plane((1, 1, 1))), (plane(),) * 2, (plane(), plane((5, 5, 1)))]
    )


def healthy_val() -> list[Scored]:
    """3 of 64 pixels are 0.45, so that at most 5 % exceed 0 and the threshold is 0."""
    anomaly = np.zeros((SIDE, SIDE), dtype=np.float32)
    anomaly.flat[:3] = 0.45
    return [Scored("val", "val", False, anomaly, np.zeros((SIDE, SIDE), dtype=bool))]


def values(found: dict) -> dict[str, float | None]:
    return {name: found[name]["value"] for name in VOLUME_SCORERS if name in found}


def test_the_scores_are_means_over_volumes() -> None:
    found = summarize(cases([*one(), *two()]), healthy_val(), seed=0, n_boot=50)
    got = values(found)
    # Below 0.4, "one" finds 8 and 4 beside: 16 / 20; "two" finds 4 of 8: 8 / 12. Above, "one" loses.
    assert got["volume_dice_max"] == pytest.approx((16 / 20 + 8 / 12) / 2)
    assert found["volume_dice_max"]["threshold"] == 0
    assert got["volume_dice_healthy_fpr5"] == pytest.approx((16 / 20 + 8 / 12) / 2)
    # average precision: 4 of 8 at precision 1, then 8 of 12; and 4 of 8 at 1, the rest with all 192 voxels
    assert got["volume_auprc"] == pytest.approx(((0.5 + 0.5 * 8 / 12) + (0.5 + 0.5 * 8 / 192)) / 2)
    assert got["volume_lesion_recall"] == pytest.approx((1 + 1 / 2) / 2)
    assert got["volume_lesion_f1"] == pytest.approx((2 * 0.5 / 1.5 + 2 * 0.5 / 1.5) / 2)
    assert got["volume_hausdorff95"] is not None
    assert "volume_dice_fitted" not in found
    assert found["volumes"]["n"] == 2
    kept = found["volumes"]["per_volume"]["two"]
    assert (kept["lesions"], kept["lesions_found"], kept["components"], kept["components_true"]) == (
        2,
        1,
        1,
        1,
    )
    assert kept["spacing_mm"] == list(SPACING)
    assert kept["n_slices"] == 3


def test_one_threshold_serves_all_volumes() -> None:
    """By itself "high" is perfect above 0.7, where nothing of "one" is found."""
    high = of_volume("high", [(plane((1, 1, 0.8), (5, 5, 0.7)), plane((1, 1, 1))), (plane(),) * 2])
    found = summarize(cases([*one(), *high]), [], seed=0, n_boot=20)
    dice = {0.0: (16 / 20 + 8 / 12) / 2, 0.7: (0 + 1) / 2, 0.5: (8 / 12 + 8 / 12) / 2}
    assert found["volume_dice_max"]["value"] == pytest.approx(max(dice.values()))
    assert found["volume_dice_healthy_fpr5"]["value"] is None  # no healthy case fixes a threshold


def test_each_volumes_average_precision_is_scikit_learns() -> None:
    rng = np.random.default_rng(0)
    slices = [
        (rng.random((SIDE, SIDE)).round(1).astype(np.float32), rng.random((SIDE, SIDE)) < 0.2)
        for _ in range(5)
    ]
    (volume,) = tally(cases(of_volume("v", slices)), Thresholds()).volumes.scored  # type: ignore[union-attr]
    truth, pixels = (np.concatenate([pair[i].ravel() for pair in slices]) for i in (1, 0))
    assert volume.average_precision == pytest.approx(average_precision_score(truth, pixels))


def test_small_lesions_and_healthy_slices_belong_to_their_volume() -> None:
    """One voxel of lesion, which no score of slices takes: its volume is perfect, and its own resamples exist."""
    mask = np.zeros((SIDE, SIDE))
    mask[3, 3] = 1
    made = [
        pair
        for i in range(12)
        for pair in of_volume(f"v{i}", [(mask.astype(np.float32), mask), (plane(),) * 2])
    ]
    found = summarize(cases(made), [], seed=0, n_boot=50)
    assert (found["n_lesion"], found["n_excluded"]) == (0, 12)
    assert found["volume_dice_max"] == {"value": 1, "lo": 1, "hi": 1, "threshold": 0}
    assert found["volume_hausdorff95"]["value"] == 0


def test_the_order_of_slices_does_not_matter_and_neither_does_the_way_pixels_are_counted() -> None:
    made = [*one(), *two()]
    found = [
        summarize(cases(order), healthy_val(), seed=0, n_boot=20, exact_pixels=limit)
        for order in (made, made[::-1], made[::2] + made[1::2])
        for limit in (2**24, 1)
    ]
    assert len({repr(values(one)) for one in found}) == 1
    assert found[0]["volumes"] == {**found[-1]["volumes"], "per_volume": found[0]["volumes"]["per_volume"]}


def test_components_are_cut_at_a_slice_that_the_run_does_not_have() -> None:
    """Slices 10 and 12 of one lesion: two lesions, for nothing is known of 11."""
    lesion = plane((1, 1, 1))
    (a, first), _, (b, third) = of_volume("v", [(lesion, lesion), (plane(),) * 2, (lesion, lesion)])
    found = summarize(cases([(a, first), (b, third)]), [], seed=0, n_boot=20)
    assert found["volumes"]["per_volume"]["v"]["lesions"] == 2


def test_a_volume_with_a_failed_slice_and_one_without_lesion_are_left_out_and_named() -> None:
    empty = of_volume("empty", [(plane((1, 1, 0.3)), plane()), (plane(),) * 2])
    found = summarize(cases([*one(), *two()[1:], *empty], frozenset({"two"})), [], seed=0, n_boot=20)
    assert found["volumes"]["left_out"] == {"two": FAILED, "empty": NO_LESION}
    assert list(found["volumes"]["per_volume"]) == ["one"]
    assert found["volume_dice_max"]["value"] == pytest.approx(16 / 20)


def test_where_every_volume_is_left_out_the_scores_have_no_value() -> None:
    found = summarize(cases(two()[1:], frozenset({"two"})), [], seed=0, n_boot=20)
    assert set(values(found).values()) == {None}
    assert found["volumes"]["n"] == 0


@pytest.mark.parametrize(
    "made",
    [
        pytest.param(Cases.held([case for case, _ in one()]), id="no volumes"),
        pytest.param(cases([one()[0], two()[0]]), id="a slice of each"),
    ],
)
def test_without_volumes_of_several_slices_there_is_nothing_of_them(made: Cases) -> None:
    found = summarize(made, [], seed=0, n_boot=20)
    assert not [name for name in found if name.startswith("volume")]


def test_components_too_small_in_three_dimensions_are_no_finding_at_the_fitted_threshold() -> None:
    """8 voxels of two slices are one component of 8, which stays; 4 beside go."""
    point = OperatingPoint(0.3, 7)
    found = summarize(cases(one()), [], seed=0, n_boot=20, operating=point)
    assert found["volume_dice_fitted"]["value"] == 1
    assert (found["volume_dice_fitted"]["threshold"], found["volume_dice_fitted"]["component_px"]) == (0.3, 7)
    assert found["dice_fitted"]["value"] == 0  # slice by slice, 4 pixels are too few


def test_what_cannot_be_measured_in_mm_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    without = of_volume("v", [(plane((1, 1, 1)), plane((1, 1, 1))), (plane(),) * 2], spacing=None)
    found = summarize(cases(without), [], seed=0, n_boot=20)
    assert found["volumes"]["notes"] == [UNKNOWN_SPACING]
    assert found["volume_hausdorff95"]["value"] is None
    assert found["volume_lesion_f1"]["value"] == 1
    monkeypatch.setattr("uadbench.bench.score.volume_scorers.surfaces_known", lambda: False)
    assert summarize(cases(one()), [], seed=0, n_boot=20)["volumes"]["notes"] == [NEEDS_MONAI]


def test_two_methods_are_paired_by_volume() -> None:
    better = [(replace(case, anomaly=case.mask.astype(np.float32)), place) for case, place in one() + two()]
    a, b = (tally(cases(side), Thresholds()) for side in (one() + two(), better))
    found = differences(["volume_dice_max", "volume_lesion_recall"], a, b, seed=0, n_boot=20)
    change = found["volume_dice_max"]
    assert change is not None
    assert change.value == pytest.approx(1 - (16 / 20 + 8 / 12) / 2)
    assert (change.n_cases, change.n_subjects) == (2, 2)


def record(case_id: str, volume: str, status: str = "ok", split: str = "test") -> dict:
    return {"case_id": case_id, "volume": volume, "position": 1, "status": status, "split": split}


def test_records_say_which_volumes_are_not_whole() -> None:
    records = [
        record("a1", "a"),
        record("a2", "a", "failed"),
        record("b1", "b"),
        record("b2", "b"),
        record("c", "c", "failed"),
    ]
    assert incomplete_volumes(records) == {"a"}  # c is an only slice: a failed case and no volume
    assert incomplete_volumes(records, shared={"b1"}) == {"a", "b"}
    assert incomplete_volumes([record("v", "v", "failed", "val"), record("w", "v", split="val")]) == set()
    assert has_volumes(r["volume"] for r in records)
    assert not has_volumes(["a", "b", "", ""])


def test_a_record_gives_place_and_spacing() -> None:
    assert slice_of({"case_id": "x"}) is None
    assert slice_of(record("a1", "a")) == Slice("a", 1)
    assert slice_of({**record("a1", "a"), "spacing_mm": [3.0, 1.5, 1.0]}) == Slice("a", 1, (3.0, 1.5, 1.0))
