"""What compiled torch needs from outside, and where its kernels lie."""

from __future__ import annotations

import importlib.util
import os
import stat
import tempfile
from pathlib import Path

import pytest
import torch

from uadbench.engine.backends import BackendError, check_backend, open_backend
from uadbench.engine.backends.inductor_cache import VARIABLE, headers_are_safe, kernel_cache


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No test touches the user's folders."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv(VARIABLE, raising=False)
    return tmp_path


def test_a_missing_compiler_is_found_before_anything_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    for attempt in (
        lambda: check_backend("torch-compile"),
        lambda: open_backend("torch-compile", tmp_path / "none.safetensors"),
    ):
        with pytest.raises(BackendError, match=r"finds no 'no-such-compiler'; install g\+\+, or name one in"):
            attempt()


@pytest.mark.parametrize(
    ("precision", "device", "message"),
    [
        ("fp16", "cpu", "on cpu runs fp32, bf16, not 'fp16'"),
        ("int8", "cuda", "on cuda runs fp32, tf32, fp16, bf16, not 'int8'"),
        ("fp16", "cuda", "needs triton on a GPU; `pip install triton`"),
    ],
)
def test_what_it_does_not_run_on_is_said(
    monkeypatch: pytest.MonkeyPatch, precision: str, device: str, message: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(BackendError, match=message):
        check_backend("torch-compile", precision, device)


def test_kernels_go_where_the_user_says_else_to_a_folder_of_the_users_own(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, str(place / "mine"))
    with kernel_cache() as folder:
        assert folder == place / "mine"
        assert os.environ[VARIABLE] == str(folder)
    assert os.environ[VARIABLE] == str(place / "mine")
    from torch._inductor.runtime.runtime_utils import default_cache_dir

    monkeypatch.setenv(VARIABLE, default_cache_dir())  # torch itself writes that there
    with kernel_cache() as folder:
        assert folder == place / "cache" / "uadbench" / "kernels"
    assert os.environ[VARIABLE] == default_cache_dir()


@pytest.mark.parametrize(("mode", "safe"), [(None, True), (0o700, True), (0o755, True), (0o777, False)])
def test_headers_are_precompiled_only_in_a_folder_that_nobody_else_writes(
    place: Path, monkeypatch: pytest.MonkeyPatch, mode: int | None, safe: bool
) -> None:
    from torch._inductor.runtime.runtime_utils import default_cache_dir

    monkeypatch.setattr(tempfile, "tempdir", str(place))
    folder = Path(default_cache_dir())
    assert folder.parent == place
    if mode is not None:
        folder.mkdir()
        folder.chmod(mode)
    assert headers_are_safe() == safe
    assert mode is not None or stat.S_IMODE(folder.stat().st_mode) == 0o700
