"""The cache of exported networks: one export for each checkpoint, for this user alone, for any back end."""

from __future__ import annotations

import os
import stat
import time
from pathlib import Path
from typing import Any

import pytest
from support import tiny_network as tiny

from uadbench.bench.run.networks import open_denoiser
from uadbench.engine.backends import BackendError
from uadbench.engine.backends.artifacts import read_artifact, write_artifact
from uadbench.engine.backends.form import Form
from uadbench.engine.networks.checkpoint import save_checkpoint
from uadbench.engine.sealed import LITTER_S
from uadbench.exporters.cache import cache_folder, cached_artifact
from uadbench.exporters.onnx import ExportError
from uadbench.reports.identity import Arm


@pytest.fixture
def exports(monkeypatch: pytest.MonkeyPatch) -> list[Form]:
    """Replaces the export, which takes seconds, by a few bytes; the forms that were exported."""
    calls: list[Form] = []

    def export(model: Any, card: dict[str, Any], path: Path, form: Form) -> dict[str, Any]:
        calls.append(form)
        return write_artifact(path, b"onnx", tiny.manifest(card["sha256"], form.batch))

    monkeypatch.setattr("uadbench.exporters.onnx.export_unet", export)
    return calls


def test_a_network_is_exported_once_and_kept_for_this_user_alone(tmp_path: Path, exports: list[Form]) -> None:
    checkpoint, cache = tiny.make_checkpoint(tmp_path), tmp_path / "cache"
    first = cached_artifact(checkpoint, cache)
    assert cached_artifact(checkpoint, cache) == first
    assert exports == [Form()]
    assert cached_artifact(checkpoint, cache, Form(batch=2)) != first
    assert exports == [Form(), Form(batch=2)]
    assert read_artifact(first).data == b"onnx"
    assert not list(cache.glob(".partial-*"))
    if os.name == "posix":
        modes = {path: stat.S_IMODE(path.stat().st_mode) for path in (cache, *cache.rglob("*"))}
        assert all(mode == (0o700 if path.is_dir() else 0o600) for path, mode in modes.items()), modes


@pytest.mark.parametrize(
    ("seed", "card"),
    [
        pytest.param(1, {"noise": "gaussian"}, id="weights"),
        pytest.param(0, {"noise": "gaussian", "prediction": "v"}, id="what it predicts"),
    ],
)
def test_another_network_has_another_entry(
    tmp_path: Path, exports: list[Form], seed: int, card: dict[str, Any]
) -> None:
    checkpoint, cache = tiny.make_checkpoint(tmp_path), tmp_path / "cache"
    first = cached_artifact(checkpoint, cache)
    save_checkpoint(checkpoint, tiny.make_unet(seed=seed), card)
    assert cached_artifact(checkpoint, cache) != first
    assert exports == [Form(), Form()]


def test_another_version_of_the_code_has_another_entry(
    tmp_path: Path, exports: list[Form], monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint, cache = tiny.make_checkpoint(tmp_path), tmp_path / "cache"
    first = cached_artifact(checkpoint, cache)
    (tmp_path / "onnx.py").write_text("# changed")
    monkeypatch.setattr("uadbench.exporters.onnx.__file__", str(tmp_path / "onnx.py"))
    assert cached_artifact(checkpoint, cache) != first


def test_a_failed_export_leaves_nothing_of_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(model: Any, card: Any, path: Path, form: Any) -> None:
        path.write_bytes(b"half")
        raise ExportError("no")

    monkeypatch.setattr("uadbench.exporters.onnx.export_unet", fail)
    with pytest.raises(ExportError, match="no"):
        cached_artifact(tiny.make_checkpoint(tmp_path), tmp_path / "cache")
    assert {path.name for path in (tmp_path / "cache").iterdir()} <= {"key", ".lock"}


def test_a_full_disk_is_one_line_that_names_the_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(model: Any, card: Any, path: Path, form: Any) -> None:
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr("uadbench.exporters.onnx.export_unet", fail)
    with pytest.raises(BackendError, match=r"cache.*unet\.onnx: cannot hold .* \(No space left on device\)"):
        cached_artifact(tiny.make_checkpoint(tmp_path), tmp_path / "cache")


def test_a_cache_where_a_file_stands_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(BackendError, match="cannot hold exported networks"):
        cache_folder(tmp_path / "cache")


def test_what_killed_exports_left_a_day_ago_is_cleared(tmp_path: Path, exports: list[Form]) -> None:
    checkpoint, cache = tiny.make_checkpoint(tmp_path), tmp_path / "cache"
    cached_artifact(checkpoint, cache)
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "mine").write_text("")
    for name in ("old", "young"):
        (cache / f".partial-{name}").mkdir()
        (cache / f".partial-{name}" / "unet.onnx").write_bytes(b"half")
    (cache / ".partial-link").symlink_to(outside)
    long_ago = time.time() - LITTER_S - 60
    for name in ("old", "link"):
        os.utime(cache / f".partial-{name}", (long_ago, long_ago), follow_symlinks=False)
    cached_artifact(checkpoint, cache)
    assert [path.name for path in cache.glob(".partial-*")] == [".partial-young"]
    assert (outside / "mine").exists()


def test_torch_needs_no_export_and_an_unknown_back_end_is_named_before_one(tmp_path: Path) -> None:
    checkpoint = tiny.make_checkpoint(tmp_path)
    open_denoiser(Arm(), checkpoint, cache=tmp_path / "cache", say=None).close()
    with pytest.raises(BackendError, match="unknown back end 'onnxruntim'"):
        open_denoiser(Arm("onnxruntim"), checkpoint, cache=tmp_path / "cache", say=None)
    with pytest.raises(BackendError, match="has no bf16 arithmetic"):
        open_denoiser(Arm("onnxruntime", "bf16"), checkpoint, cache=tmp_path / "cache", say=None)
    assert not (tmp_path / "cache").exists()
