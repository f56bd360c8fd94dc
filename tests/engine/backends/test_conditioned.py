"""A network that is also shown the clean image runs everywhere alike, and nowhere without it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from support import tiny_network as tiny

from uadbench.engine.backends import BackendError, check_backend, open_backend
from uadbench.engine.networks.checkpoint import CheckpointError, load_denoiser, save_checkpoint
from uadbench.engine.networks.image_encoder import EncoderConfig, MaskedEncoder
from uadbench.exporters.onnx import export_unet
from uadbench.exporters.parity import network_parity, relative_l2

ARMS = [("torch", "fp32", 1e-6), ("onnxruntime", "fp32", 1e-5), ("openvino", "fp32", 1e-5)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """net.safetensors, whose prediction is x0, and net.onnx."""
    place = tmp_path_factory.mktemp("conditioned")
    save_checkpoint(
        place / "net.safetensors", tiny.make_conditioned(), {"noise": "simplex", "prediction": "x0"}
    )
    denoiser, card = load_denoiser(place / "net.safetensors")
    export_unet(denoiser, card, place / "net.onnx", size=tiny.SIZE)
    return place


def inputs() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    x_t, t = tiny.inputs(3)
    return x_t, t, tiny.inputs(3, seed=1)[0]


@pytest.mark.parametrize(("name", "precision", "gate"), ARMS)
def test_a_back_end_hands_the_clean_image_on(folder: Path, name: str, precision: str, gate: float) -> None:
    check_backend(name, precision)
    source = folder / ("net.safetensors" if name == "torch" else "net.onnx")
    denoiser, (x_t, t, cond) = open_backend(name, source, precision, threads=1), inputs()
    model = load_denoiser(folder / "net.safetensors")[0]
    found = denoiser.denoise(x_t, t, cond)
    assert relative_l2(found, model(x_t, t - 1, cond)) < gate
    assert relative_l2(found, model(x_t, t - 1, cond.flip(3))) > 1e-3  # the condition matters
    with pytest.raises(BackendError, match="conditioned on the clean image; give cond"):
        denoiser.denoise(x_t, t)
    with pytest.raises(BackendError, match=r"cond is \[2, 1, 32, 32\], the images are \[3, 1, 32, 32\]"):
        denoiser.denoise(x_t, t, cond[:2])
    denoiser.close()


def test_parity_shows_both_the_clean_images(folder: Path) -> None:
    reference = open_backend("torch", folder / "net.safetensors")
    other = open_backend("onnxruntime", folder / "net.onnx", threads=1)
    _, _, images = inputs()
    found = network_parity(
        reference, other, images.clamp(-1, 1), seeds=(0,), levels=(500,), noise="simplex", conditioned=True
    )
    assert found["pass"]


def test_an_unconditional_network_refuses_a_condition(tmp_path: Path) -> None:
    denoiser = open_backend("torch", tiny.make_checkpoint(tmp_path))
    x_t, t, cond = inputs()
    with pytest.raises(BackendError, match="unconditional; give no cond"):
        denoiser.denoise(x_t, t, cond)


def test_an_encoder_is_no_denoiser(tmp_path: Path) -> None:
    path = tmp_path / "masked-encoder.safetensors"
    save_checkpoint(path, MaskedEncoder(EncoderConfig((8, 8), 12)), {"prediction": "x0"})
    with pytest.raises(CheckpointError, match="holds a masked-encoder, which is no denoiser"):
        load_denoiser(path)
