"""The account of a run tells what really ran."""

from __future__ import annotations

from pathlib import Path

from support.files import edit
from support.runs import CELLS, make_run

from uadbench.reports.atomic import read_json
from uadbench.reports.provenance import account
from uadbench.reports.runs import load_run


def test_the_account_tells_what_really_ran(tmp_path: Path) -> None:
    """A line a back end, the checkpoint's card, and the shares of a session; older manifests have no such line."""
    path = make_run(tmp_path / "run", cells=CELLS[:1], n_lesion=2, n_healthy=1)
    assert not any(name.startswith("What really ran") for name, _ in account(load_run(path)))
    described = {
        "provider": "OpenVINO CPU",
        "openvino": "2026.4.1",
        "threads": 2,
        "precision_hint": "bf16",
        "layers_by_precision": {"bf16": 40, "f32": 3},
        "artifact_sha256": "ab" * 32,
    }
    seconds = {
        "load": 1.0,
        "score": 2.0,
        "write": 0.5,
        "other": 0.5,
        "open": 1.0,
        "parity": 2.0,
        "total": 40.0,
    }
    manifest = read_json(path / "manifest.json")
    card = {"name": "unet-gaussian", "steps": 6000, "parameters": 3779588, "loss": 0.03, "seconds": 9}
    edit(
        path / "manifest.json",
        backends={"openvino bf16 gaussian": described},
        sessions=[{"seconds": seconds, "harness_fraction": 0.1}],
        checkpoints={"gaussian": manifest["checkpoints"]["gaussian"] | {"card": card}},
    )
    lines = dict(account(load_run(path)))
    assert lines["What really ran: openvino bf16 gaussian"] == (
        "provider OpenVINO CPU; openvino 2026.4.1; threads 2; precision hint bf16; "
        "layers by precision bf16 40, f32 3; artifact sha256 abababababababab"
    )
    assert lines["Sessions"] == (
        "40 s: 10.0% reading, scoring and writing; 7.5% opening back ends and parity"
    )
    assert lines["Checkpoint gaussian"].startswith("unet-gaussian, 6000 steps, 3779588 parameters (sha256 ")
