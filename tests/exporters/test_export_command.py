"""`bench export`: what it writes, in which form it asks for it, and what it refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from support import tiny_network as tiny

from uadbench.bench.commands.export import command
from uadbench.bench.run.calibration import slices_to_try
from uadbench.engine.backends.artifacts import read_artifact
from uadbench.engine.backends.form import Form
from uadbench.exporters.onnx import ExportError, export_unet


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files and the slices that they are tried on, as small as the tiny network."""
    cut = slice(48, 48 + tiny.SIZE)
    monkeypatch.setattr("uadbench.exporters.onnx.SIZE", tiny.SIZE)
    monkeypatch.setattr(
        "uadbench.bench.run.calibration.slices_to_try", lambda count: slices_to_try(count)[..., cut, cut]
    )
    # export_unet's default size was bound when it was defined, so the small size is handed over here
    monkeypatch.setattr(
        "uadbench.exporters.onnx.export_unet",
        lambda model, card, path, form, opset, calibration: export_unet(
            model, card, path, form, opset, tiny.SIZE, calibration
        ),
    )


@pytest.mark.usefixtures("small")
def test_bench_export_writes_verifies_and_repeats_itself(tmp_path: Path) -> None:
    checkpoint, output = tiny.make_checkpoint(tmp_path), tmp_path / "out"
    arguments = [
        "--checkpoint",
        str(checkpoint),
        "--only",
        "unet",
        "--batch-size",
        "3",
        "--output",
        str(output),
    ]
    result = CliRunner().invoke(command, arguments)
    assert result.exit_code == 0, result.output
    assert "opset 23  batch 3" in result.output
    artifact = read_artifact(output / "unet-gaussian-batch3.onnx")
    assert artifact.batch == 3
    assert artifact.data == tiny.make_artifact(tmp_path, batch=3).read_bytes()  # same network, same bytes


@pytest.mark.parametrize(
    ("arguments", "name", "form", "opset"),
    [
        pytest.param(["--precision", "bf16"], "unet-gaussian-bf16", Form("bf16"), None, id="precision"),
        pytest.param(
            ["--attention", "plain", "--batch", "2"],
            "unet-gaussian-plain-batch2",
            Form("fp32", "plain", 2),
            None,
            id="attention and batch",
        ),
        pytest.param(["--opset", "21"], "unet-gaussian-plain", Form("fp32", "plain"), 21, id="older opset"),
        pytest.param(
            ["--layout", "channels-last"],
            "unet-gaussian-channels-last",
            Form(layout="channels-last"),
            None,
            id="layout",
        ),
        pytest.param(
            ["--precision", "int8"],
            "unet-gaussian-int8",
            Form("int8", layout="channels-last"),
            None,
            id="int8",
        ),
    ],
)
def test_bench_export_asks_for_the_form_of_its_options(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    name: str,
    form: Form,
    opset: int | None,
) -> None:
    asked: list[Any] = []
    monkeypatch.setattr("uadbench.exporters.onnx.SIZE", tiny.SIZE)

    def export(*given: Any, calibration: Any) -> None:
        asked.append(given[2:])
        # 16 training slices of the phantom, noised, for int8 and for nothing else
        assert (calibration is not None) == (form.precision == "int8")
        if calibration is not None:
            assert calibration.record["source"]["data"] == "phantom"

    monkeypatch.setattr("uadbench.exporters.onnx.export_unet", export)
    monkeypatch.setattr("uadbench.bench.compare.exported.hold_network", lambda *given: 0.0)
    checkpoint = tiny.make_checkpoint(tmp_path)
    result = CliRunner().invoke(
        command, ["--only", "unet", "--checkpoint", str(checkpoint), "--output", str(tmp_path), *arguments]
    )
    assert result.exit_code == 0, result.output
    assert asked == [(tmp_path / f"{name}.onnx", form, opset)]
    assert f"exporting {name}.onnx, then holding it against torch fp32: " in result.stderr
    assert ("in torch bf16, minutes on some CPUs" in result.stderr) == (form.precision == "bf16")


