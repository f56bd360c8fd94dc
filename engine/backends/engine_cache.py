"""TensorRT engines kept for the user, sealed: an engine is executable code, so only what this user built is loaded.

The seal (``engine.sealed``) is checked before the library sees a byte, and the bytes that were checked are those that
are loaded. Engines are never shipped and hold for one GPU, driver and version only: anything else has another entry.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from uadbench.engine.backends import tensorrt_build
from uadbench.engine.backends.cuda_device import Facts
from uadbench.engine.backends.tensorrt_build import Recipe, build
from uadbench.engine.backends.tensorrt_library import Library
from uadbench.engine.sealed import Store, entry_name, kept, open_store, read_entry, write_entry

__all__ = ["Engine", "cached_engine", "engine_store", "entry_key"]

PLAN, RECORD, TIMES = "engine.plan", "engine.json", "timing.cache"
# One build at a time: it times kernels, which another build on the same GPU would disturb. It takes minutes.
PATIENCE_S = 3600.0


@dataclass(frozen=True)
class Engine:
    """record : "key" (all that it depends on), "convolutions" (see ``Built``), "build_seconds"
    fresh : built now, not found"""

    plan: bytes
    record: Mapping[str, Any]
    fresh: bool


def engine_store(given: Path | None = None) -> Store:
    """engines/ in the user's cache folder for uadbench, or ``given``; this user's alone (mode 0700)."""
    return open_store("engines", "TensorRT engines", PATIENCE_S, given)


def cached_engine(
    trt: Any,
    library: Library,
    onnx: bytes,
    recipe: Recipe,
    facts: Facts,
    store: Store,
    say: Callable[[str], None] | None = None,
    anew: bool = False,
) -> Engine:
    """The engine of an exported network on this GPU, from the cache, or built into it now.

    say : is told before a build, which takes from seconds to many minutes, and before another process is waited for
    anew : build it even if one is there that nothing is wrong with, because the library does not take it
    Raises BackendError.
    """
    key = entry_key(trt, library, onnx, recipe, facts)
    name, fresh = entry_name(key), False

    def make(folder: Path) -> None:
        nonlocal fresh
        if say is not None:
            say(
                f"building a {library.title} engine, {recipe.precision}, for {facts.gpu}: once, it is then kept"
            )
        times = (
            store.folder / f"times-{entry_name({k: key[k] for k in ('library', 'version', *facts.record())})}"
        )
        known = (read_entry(times, (TIMES,)) or {}).get(TIMES, b"") if library.timing else b""
        built = build(trt, library, onnx, recipe, known)
        record = {"key": key, "convolutions": built.convolutions, "build_seconds": round(built.seconds, 2)}
        (folder / PLAN).write_bytes(built.plan)
        (folder / RECORD).write_text(json.dumps(record, indent=1, sort_keys=True) + "\n", encoding="utf-8")
        if built.timing:
            write_entry(times, (TIMES,), lambda place: (place / TIMES).write_bytes(built.timing))
        fresh = True

    parts = kept(store, name, (PLAN, RECORD), make, anew=anew, say=say)
    return Engine(parts[PLAN], json.loads(parts[RECORD]), fresh)


def entry_key(trt: Any, library: Library, onnx: bytes, recipe: Recipe, facts: Facts) -> dict[str, Any]:
    """All that decides an engine; where one of it is another, so is the entry."""
    return {
        "onnx": hashlib.sha256(onnx).hexdigest(),
        "library": library.name,
        "version": str(trt.__version__),
        **facts.record(),
        "recipe": recipe.record(),
        "code": hashlib.sha256(Path(str(tensorrt_build.__file__)).read_bytes()).hexdigest(),
    }
