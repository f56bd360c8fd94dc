"""What int8 is calibrated on: healthy slices at all levels, the same however it is asked for, and nothing of a test."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support import tiny_network as tiny
from support.int8 import CARD, INT8, healthy, slices
from torch import Tensor

from uadbench.bench.run import networks
from uadbench.bench.run.calibration import training_slices
from uadbench.datasets import DATASETS
from uadbench.engine.backends.artifacts import write_artifact
from uadbench.engine.backends.form import Form
from uadbench.engine.networks.checkpoint import load_denoiser, save_checkpoint
from uadbench.engine.perceptual.distance import open_squeeze
from uadbench.engine.schedule import linear_schedule
from uadbench.exporters.cache import cached_artifact
from uadbench.exporters.calibration import Calibration, Healthy, calibration_levels, calibration_set
from uadbench.exporters.onnx import ExportError, export_perceptual, export_unet
from uadbench.exporters.step import export_step
from uadbench.reports.identity import Arm


def test_the_calibration_reaches_every_tenth_of_the_levels_and_is_densest_where_methods_begin() -> None:
    levels = np.array(calibration_levels(1000))
    assert len(levels) == 16
    assert (levels[0], levels[-1]) == (1, 1000)
    assert np.all(np.diff(levels) > 0)
    counts = np.histogram(levels, bins=[0, 100, 200, 300, 400, 600, 800, 1000])[0]
    assert counts.min() >= 1
    assert np.mean(levels <= 400) == 0.75
    assert calibration_levels(10)[-1] == 10


@pytest.mark.parametrize("noise", ["gaussian", "simplex"])
def test_calibration_inputs_are_slices_noised_to_their_level_with_noise_of_the_networks_kind(
    noise: str,
) -> None:
    pairs = calibration_set(CARD | {"noise": noise}, healthy())
    abar, levels = linear_schedule().abar, pairs.record["levels"]
    assert pairs.inputs["timesteps"].tolist() == [level - 1 for level in levels]
    assert "cond" not in pairs.inputs
    draws = []
    for k, level in enumerate(levels):
        image = slices()[k % 3]
        drawn = (pairs.inputs["x"][k] - np.sqrt(abar[level]) * image) / np.sqrt(1 - abar[level])
        draws.append(drawn)
        rough = float((drawn[0, 1:] - drawn[0, :-1]).std() / drawn.std())
        # White noise differs by sqrt(2) of its spread from pixel to pixel; simplex noise is smooth.
        assert rough == pytest.approx(np.sqrt(2), abs=0.15) if noise == "gaussian" else rough < 0.8
    assert len({draw.numpy().tobytes() for draw in draws}) == len(levels)  # none is used twice
    assert pairs.record["noise"] == noise


def test_a_network_that_undoes_anomalies_is_calibrated_on_slices_without_noise_at_strengths() -> None:
    pairs = calibration_set(CARD | {"prediction": "change", "noise": None}, healthy())
    assert pairs.record["noise"] == "none"
    assert (min(pairs.record["levels"]), max(pairs.record["levels"])) == (1, 100)
    for k, image in enumerate(pairs.inputs["x"]):
        assert torch.equal(image, slices()[k % 3])


def test_a_conditioned_network_is_calibrated_with_the_clean_slice() -> None:
    pairs = calibration_set(CARD | {"kind": "conditioned-unet"}, healthy())
    assert torch.equal(pairs.inputs["cond"][1], slices()[1])
    assert pairs.inputs["cond"].shape == pairs.inputs["x"].shape


@pytest.fixture
def exports(monkeypatch: pytest.MonkeyPatch) -> list[Calibration]:
    """Replaces the export by a few bytes; what each was calibrated on."""
    calls: list[Calibration] = []

    def export(model: Any, card: dict[str, Any], path: Path, form: Form, calibration: Calibration) -> None:
        calls.append(calibration)
        write_artifact(path, b"onnx", tiny.manifest(card["sha256"], None) | {"precision": "int8"})

    monkeypatch.setattr("uadbench.exporters.onnx.export_unet", export)
    return calls


def test_the_cache_keeps_int8_by_what_it_was_calibrated_on_and_loads_no_slice_for_what_it_has(
    tmp_path: Path, exports: list[Calibration]
) -> None:
    checkpoint, cache, said = tiny.make_checkpoint(tmp_path), tmp_path / "cache", []
    first = cached_artifact(checkpoint, cache, INT8, healthy(), said.append)
    assert said == [
        "exporting unet-gaussian in int8, calibrated on 3 training slices of squares at 16 levels from 1 to 1000"
    ]

    def fail() -> Tensor:
        raise AssertionError("loaded")

    assert cached_artifact(checkpoint, cache, INT8, Healthy(healthy().record, fail), said.append) == first
    assert cached_artifact(checkpoint, cache, INT8, healthy("circles")) != first
    save_checkpoint(checkpoint, tiny.make_unet(), {"noise": "simplex"})
    assert cached_artifact(checkpoint, cache, INT8, healthy()) != first
    assert (len(exports), len(said)) == (3, 1)


def test_an_arm_of_int8_is_exported_on_demand_with_training_slices_of_the_phantom_for_both_back_ends(
    tmp_path: Path, exports: list[Calibration], monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[Path] = []
    monkeypatch.setattr(networks, "open_backend", lambda name, source, *rest: opened.append(source))
    checkpoint, said = tiny.make_checkpoint(tmp_path), []
    for name in ("openvino", "onnxruntime"):
        networks.open_denoiser(Arm(name, "int8"), checkpoint, cache=tmp_path / "cache", say=said.append)
    (pairs,) = exports
    assert opened[0] == opened[1]
    assert pairs.record["source"]["data"] == "phantom"
    assert pairs.record["source"]["split"] == "training"
    assert pairs.inputs["x"].shape == (16, 1, 128, 128)
    assert len(said) == 1


def test_no_calibration_slice_is_a_test_case() -> None:
    dataset = DATASETS["phantom"]()
    test = {dataset.load(case).image.tobytes() for case in dataset.split("test")[:6]}
    images = (training_slices(count=4).load() + 1) / 2
    assert images.min() >= 0
    assert not test & {image.numpy().tobytes() for image in images}


def test_int8_without_images_and_of_what_is_no_denoiser_is_refused(tmp_path: Path) -> None:
    checkpoint = tiny.make_checkpoint(tmp_path)
    model, card = load_denoiser(checkpoint)
    with pytest.raises(ExportError, match="int8 needs images to calibrate on"):
        export_unet(model, card, tmp_path / "net.onnx", INT8)
    with pytest.raises(ExportError, match="int8 needs images to calibrate on; name another --precision"):
        cached_artifact(checkpoint, tmp_path / "cache", INT8)
    with pytest.raises(ExportError, match="a whole step is not exported in int8"):
        export_step(model, card, tmp_path / "step.onnx", [(2, 1)], INT8)
    opened = open_squeeze("brain-squeeze")
    with pytest.raises(ExportError, match="the perceptual net is not exported in int8"):
        export_perceptual(opened.net, {"sha256": "0"}, tmp_path, "p", INT8)
