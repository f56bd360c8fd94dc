"""Where TorchInductor keeps what it compiled, which is executable code: in a folder that is this user's alone.

By itself it takes a folder in the shared temporary one, and says so in an environment variable of the process. Here the
variable holds while something is compiled, and is then as before.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from uadbench.engine.sealed import open_store

__all__ = ["VARIABLE", "headers_are_safe", "kernel_cache"]

VARIABLE = "TORCHINDUCTOR_CACHE_DIR"
WHAT = "compiled kernels"


@contextmanager
def kernel_cache(given: Path | None = None) -> Iterator[Path]:
    """Within it Inductor keeps its kernels in the folder that is yielded.

    given : None = the one that the user's environment names, else kernels/ in the user's cache folder for uadbench,
        made if need be with mode 0700
    Raises BackendError where the latter belongs to someone else or cannot be made.
    """
    before = os.environ.get(VARIABLE)
    chosen = before is not None and Path(before) != _torchs_own()
    if given is None and chosen:
        yield Path(str(before))
        return
    folder = open_store("kernels", WHAT, 0.0, given).folder
    os.environ[VARIABLE] = str(folder)
    try:
        yield folder
    finally:
        if before is None:
            os.environ.pop(VARIABLE, None)
        else:
            os.environ[VARIABLE] = before


def headers_are_safe() -> bool:
    """Whether precompiled headers may be used, which Inductor keeps in its temporary folder whatever it is told.

    Only where that folder, made if need be, is this user's and nobody else may write to it. They halve the time that
    C++ takes.
    """
    folder = _torchs_own()
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        status = folder.lstat()
    except OSError:
        return False
    ours = os.name != "posix" or (status.st_uid == os.getuid() and not status.st_mode & 0o022)
    return ours and stat.S_ISDIR(status.st_mode)


def _torchs_own() -> Path:
    """The folder that torch itself would take; it writes that into the variable, too, which is nobody's choice."""
    from torch._inductor.runtime.runtime_utils import default_cache_dir

    return Path(os.path.abspath(default_cache_dir()))
