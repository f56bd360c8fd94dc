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
from support import tiny_network as tiny

from uadbench.engine.backends.artifacts import ArtifactError, manifest_path, read_artifact
from uadbench.engine.backends.form import Form
from uadbench.engine.backends.onnxruntime import load_runtime
from uadbench.engine.networks.checkpoint import load_checkpoint
from uadbench.engine.perceptual.distance import open_perceptual
from uadbench.exporters.graph import exporter_sha256
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
    decides = {name: card[name] for name in ("sha256", "noise", "prediction", "schedule")}
    assert manifest["source"] == decides
    assert manifest["exporter_sha256"] == exporter_sha256()
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
