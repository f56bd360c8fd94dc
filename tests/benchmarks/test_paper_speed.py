"""The papers' network against how public code calls it: ``pytest -n 0 -m benchmark``; nothing is asserted of time.

One call on one image, alternately in one process. The rival is eager torch in fp32 with attention by einsum and
channels first, as MONAI has them where nothing else is asked for; against it torch as it is an arm here (fused
attention, channels last) and each precision of OpenVINO. All with the same weights, drawn, for time does not depend on
what a network was taught. ``python FILE [TABLE.csv]`` prints the comparisons alone, and writes them down: some minutes.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from rivals import compare, write
from torch import nn

from uadbench.bench.run.calibration import slices_to_try, training_slices
from uadbench.engine.backends import BACKENDS
from uadbench.engine.backends.artifacts import read_artifact
from uadbench.engine.backends.openvino import HINTS, OpenVinoDenoiser
from uadbench.engine.backends.torch import TorchDenoiser
from uadbench.engine.networks.checkpoint import load_denoiser, save_checkpoint
from uadbench.engine.networks.diffusion_unet import DiffusionUNet, DiffusionUNetConfig
from uadbench.exporters.cache import cached_artifact
from uadbench.exporters.parity import relative_l2

RIVAL = "eager fp32, einsum, channels first"
LEVEL, ROUNDS = 250, 15
Call = Callable[[], torch.Tensor]


def networks(folder: Path) -> dict[bool, Path]:
    """fused_attention -> a checkpoint, of the same weights."""
    torch.manual_seed(0)
    drawn, found = DiffusionUNet(), {}
    for weight in drawn.parameters():
        if not bool(weight.any()):  # else it would answer 0, whatever it was asked
            nn.init.normal_(weight, std=0.02)
    for fused in (True, False):
        (folder / str(fused)).mkdir()
        model = DiffusionUNet(replace(DiffusionUNetConfig(), fused_attention=fused))
        model.load_state_dict(drawn.state_dict())
        found[fused] = folder / str(fused) / "unet-gaussian.safetensors"
        save_checkpoint(found[fused], model, {"kind": "diffusion-unet", "noise": "gaussian"})
    return found


def rival(checkpoint: Path) -> Call:
    """A call by torch with nothing of ours around it."""
    model, x, t = load_denoiser(checkpoint)[0].eval(), slices_to_try(1), torch.tensor([LEVEL - 1])

    @torch.inference_mode()
    def call() -> torch.Tensor:
        return model(x, t)  # type: ignore[no-any-return]

    return call


def ours(checkpoint: Path, cache: Path) -> dict[str, Call]:
    """What is held against it."""
    x, t, known = slices_to_try(1), torch.tensor([LEVEL]), BACKENDS["openvino"]
    arms: dict[str, Call] = {"torch fp32": partial(TorchDenoiser(*load_denoiser(checkpoint)).denoise, x, t)}
    for precision in HINTS:
        path = cached_artifact(checkpoint, cache, known.form(precision, 1, "cpu"), training_slices())
        arms[f"openvino {precision}"] = partial(
            OpenVinoDenoiser(read_artifact(path), precision).denoise, x, t
        )
    return arms


def comparisons(folder: Path) -> list[dict[str, str]]:
    """A row an arm."""
    found = networks(folder)
    public, work = rival(found[False]), f"one call of the papers' network, {torch.get_num_threads()} threads"
    return [
        compare(f"{work}, {name}", RIVAL, call, public, ROUNDS)
        for name, call in ours(found[True], folder / "cache").items()
    ]


@pytest.mark.benchmark
def test_ratios_of_the_papers_network(capsys, tmp_path):
    """Prints both sides and their ratio."""
    with capsys.disabled():
        print()
        comparisons(tmp_path)


@pytest.mark.benchmark
def test_the_rival_computes_the_same(tmp_path):
    """Without that its time would say nothing."""
    found = networks(tmp_path)
    (eager,) = (call for name, call in ours(found[True], tmp_path / "cache").items() if name == "torch fp32")
    assert relative_l2(eager(), rival(found[False])()) < 1e-5


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        write(comparisons(Path(place)), sys.argv[1:])
