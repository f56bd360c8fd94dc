"""Engines that ONNX Runtime's TensorRT provider writes, kept for the user under a seal.

The provider loads whatever lies in its cache folder, and an engine is executable code. So the folder that it is given
is made anew for each opening, below the user's private store, from one sealed part that was checked just before.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import tempfile
import time
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from uadbench.engine.backends.artifacts import Artifact
from uadbench.engine.backends.cuda_device import CudaDevice
from uadbench.engine.backends.engine_cache import engine_store
from uadbench.engine.backends.errors import BackendError
from uadbench.engine.backends.onnxruntime_gpu import GpuSessionDenoiser, Start
from uadbench.engine.backends.onnxruntime_library import make_session, session_options
from uadbench.engine.backends.tensorrt_library import PROVIDER
from uadbench.engine.backends.tf32 import SWITCH
from uadbench.engine.sealed import PARTIAL, entry_name, kept, read_entry, write_entry

__all__ = ["TENSORRT", "ProviderEngines", "contents", "pack", "unpack"]

TENSORRT = "TensorrtExecutionProvider"
ENGINES, RECORD, TIMES = "engines.zip", "engine.json", "timing.zip"
LEVEL = 3  # of the builder's optimization, as for the other TensorRT back ends


class ProviderEngines:
    """The engine of one exported network on one GPU: built by a session, sealed, opened from what was checked.

    cache : folder of engines, the user's cache where None
    say : is told before an engine is built
    """

    def __init__(
        self,
        onnxruntime: Any,
        trt: Any,
        artifact: Artifact,
        precision: str,
        gpu: CudaDevice,
        batch_size: int,
        cache: Path | None = None,
        say: Callable[[str], None] | None = None,
    ) -> None:
        self._onnxruntime, self._artifact, self._precision = onnxruntime, artifact, precision
        self._gpu, self._batch_size, self._say = gpu, batch_size, say
        self._store, self._facts = engine_store(cache), gpu.facts()
        self._made = b""  # the record of what was built now
        self._versions = {"onnxruntime": str(onnxruntime.__version__), "tensorrt": str(trt.__version__)}
        self._key = {
            "onnx": hashlib.sha256(artifact.data).hexdigest(),
            "library": PROVIDER.name,
            **self._versions,
            **self._facts.record(),
            "batch": artifact.batch or batch_size,
            "options": self._choices(),
            # Read once by NVIDIA's libraries; the provider has no option of its own.
            SWITCH: os.environ.get(SWITCH),
            "code": hashlib.sha256(Path(__file__).read_bytes()).hexdigest(),
        }

    def open(self) -> GpuSessionDenoiser:
        """The network on the kept engine; an engine that the provider does not take is built once more."""
        found = self._kept()
        try:
            return self._opened(found)
        except BackendError:
            if found[RECORD] == self._made:
                raise
        return self._opened(self._kept(anew=True))

    def _kept(self, anew: bool = False) -> dict[str, bytes]:
        return kept(
            self._store, entry_name(self._key), (ENGINES, RECORD), self._make, anew=anew, say=self._say
        )

    def _make(self, folder: Path) -> None:
        """Let a session build its engine in a private folder, run it once, and take what it has written."""
        if self._say is not None:
            self._say(
                f"building an engine by {PROVIDER.title}, {self._precision}, for {self._facts.gpu}: "
                "once, it is then kept"
            )
        names = ("library", "onnxruntime", "tensorrt", *self._facts.record())
        times = self._store.folder / f"times-{entry_name({name: self._key[name] for name in names})}"
        began, work = time.monotonic(), folder / "work"
        work.mkdir(mode=0o700)
        unpack((read_entry(times, (TIMES,)) or {}).get(TIMES, b""), work / "times")
        unpack(b"", work / "engines")
        self._denoiser(self._start(work)).close()
        engines, timing = pack(work / "engines"), pack(work / "times")
        shutil.rmtree(work)
        record = {"key": self._key, "build_seconds": round(time.monotonic() - began, 2)}
        self._made = (json.dumps(record, indent=1, sort_keys=True) + "\n").encode()
        if not any(name.endswith(".engine") for name in contents(engines)):
            raise BackendError(f"{PROVIDER.title} kept no engine of what it ran; use --backends tensorrt")
        (folder / ENGINES).write_bytes(engines)
        (folder / RECORD).write_bytes(self._made)
        if contents(timing):
            write_entry(times, (TIMES,), lambda place: (place / TIMES).write_bytes(timing))

    def _opened(self, found: Mapping[str, bytes]) -> GpuSessionDenoiser:
        """The folder goes as soon as the session has read it."""
        with tempfile.TemporaryDirectory(prefix=PARTIAL, dir=self._store.folder) as place:  # mode 0700
            work = Path(place)
            unpack(found[ENGINES], work / "engines")
            unpack(b"", work / "times")
            about = {"build_seconds": json.loads(found[RECORD])["build_seconds"]}
            denoiser = self._denoiser(self._start(work), about)
            # What the provider had built itself just now it may call by another name, and build it again.
            taken = contents(pack(work / "engines")) == contents(found[ENGINES])
            denoiser.about["engine"] = (
                "the kept one" if taken else "built anew, as the kept one was not taken"
            )
            if not taken and self._say is not None:
                self._say(
                    f"{PROVIDER.title} did not take the engine that is kept for it and built another, as it will "
                    "whenever it is opened; --backends tensorrt keeps its own"
                )
        return denoiser

    def _denoiser(self, start: Start, about: Mapping[str, Any] | None = None) -> GpuSessionDenoiser:
        told = {
            "tensorrt": self._versions["tensorrt"],
            "tf32": False if self._key[SWITCH] == "0" else "where the file leaves products in fp32",
            **(about or {}),
        }
        return GpuSessionDenoiser(
            PROVIDER.name,
            TENSORRT,
            self._onnxruntime,
            self._artifact,
            self._precision,
            self._gpu,
            self._batch_size,
            start,
            told,
        )

    def _start(self, work: Path) -> Start:
        places = {
            "trt_engine_cache_path": str(work / "engines"),
            "trt_timing_cache_path": str(work / "times"),
        }
        stream = {"user_compute_stream": str(self._gpu.handle)}
        options = session_options(self._onnxruntime, 1, "cuda")

        def start(graph: bool) -> Any:
            choices = self._choices() | places | stream | {"trt_cuda_graph_enable": str(graph)}
            return make_session(self._onnxruntime, self._artifact.data, options, TENSORRT, choices)

        return start

    def _choices(self) -> dict[str, str]:
        """The provider's options, all of them named, for the environment may have others.

        No precision is asked for: only then is the network strongly typed, in the precisions of the file.
        """
        return {
            "device_id": str(self._gpu.device.index or 0),
            "trt_fp16_enable": "False",
            "trt_bf16_enable": "False",
            "trt_int8_enable": "False",
            "trt_engine_cache_enable": "True",
            "trt_timing_cache_enable": "True",
            "trt_force_timing_cache": "False",
            "trt_engine_hw_compatible": "False",
            "trt_dump_ep_context_model": "False",
            "trt_max_workspace_size": str(self._facts.memory // 2),
            "trt_builder_optimization_level": str(LEVEL),
        }


def pack(folder: Path) -> bytes:
    """The files of a folder, without folders below it, as one part that can be sealed."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for path in sorted(folder.iterdir()):
            if path.is_file() and not path.is_symlink():
                archive.writestr(zipfile.ZipInfo(path.name), path.read_bytes())
    return buffer.getvalue()


def unpack(data: bytes, folder: Path) -> None:
    """Make the folder, this user's alone, with what was packed; b"" gives an empty one."""
    folder.mkdir(mode=0o700)
    for name, content in contents(data).items():
        (folder / name).write_bytes(content)


def contents(data: bytes) -> dict[str, bytes]:
    """File name -> bytes of what was packed."""
    if not data:
        return {}
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}
