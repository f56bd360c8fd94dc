"""What the layout of an export gains in OpenVINO: ``pytest -n 0 -m benchmark``; nothing is asserted of time.

One call of ``unet-gaussian`` on one image, its file written for channels last against channels first, as torch has the
network, in each precision, alternately in one process. ``python FILE [TABLE.csv]`` prints the comparisons alone, and
writes them down.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from rivals import compare, write

from uadbench.bench.run.calibration import slices_to_try, training_slices
from uadbench.engine.backends import BACKENDS
from uadbench.engine.backends.artifacts import read_artifact
from uadbench.engine.backends.openvino import HINTS, OpenVinoDenoiser
from uadbench.engine.networks.checkpoint import shipped
from uadbench.exporters.cache import cached_artifact
from uadbench.exporters.parity import relative_l2

NETWORK, ROUNDS = "unet-gaussian", 41


def calls(precision: str, cache: Path) -> list[Callable[[], torch.Tensor]]:
    """One call in each layout, channels last first."""
    x, t = slices_to_try(1), torch.tensor([250])
    usual, found = BACKENDS["openvino"].form(precision, 1, "cpu"), []
    for layout in ("channels-last", "channels-first"):
        form = replace(usual, layout=layout)
        path = cached_artifact(shipped(NETWORK), cache=cache, form=form, healthy=training_slices())
        found.append(partial(OpenVinoDenoiser(read_artifact(path), precision).denoise, x, t))
    return found


def comparisons(cache: Path) -> list[dict[str, str]]:
    """A row a precision."""
    work = f"one call of {NETWORK}, {torch.get_num_threads()} threads, OpenVINO"
    return [compare(f"{work} {one}", "channels first", *calls(one, cache), ROUNDS) for one in HINTS]


@pytest.mark.benchmark
def test_ratios_of_layouts(capsys, tmp_path):
    """Prints both sides and their ratio."""
    with capsys.disabled():
        print()
        comparisons(tmp_path)


@pytest.mark.benchmark
@pytest.mark.parametrize("precision", HINTS)
def test_both_layouts_give_the_same(precision, tmp_path):
    """Without that the time of one would say nothing."""
    last, first = (one() for one in calls(precision, tmp_path))
    assert relative_l2(last, first) < (1e-5 if precision == "fp32" else 3e-2)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        write(comparisons(Path(folder)), sys.argv[1:])
