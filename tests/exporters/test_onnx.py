"""Exported networks are one valid file each, say what they are, and are refused when they are not what they say."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from click.testing import CliRunner
from support import tiny_network as tiny

from uadbench.bench.commands.export import command
from uadbench.bench.run.calibration import slices_to_try
from uadbench.engine.backends.artifacts import ArtifactError, manifest_path, read_artifact
from uadbench.engine.backends.form import Form
from uadbench.engine.backends.onnxruntime import load_runtime
from uadbench.engine.networks.checkpoint import load_checkpoint
from uadbench.engine.perceptual.distance import open_perceptual
from uadbench.exporters.onnx import ExportError, export_perceptual, export_unet


def _sides(value: Any) -> list[int | str]:
    return [side.dim_param or side.dim_value for side in value.type.tensor_type.shape.dim]


def test_the_unet_is_one_valid_file_with_attention_nodes_and_an_open_batch(tmp_path: Path) -> None:
    path = tiny.make_artifact(tmp_path)
    proto = onnx.load(str(path), load_external_data=False)
    onnx.checker.check_model(proto, full_check=True)
    assert [_sides(value) for value in proto.graph.input] == [["batch", 1, 32, 32], ["batch"]]
    assert _sides(proto.graph.output[0]) == ["batch", 1, 32, 32]
    assert [(entry.domain, entry.version) for entry in proto.opset_import] == [("", 23)]
    attention = [node for node in proto.graph.node if node.op_type == "Attention"]
    assert len(attention) == 4  # down, middle, and the two of the way up
    assert not any(tensor.data_location == onnx.TensorProto.EXTERNAL for tensor in proto.graph.initializer)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["unet.onnx", "unet.onnx.json"]


def test_the_manifest_names_source_opset_shapes_precision_and_versions(tmp_path: Path) -> None:
    manifest = read_artifact(tiny.make_artifact(tmp_path)).manifest
    card = load_checkpoint(tiny.make_checkpoint(tmp_path))[1]
    assert manifest["source"] == {"sha256": card["sha256"], "noise": "gaussian"}
    assert (manifest["kind"], manifest["opset"], manifest["precision"]) == ("unet", 23, "fp32")
    assert manifest["attention"] == "fused"
    assert manifest["inputs"][0] == {"name": "x", "dtype": "float32", "shape": ["batch", 1, 32, 32]}
    assert manifest["inputs"][1] == {"name": "timesteps", "dtype": "int64", "shape": ["batch"]}
    assert manifest["versions"]["torch"] == torch.__version__
    assert manifest["versions"]["onnx"] == onnx.__version__


def test_no_path_of_the_exporting_machine_is_in_the_file(tmp_path: Path) -> None:
    data = tiny.make_artifact(tmp_path).read_bytes()
    source = Path(importlib.import_module("uadbench.engine.networks.unet").__file__ or "")
    assert str(source.resolve().parent).encode() not in data
    assert b"unet.py" not in data


def test_a_fixed_batch_of_one_and_an_older_opset_can_be_had(tmp_path: Path) -> None:
    model, card = load_checkpoint(tiny.make_checkpoint(tmp_path))
    path = tmp_path / "a.onnx"
    manifest = export_unet(model, card, path, Form("fp32", "plain", 1), size=tiny.SIZE)
    assert (manifest["batch"], manifest["opset"]) == (1, 21)
    assert manifest["inputs"][0]["shape"] == [1, 1, 32, 32]
    assert "Attention" not in manifest["operators"]
    assert read_artifact(path).batch == 1


@pytest.mark.parametrize(
    ("form", "opset", "message"),
    [
        pytest.param(Form(), 24, "opset is 24; torch's exporter writes 18 to 23", id="opset too new"),
        pytest.param(
            Form(), 21, "opset is 21; fused attention is an operator of opset 23", id="opset too old"
        ),
    ],
)
def test_impossible_requests_are_refused(tmp_path: Path, form: Form, opset: int, message: str) -> None:
    with pytest.raises(ExportError, match=message):
        export_unet(tiny.make_unet(), {"sha256": "0"}, tmp_path / "a.onnx", form, opset, tiny.SIZE)
    assert list(tmp_path.iterdir()) == []


def test_without_onnx_the_remedy_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(ExportError, match=r"pip install 'uadbench\[cpu\]'"):
        export_unet(tiny.make_unet(), {"sha256": "0"}, tmp_path / "a.onnx", size=tiny.SIZE)


@pytest.mark.parametrize("what", ["one byte", "truncated", "no manifest", "manifest torn", "kind", "missing"])
def test_an_artifact_that_does_not_match_its_manifest_is_refused_in_one_line(
    tmp_path: Path, what: str
) -> None:
    path = tiny.make_artifact(tmp_path)
    data, beside = path.read_bytes(), manifest_path(path)
    if what == "one byte":
        path.write_bytes(data[:5000] + bytes([data[5000] ^ 1]) + data[5001:])
    elif what == "truncated":
        path.write_bytes(data[:-1])
    elif what == "no manifest":
        beside.unlink()
    elif what == "manifest torn":
        beside.write_text(beside.read_text()[:40])
    elif what == "kind":
        beside.write_text(json.dumps({**json.loads(beside.read_text()), "kind": "perceptual-features"}))
    else:
        path.unlink()
    with pytest.raises(ArtifactError) as caught:
        read_artifact(path)
    assert "\n" not in str(caught.value)
    assert str(tmp_path) in str(caught.value)


def test_the_perceptual_net_computes_in_onnx_what_it_computes_in_torch(tmp_path: Path) -> None:
    onnxruntime = load_runtime()
    net = open_perceptual("brain-squeeze")
    source = {"name": net.name, "sha256": net.sha256}
    written = export_perceptual(net.net, source, tmp_path, "p", size=48)
    assert sorted(written) == ["p-distance.onnx", "p-features.onnx"]
    x = torch.rand(3, 1, 48, 48, generator=torch.Generator().manual_seed(0)) * 2 - 1
    features = onnxruntime.InferenceSession(
        read_artifact(tmp_path / "p-features.onnx", "perceptual-features").data
    ).run(None, {"x": x.numpy()})
    named = {f"feature{k}": value for k, value in enumerate(features)}
    session = onnxruntime.InferenceSession(
        read_artifact(tmp_path / "p-distance.onnx", "perceptual-distance").data
    )
    found = session.run(None, {**named, "x_rec": x.flip(-1).numpy()})[0]
    wanted = net.against(x)(x.flip(-1)).numpy()
    assert wanted.max() > 0
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5 * wanted.max())


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
