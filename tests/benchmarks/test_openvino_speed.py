"""What OpenVINO gains by how it is used: ``pytest -n 0 -m benchmark``; nothing is asserted of time.

One call of ``unet-gaussian`` on one image, its file written for channels last against channels first, as torch has the
network, in each precision; and THOR on four images with one thread of torch's between two calls against all of them.
Alternately, in one process. ``python FILE [TABLE.csv]`` prints the comparisons alone, and writes them down.
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
from uadbench.bench.run.threads import torch_threads, with_threads
from uadbench.engine.backends import BACKENDS
from uadbench.engine.backends.artifacts import read_artifact
from uadbench.engine.backends.openvino import HINTS, OpenVinoDenoiser
from uadbench.engine.methods.thor import Thor
from uadbench.engine.networks.checkpoint import load_denoiser, schedule_of, shipped
from uadbench.engine.perceptual.distance import open_squeeze
from uadbench.engine.rng import noise_source
from uadbench.engine.tools import make_tools
from uadbench.exporters.cache import cached_artifact
from uadbench.exporters.parity import relative_l2

NETWORK, ROUNDS, CHAINS = "unet-gaussian", 41, 15
BATCH, CHAINED = 4, ("bf16", "int8-bf16")


def opened(precision: str, cache: Path, batch: int = 1, layout: str = "channels-last") -> OpenVinoDenoiser:
    form = replace(BACKENDS["openvino"].form(precision, batch, "cpu"), layout=layout)
    path = cached_artifact(shipped(NETWORK), cache=cache, form=form, healthy=training_slices())
    return OpenVinoDenoiser(read_artifact(path), precision, batch_size=batch)


def calls(precision: str, cache: Path) -> list[Callable[[], torch.Tensor]]:
    """One call of the network written for channels last, and for channels first."""
    x, t = slices_to_try(1), torch.tensor([250])
    layouts = ("channels-last", "channels-first")
    return [partial(opened(precision, cache, layout=layout).denoise, x, t) for layout in layouts]


def chains(precision: str, cache: Path) -> list[Callable[[], torch.Tensor]]:
    """THOR's map with one thread of torch's between two calls, and with all; the perceptual net has all in both."""
    denoiser, net = opened(precision, cache, BATCH), open_squeeze("brain-squeeze")
    x, schedule = slices_to_try(BATCH), schedule_of(load_denoiser(shipped(NETWORK))[1])
    names, cores = [str(n) for n in range(BATCH)], torch.get_num_threads()

    @torch.inference_mode()
    def chain(between: int) -> torch.Tensor:
        tools = make_tools(denoiser, schedule, noise_source("gaussian", 0, names, (128, 128)), net)
        with torch_threads(between):
            return Thor()(x, replace(tools, against=with_threads(cores, tools.against))).anomaly

    return [partial(chain, 1), partial(chain, cores)]


def comparisons(cache: Path) -> list[dict[str, str]]:
    """A row a precision, then two of chains."""
    used = f"{torch.get_num_threads()} threads, OpenVINO"
    call, chain = f"one call of {NETWORK}, {used}", f"THOR on {BATCH} images, {used}"
    return [
        *(compare(f"{call} {one}", "channels first", *calls(one, cache), ROUNDS) for one in HINTS),
        *(
            compare(f"{chain} {one}", "all threads between calls", *chains(one, cache), CHAINS)
            for one in CHAINED
        ),
    ]


@pytest.mark.benchmark
def test_ratios_of_openvino(capsys, tmp_path):
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


@pytest.mark.benchmark
def test_threads_change_no_bit(tmp_path):
    """Of a map: the rival does the same work."""
    few, all_of_them = (one() for one in chains(CHAINED[-1], tmp_path))
    assert torch.equal(few, all_of_them)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        write(comparisons(Path(folder)), sys.argv[1:])
