"""Engines are kept for one GPU, version, network and precision, and only what this user built and sealed is loaded."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import filelock
import pytest
from support.fake_device import FACTS
from support.fake_tensorrt import FakeTensorRt
from support.tiny_engines import engine_source

from uadbench.engine.backends import BackendError, tensorrt_build
from uadbench.engine.backends.engine_cache import (
    PLAN,
    RECORD,
    TIMES,
    Engine,
    cached_engine,
    engine_store,
    entry_key,
)
from uadbench.engine.backends.tensorrt_build import Recipe
from uadbench.engine.backends.tensorrt_library import RTX, TENSORRT, Library
from uadbench.engine.sealed import read_entry, seal

RECIPE = Recipe("fp32", {"x": (2, 1, 32, 32), "timesteps": (2,)}, (8, 9), 1 << 30)


def cached(trt: FakeTensorRt, folder: Path, library: Library = TENSORRT, **more: Any) -> Engine:
    data = engine_source(folder).data
    return cached_engine(trt, library, data, RECIPE, FACTS, engine_store(folder / "engines"), **more)


def entry_of(folder: Path) -> Path:
    (found,) = (folder / "engines").glob(f"*/{PLAN}")
    return found.parent


def test_an_engine_is_built_once_and_kept_for_this_user_alone(tmp_path: Path) -> None:
    trt, told = FakeTensorRt(), []
    first = cached(trt, tmp_path, say=told.append)
    second = cached(trt, tmp_path, say=told.append)
    assert (first.fresh, second.fresh) == (True, False)
    assert (first.plan, first.record) == (second.plan, second.record)
    assert trt.calls.count("build") == 1
    assert told == ["building a TensorRT engine, fp32, for NVIDIA Test 1: once, it is then kept"]
    assert cached(trt, tmp_path, anew=True).fresh
    if os.name == "posix":
        store = tmp_path / "engines"
        modes = {path: stat.S_IMODE(path.stat().st_mode) for path in (store, *store.rglob("*"))}
        assert all(mode == (0o700 if path.is_dir() else 0o600) for path, mode in modes.items()), modes


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda k: k | {"onnx": b"another"}, id="network"),
        pytest.param(lambda k: k | {"library": RTX}, id="library"),
        pytest.param(lambda k: k | {"trt": FakeTensorRt("11.4.1")}, id="version"),
        pytest.param(lambda k: k | {"facts": replace(FACTS, gpu="NVIDIA Test 2")}, id="GPU"),
        pytest.param(lambda k: k | {"facts": replace(FACTS, capability=(9, 0))}, id="compute capability"),
        pytest.param(lambda k: k | {"facts": replace(FACTS, driver="581.00")}, id="driver"),
        pytest.param(lambda k: k | {"facts": replace(FACTS, cuda="13.1")}, id="CUDA"),
        pytest.param(lambda k: k | {"recipe": replace(RECIPE, precision="fp16")}, id="precision"),
        pytest.param(lambda k: k | {"recipe": replace(RECIPE, shapes={"x": (4, 1, 32, 32)})}, id="batch"),
        pytest.param(lambda k: k | {"recipe": replace(RECIPE, workspace=1 << 31)}, id="workspace"),
        pytest.param(lambda k: k | {"recipe": replace(RECIPE, level=5)}, id="level"),
    ],
)
def test_whatever_decides_an_engine_is_in_its_key(change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    base = {"trt": FakeTensorRt(), "library": TENSORRT, "onnx": b"x", "recipe": RECIPE, "facts": FACTS}
    assert entry_key(**base) == entry_key(**base)
    assert entry_key(**change(base)) != entry_key(**base)


def test_another_way_to_build_is_another_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = entry_key(FakeTensorRt(), TENSORRT, b"x", RECIPE, FACTS)
    assert {"strongly_typed": True, "tf32": False}.items() <= before["recipe"].items()
    (tmp_path / "build.py").write_text("# changed")
    monkeypatch.setattr(tensorrt_build, "__file__", str(tmp_path / "build.py"))
    assert entry_key(FakeTensorRt(), TENSORRT, b"x", RECIPE, FACTS) != before


def plan_altered(entry: Path) -> None:
    (entry / PLAN).write_bytes(b"evil code")


def record_altered(entry: Path) -> None:
    record = json.loads((entry / RECORD).read_text())
    (entry / RECORD).write_text(json.dumps(record | {"convolutions": {"fp16": 33}}))


def both_altered_and_sealed_by_a_stranger(entry: Path) -> None:
    plan_altered(entry)
    record_altered(entry)
    parts = {part: (entry / part).read_bytes() for part in (PLAN, RECORD)}
    (entry / "seal").write_text(seal(b"guess" * 8, entry.name, parts))


@pytest.mark.parametrize(
    "damage",
    [
        plan_altered,
        record_altered,
        both_altered_and_sealed_by_a_stranger,
        pytest.param(lambda entry: (entry / "seal").unlink(), id="no seal"),
        pytest.param(lambda entry: (entry.parent / "key").write_bytes(b"k" * 32), id="another key"),
        pytest.param(lambda entry: (entry / PLAN).chmod(0o666), id="open to others"),
        pytest.param(lambda entry: os.truncate(entry / PLAN, 20), id="truncated"),
    ],
)
def test_an_engine_that_is_not_as_this_user_left_it_is_built_again(
    tmp_path: Path, damage: Callable[[Path], object]
) -> None:
    trt = FakeTensorRt()
    first, entry = cached(trt, tmp_path), entry_of(tmp_path)
    damage(entry)
    again = cached(trt, tmp_path)
    assert again.fresh
    assert again.plan.startswith(b"PLAN")
    assert again.record["convolutions"] == first.record["convolutions"]
    assert not cached(trt, tmp_path).fresh, "once it is built again it is kept"


def test_a_user_is_told_that_another_process_is_waited_for(tmp_path: Path) -> None:
    trt, told = FakeTensorRt(), []
    store = engine_store(tmp_path / "engines")
    lock = filelock.FileLock(store.folder / ".lock", thread_local=False)
    lock.acquire()

    def say(line: str) -> None:
        told.append(line)
        lock.release()  # the other is done, as soon as the waiting began

    assert cached(trt, tmp_path, say=say).fresh
    assert told[0] == f"another process is making TensorRT engines in {store.folder}; waiting for it"
    assert told[1].startswith("building a TensorRT engine")
    assert len(told) == 2
    with filelock.FileLock(store.folder / ".lock", timeout=0):
        pass  # it is free again


def test_a_process_that_is_waited_for_too_long_is_an_error(tmp_path: Path) -> None:
    store = replace(engine_store(tmp_path / "engines"), patience_s=0.1)
    with (
        filelock.FileLock(store.folder / ".lock"),
        pytest.raises(BackendError, match=r"another process has been making TensorRT engines for 0\.1 s"),
    ):
        cached_engine(FakeTensorRt(), TENSORRT, engine_source(tmp_path).data, RECIPE, FACTS, store)


def test_the_times_of_kernels_serve_the_next_build_and_stand_under_the_seal_too(tmp_path: Path) -> None:
    trt = FakeTensorRt()

    def given(engine: Engine) -> bytes:
        return bytes.fromhex(json.loads(engine.plan.split(b"\n")[1])["timing"])

    assert given(cached(trt, tmp_path)) == b""
    assert given(cached(trt, tmp_path, anew=True)) == b"times"
    (times,) = (tmp_path / "engines").glob("times-*")
    assert read_entry(times, (TIMES,)) == {TIMES: b"times"}
    (times / TIMES).write_bytes(b"times of a stranger")
    assert given(cached(trt, tmp_path, anew=True)) == b""
    trt.faults.add("create_timing_cache")  # of another version
    assert given(cached(trt, tmp_path, anew=True)) == b""
    rtx = FakeTensorRt("1.7.1.116")
    assert given(cached(rtx, tmp_path, library=RTX)) == b""
    assert len(list((tmp_path / "engines").glob("times-*"))) == 1, "TensorRT for RTX times nothing"


def test_processes_that_start_at_once_build_one_engine(tmp_path: Path) -> None:
    engine_source(tmp_path)
    code = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from support.fake_device import FACTS\n"
        "from support.fake_tensorrt import Builder, FakeTensorRt\n"
        "from uadbench.engine.backends.engine_cache import cached_engine, engine_store\n"
        "from uadbench.engine.backends.tensorrt_build import Recipe\n"
        "from uadbench.engine.backends.tensorrt_library import TENSORRT\n"
        "plain = Builder.build_serialized_network\n"
        "def slow(*args):\n"
        "    time.sleep(1)\n"
        "    return plain(*args)\n"
        "Builder.build_serialized_network = slow\n"
        "here, data = Path(sys.argv[1]), Path(sys.argv[1], 'unet.onnx').read_bytes()\n"
        "recipe = Recipe('fp32', {'x': (2, 1, 32, 32), 'timesteps': (2,)}, (8, 9), 1 << 30)\n"
        "found = cached_engine(\n"
        "    FakeTensorRt(), TENSORRT, data, recipe, FACTS, engine_store(here / 'engines'), print\n"
        ")\n"
        "print(found.fresh)\n"
    )
    support = [str(Path(__file__).resolve().parents[2]), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    started = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path)],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, support))},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    done = [child.communicate(timeout=120) for child in started]
    assert [child.returncode for child in started] == [0, 0], done
    assert sorted(out.splitlines()[-1] for out, _ in done) == ["False", "True"]
    assert sum(out.count("building a TensorRT engine") for out, _ in done) == 1
