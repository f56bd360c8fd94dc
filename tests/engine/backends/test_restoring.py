"""Networks that restore answer alike on every back end of a CPU, also the VAE, which does not look at its timesteps."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from support.forms import KINDS, SIZE, inputs

from uadbench.engine.backends import BackendError, check_backend, open_backend
from uadbench.exporters.onnx import export_unet
from uadbench.exporters.parity import relative_l2


@pytest.fixture(scope="module", params=["restoration-unet", "vae"])
def exported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    kind = KINDS[request.param]
    path = tmp_path_factory.mktemp("network") / "net.onnx"
    export_unet(kind.make(), kind.card, path, size=SIZE)
    return request.param, path


@pytest.mark.parametrize(
    ("backend", "precision", "hint", "gate"),
    [
        pytest.param("onnxruntime", "fp32", None, 1e-5, id="onnxruntime"),
        pytest.param("openvino", "fp32", None, 1e-5, id="openvino"),
        pytest.param("openvino", "fp32", "throughput", 1e-5, id="openvino throughput"),
        pytest.param("openvino", "bf16", None, 5e-2, id="openvino bf16"),
    ],
)
def test_a_back_end_answers_as_torch_does(
    exported: tuple[str, Path], backend: str, precision: str, hint: str | None, gate: float
) -> None:
    check_backend(backend, precision)
    name, path = exported
    kind, given = KINDS[name], inputs(KINDS[name].card)
    denoiser = open_backend(
        backend, path, precision, threads=1, batch_size=3, **({"hint": hint} if hint else {})
    )
    found = denoiser.denoise(given["x"], given["timesteps"] + 1, given.get("cond"))
    with torch.inference_mode():
        wanted = kind.make()(*given.values())
    assert relative_l2(found, wanted) < gate
    denoiser.close()


def test_what_openvino_cannot_compile_is_one_line(
    exported: tuple[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    denoiser = open_backend("openvino", exported[1], "fp32", threads=1, batch_size=2)
    given = inputs(KINDS[exported[0]].card)
    monkeypatch.setattr(denoiser, "_config", lambda: {"INFERENCE_PRECISION_HINT": "no such precision"})
    with pytest.raises(BackendError, match=r"^openvino cannot compile net\.onnx for batches of 3: [^\n]+$"):
        denoiser.denoise(given["x"], given["timesteps"] + 1)