def test_the_perceptual_net_is_written_in_one_layout_whatever_the_networks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []

    def export(net: Any, source: Any, folder: Path, name: str, form: Form, opset: Any) -> Any:
        asked.append((name, form))
        raise ExportError("enough; this test ends here")

    monkeypatch.setattr("uadbench.exporters.onnx.export_perceptual", export)
    words = [
        "--only",
        "perceptual",
        "--layout",
        "channels-last",
        "--attention",
        "plain",
        "--output",
        str(tmp_path),
    ]
    assert CliRunner().invoke(command, words).exit_code == 2
    assert asked == [("brain-squeeze-plain", Form("fp32", "plain"))]


@pytest.mark.slow
@pytest.mark.usefixtures("small")
def test_bench_export_writes_a_step_beside_the_network_and_tries_both(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from uadbench.exporters.step import export_step

    monkeypatch.setattr(
        "uadbench.exporters.step.export_step",
        lambda model, card, path, pairs, form, opset: export_step(
            model, card, path, pairs, form, opset, tiny.SIZE
        ),
    )
    checkpoint, output = tiny.make_checkpoint(tmp_path), tmp_path / "out"
    words = ["--only", "unet", "--checkpoint", str(checkpoint), "--output", str(output)]
    result = CliRunner().invoke(command, [*words, "--precision", "fp16", "--step", "350:4"])
    assert result.exit_code == 0, result.output
    assert result.output.count("error at 250 as a part of the image") == 1
    assert result.output.count("relative L2 against torch fp32 at step") == 3
    assert (
        "exporting unet-gaussian-step350-4-fp16.onnx, then holding it against torch fp32 at steps 0, 2, 3: "
        "in ONNX Runtime and in torch fp16, minutes on some CPUs\n"
    ) in result.stderr
    artifact = read_artifact(output / "unet-gaussian-step350-4-fp16.onnx", "step")
    assert (artifact.precision, len(artifact.manifest["chain"]["pairs"])) == ("fp16", 4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param(
            ["--batch-size", "0"], "neither a number from 1 to 4096 nor 'dynamic'", id="batch of none"
        ),
        pytest.param(["--only", "unet", "--checkpoint", "nowhere.safetensors"], "is missing", id="no file"),
        pytest.param(
            ["--only", "unet", "--network", "nosuch"], "name its file by --checkpoint FILE", id="no network"
        ),
        pytest.param(["--only", "perceptual", "--perceptual", "vgg"], "vgg", id="unknown net"),
        pytest.param(["--opset", "7"], "18<=x<=23", id="old opset"),
        pytest.param(["--opset", "21", "--attention", "fused"], "operator of opset 23", id="no operator"),
        pytest.param(["--precision", "int4"], "'int4' is not one of 'fp32', 'fp16', 'bf16'", id="precision"),
        pytest.param(["--precision", "int8"], "int8 is for the U-Net alone: give --only unet", id="int8"),
        pytest.param(
            ["--precision", "int8", "--only", "unet", "--step", "350:4"],
            "int8 is for the U-Net alone: give --only unet, and no --step",
            id="a step in int8",
        ),
        pytest.param(["--step", "far"], "'far' is not T or T:N, as 350 or 350:25", id="no chain"),
        pytest.param(["--step", "2000"], "t_start is 2000; allowed is 1 to 1000", id="beyond the schedule"),
        pytest.param(["--network", "vae", "--step", "250:5"], "it has no steps; leave it out", id="no steps"),
        pytest.param(["--step", "9:10"], "steps is 10; allowed is 1 to t_start = 9", id="many steps"),
    ],
)
def test_bench_export_explains_what_is_wrong(tmp_path: Path, arguments: list[str], message: str) -> None:
    result = CliRunner().invoke(command, [*arguments, "--output", str(tmp_path / "out")])
    assert result.exit_code == 2
    assert message in result.output
    assert "Traceback" not in result.output
    assert not (tmp_path / "out").exists()  # nothing is written before it is known to be possible
