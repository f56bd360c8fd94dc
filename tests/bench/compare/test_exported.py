"""A denoiser's file is tried on inputs such as its network knows: good ones pass, bad ones do not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from support.forms import KINDS, SIZE
from torch import Tensor, nn

from uadbench.bench.compare.exported import hold_network
from uadbench.engine.backends.form import Form
from uadbench.exporters.calibration import Healthy, calibration_set
from uadbench.exporters.onnx import export_unet
from uadbench.exporters.precision import in_form

RESTORING = [name for name, kind in KINDS.items() if kind.card.get("prediction") == "change"]


def slices(seed: int, count: int) -> Tensor:
    return torch.rand(count, 1, SIZE, SIZE, generator=torch.Generator().manual_seed(seed)) * 2 - 1


class Answering(nn.Module):
    """A network, whose answers a function alters."""

    def __init__(self, inner: nn.Module, alter: Any) -> None:
        super().__init__()
        self.inner, self.alter = inner, alter

    def forward(self, x: Tensor, timesteps: Tensor, *cond: Tensor) -> Tensor:
        found: Tensor = self.alter(self.inner(x, timesteps, *cond))
        return found


def held(tmp_path: Path, name: str, precision: str, truth: Any = lambda answer: answer) -> float:
    """The error over what is tolerated, of a file of the kind, the network being ``truth`` of what is in the file."""
    kind, form = KINDS[name], Form(precision, layout="channels-last")
    model, path = kind.make(), tmp_path / "net.onnx"
    pairs = calibration_set(kind.card, Healthy({}, lambda: slices(0, 16))) if precision == "int8" else None
    manifest = export_unet(model, kind.card, path, form, size=SIZE, calibration=pairs)
    return hold_network(
        path, manifest, kind.card, slices(1, 2), Answering(model, truth), in_form(model, form)
    )


@pytest.mark.parametrize("name", ["unet", *RESTORING])
def test_a_good_file_passes_in_fp32_and_the_line_says_by_how_much(
    tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert held(tmp_path, name, "fp32") <= 1
    told = capsys.readouterr().out
    assert (
        "error at 250 as a part of the image" if name == "unet" else "error at 1 and 100 as a part"
    ) in told
    assert ("of a pixel's probability" in told) == (name == "restoration-unet")


def test_a_file_whose_change_or_probability_is_wrong_does_not_pass(tmp_path: Path) -> None:
    logits = torch.tensor([0.0, 1.0])[:, None, None]
    for k, wrong in enumerate((lambda y: y + 0.1 * (1 - logits), lambda y: y + 0.1 * logits)):
        folder = tmp_path / str(k)
        folder.mkdir()
        assert held(folder, "restoration-unet", "fp32", wrong) > 1


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mend-unet", "dae-unet", "cold-unet", "flow-unet", "vae", "unet-gaussian"])
def test_shipped_networks_in_int8_pass_on_slices_that_were_not_calibrated_on(
    tmp_path: Path, name: str
) -> None:
    from click.testing import CliRunner

    from uadbench.bench.commands.export import command

    words = ["--network", name, "--only", "unet", "--precision", "int8", "--output", str(tmp_path)]
    result = CliRunner().invoke(command, words)
    assert result.exit_code == 0, result.output
