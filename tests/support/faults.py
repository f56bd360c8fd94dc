"""What the fault campaign shares: the errors that may come out, and a verb run as a user runs it."""

from __future__ import annotations

import os
import subprocess
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
import numpy as np
from click.testing import CliRunner, Result

from uadbench.bench.cli import cli

__all__ = ["BENCH", "allowed", "bench", "environment", "invoke", "make_slices", "only_ours", "refused"]

BENCH = [sys.executable, "-m", "uadbench.bench.cli"]


def environment(**more: str) -> dict[str, str]:
    """One thread, no data but what is named, no colours."""
    return {**os.environ, "OMP_NUM_THREADS": "1", "UADBENCH_DATA": "", "COLUMNS": "200", **more}


def bench(
    *words: str, cwd: Path, env: dict[str, str] | None = None, timeout: int = 300
) -> subprocess.CompletedProcess[str]:
    """`bench WORDS` in a process of its own."""
    return subprocess.run(
        [*BENCH, *words], capture_output=True, text=True, cwd=cwd, env=env or environment(), timeout=timeout
    )


def invoke(*words: str) -> Result:
    """`bench WORDS` in this process: no exception but an exit, code 0, 1 or 2, and no traceback in what it prints."""
    result = CliRunner().invoke(cli, list(words))
    if result.exc_info is not None and not isinstance(result.exception, SystemExit | None):
        raise AssertionError("".join(traceback.format_exception(result.exception))) from result.exception
    assert result.exit_code in (0, 1, 2), result.output
    assert "Traceback" not in result.output
    return result


def refused(result: Result) -> str:
    """The one line in which a verb says why it does not do what was asked."""
    assert result.exit_code in (1, 2), result.output
    lines = [line for line in result.stderr.splitlines() if line.startswith(("error: ", "Error: "))]
    assert len(lines) == 1, result.stderr
    # click's own refusals say the usage before; ours are all that there is but notes and warnings
    rest = [line for line in result.stderr.splitlines() if line not in lines and line.strip()]
    assert all(line.startswith(("Usage: ", "Try ", "note: ", "warning: ")) for line in rest), result.stderr
    assert result.stderr.isprintable() or all(line.isprintable() for line in result.stderr.splitlines())
    return lines[0]


def allowed(error: BaseException) -> bool:
    """Whether an error is one that every verb turns into a line: the project's own, click's, the system's."""
    ours = type(error).__module__.startswith("uadbench.")
    return ours or isinstance(error, click.ClickException | OSError)


@contextmanager
def only_ours() -> Iterator[None]:
    """Lets pass what is ``allowed``, if it says in one line what is wrong; every other error is a defect."""
    try:
        yield
    except Exception as error:
        if not allowed(error) or not (isinstance(error, OSError) or _is_a_line(str(error))):
            raise


def _is_a_line(text: str) -> bool:
    return len(text.strip()) > 0 and len(text) < 2000 and "\n" not in text


def make_slices(
    folder: Path, counts: dict[str, int], side: int = 128, lesions: tuple[str, ...] = ("test",)
) -> Path:
    """A `folder` data set of smooth random npy slices, so many of each split; lesions in every other of some."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:side, :side] / side - 0.5
    lines = ["case_id,image,mask,split,subject"]
    for split, count in counts.items():
        for index in range(count):
            name, lesion = f"{split}{index}", split in lesions and index % 2 == 0
            inside = np.hypot(rows, columns * 1.2) < 0.42
            image = inside * (0.6 + 0.2 * np.sin(9 * rows + rng.uniform(0, 6)) * np.cos(7 * columns))
            mask = np.hypot(rows - rng.uniform(-0.2, 0.2), columns - rng.uniform(-0.2, 0.2)) < 0.08
            np.save(folder / f"{name}.npy", (image - 0.3 * (mask & lesion)).clip(0, 1).astype(np.float32))
            if lesion:
                np.save(folder / f"{name}-mask.npy", mask.astype(np.uint8))
            lines.append(f"{name},{name}.npy,{f'{name}-mask.npy' if lesion else ''},{split},{name}")
    (folder / "index.csv").write_text("\n".join(lines) + "\n")
    return folder
