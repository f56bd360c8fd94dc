"""One batch of cases through one cell: run, timed by stage, checked, scored on itself. No files here."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from uadbench.bench.plan.grid import Cell
from uadbench.bench.run.threads import call_beside
from uadbench.bench.run.timing import Stopwatch, TimedDenoiser, load_average, timed_tools, timed_upload
from uadbench.bench.score.cases import reconstruction_metrics
from uadbench.datasets.case import Sample
from uadbench.engine.backends.tf32 import in_tf32
from uadbench.engine.interfaces import Denoiser, Perceptual, Result, to_signed, to_unit
from uadbench.engine.post import POSTS
from uadbench.engine.rng import noise_source
from uadbench.engine.tools import make_tools
from uadbench.engine.variance import interpolated

__all__ = [
    "Bench",
    "NoNetwork",
    "Outcome",
    "ScoringPerceptual",
    "bind",
    "call_method",
    "one_line",
    "run_batch",
    "warm_up",
]


class ScoringPerceptual(Perceptual, Protocol):
    """A perceptual distance that also gives one number an image."""

    def distance(self, x: Tensor, x_rec: Tensor) -> Tensor:
        """x, x_rec [B, 1, H, W] in [-1, 1] -> [B] >= 0."""
        ...


@dataclass(frozen=True)
class Bench:
    """What every cell of a run shares.

    perceptuals : name -> net; the first scores reconstructions
    lesion_sign, median, mean, spread : see ``Tools``
    stop : raises Interrupted once the user has asked to stop
    """

    eta: float
    perceptuals: Mapping[str, ScoringPerceptual]
    lesion_sign: int
    median: Tensor | None
    stop: Callable[[], None]
    mean: Tensor | None = None
    spread: Tensor | None = None

    @property
    def scoring(self) -> ScoringPerceptual:
        """The net that scores reconstructions, the same for all cells."""
        return next(iter(self.perceptuals.values()))


@dataclass(frozen=True)
class Outcome:
    """One case's result, or why there is none.

    anomaly, reconstruction : float32 [H, W], None when failed
    timing : the record's fields on time, NFE and load
    metrics : reconstruction scores, {} for a lesion case
    reason : None when all is well
    detail : a traceback, where there is one
    """

    sample: Sample
    timing: dict[str, Any]
    anomaly: NDArray[np.float32] | None = None
    reconstruction: NDArray[np.float32] | None = None
    metrics: Mapping[str, float | None] = field(default_factory=dict)
    reason: str | None = None
    detail: str | None = None


class NoNetwork:
    """The denoiser of the floors: there is none, so calling it is a mistake."""

    name, device, precision = "torch", "cpu", "fp32"

    def denoise(self, x_t: Tensor, t: Tensor, cond: Tensor | None = None) -> Tensor:
        raise RuntimeError("a floor has no network to call")

    def synchronize(self) -> None:
        pass

    def close(self) -> None:
        pass

    def describe(self) -> dict[str, Any]:
        return {"provider": "none", "torch": torch.__version__}


def run_batch(cell: Cell, denoiser: Denoiser, samples: Sequence[Sample], bench: Bench) -> list[Outcome]:
    """Run one batch; should it raise, run its cases one at a time, so that only those at fault fail.

    A case's noise depends on the seed and its id alone, so its result is the same in any batch up to float rounding
    (which does depend on the batch size). Raises Interrupted.
    """
    watch = Stopwatch()
    load = load_average()
    try:
        result = call_method(cell, denoiser, samples, bench, watch)
    except (Exception, SystemExit) as error:  # a method of others may raise anything
        if len(samples) > 1:
            return [outcome for sample in samples for outcome in run_batch(cell, denoiser, [sample], bench)]
        timing = _timing(watch, 1, load)
        return [Outcome(samples[0], timing, reason=one_line(error), detail=traceback.format_exc())]
    timing = _timing(watch, len(samples), load)
    return [_checked(sample, result, index, timing, bench) for index, sample in enumerate(samples)]


def one_line(error: BaseException) -> str:
    """An error's type and the first line of its message."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else '-'}"


def warm_up(
    cell: Cell, denoiser: Denoiser, samples: Sequence[Sample], sizes: Sequence[int], bench: Bench
) -> dict[str, float | None]:
    """Use everything that a cell will use, at every batch size to come, so that no case pays for first calls.

    A floor runs once as it is; a method's parts are each called once on a real batch, the network twice. Simplex
    noise keeps what all fields of a level share, so one field of each level of the method's chain is drawn.
    Returns {"warmup_ms": all of it, "first_call_ms": the first network call alone, None for a floor}; that call is
    the denoiser's first only in the first cell that uses it.
    """
    watch = Stopwatch()
    if cell.variant.floor:
        call_method(cell, denoiser, samples, bench, watch)
        return {"warmup_ms": watch.total * 1e3, "first_call_ms": None}
    with watch.stage("other"), torch.inference_mode(), in_tf32(cell.arm.device, False):
        for size in sizes:
            tools, x = bind(cell, denoiser, samples[:size], bench, watch)
            if cell.walk.restores:
                tools.restore(x, 1)
                tools.restore(x, 1)
                continue
            level = max(2, cell.schedule.length // 4)
            x_t, cond = tools.add_noise(x, level, tools.noise(level)), x if cell.walk.conditioned else None
            tools.denoise(x_t, level, cond)
            x_prev, x0 = tools.reverse(x_t, level, level - 1, cond)
            tools.diffuse(x_prev, level - 1, level)
            residual = (tools.against(x)(x0) + (x - x0).abs()).contiguous()
            tools.dilate(tools.close(residual, 13), 13)
        if cell.variant.noise == "simplex":
            tools, _ = bind(cell, denoiser, samples[:1], bench, watch)
            for level in cell.walk.levels:
                tools.noise(level)
    return {"warmup_ms": watch.total * 1e3, "first_call_ms": watch.samples["network"][0] * 1e3}


def bind(
    cell: Cell, denoiser: Denoiser, samples: Sequence[Sample], bench: Bench, watch: Stopwatch
) -> tuple[Any, Tensor]:
    """The timed tools of one batch and its images [B, 1, H, W] in [-1, 1]."""
    images = np.stack([sample.image for sample in samples])
    upload = timed_upload(denoiser, watch)
    x = upload(to_signed(torch.from_numpy(images).unsqueeze(1)))
    variant, ids = cell.variant, [sample.case.case_id for sample in samples]
    shape = (images.shape[1], images.shape[2])
    drawn = noise_source(variant.noise, variant.seed, ids, shape)
    noise = watch.wrap("noise", lambda t: upload(drawn(t)))
    timed = TimedDenoiser(denoiser, watch, bench.stop)
    perceptual = bench.perceptuals[variant.perceptual] if variant.perceptual else bench.scoring
    v = interpolated(cell.schedule, cell.x0_variance) if cell.x0_variance else None
    tools = make_tools(
        timed,
        cell.schedule,
        noise,
        perceptual,
        bench.eta,
        bench.lesion_sign,
        bench.median,
        v,
        bench.mean,
        bench.spread,
    )
    return timed_tools(tools, denoiser, watch), x


def call_method(
    cell: Cell, denoiser: Denoiser, samples: Sequence[Sample], bench: Bench, watch: Stopwatch
) -> Result:
    """The method's answer for a batch, timed by stage; raises what it raises, and where its images are none."""
    bench.stop()
    with watch.stage("other"), torch.inference_mode():
        tools, x = bind(cell, denoiser, samples, bench, watch)
        result = call_beside(cell.arm, cell.method, x, tools)
        watch.settle()
        denoiser.synchronize()
    for name, image in (("anomaly map", result.anomaly), ("reconstruction", result.reconstruction)):
        if not isinstance(image, Tensor) or not image.is_floating_point() or image.is_meta:
            found = f"{image.dtype} on {image.device}" if isinstance(image, Tensor) else type(image).__name__
            raise TypeError(f"the {name} is of {found}; a tensor of real numbers is needed")
        if image.shape != x.shape:
            raise ValueError(f"the {name} is {tuple(image.shape)}, the images are {tuple(x.shape)}")
    if cell.variant.post == "none":
        return result
    with watch.stage("morphology"):
        return replace(result, anomaly=POSTS[cell.variant.post](result.anomaly, x))


def _timing(watch: Stopwatch, size: int, load: float) -> dict[str, Any]:
    """The record's fields on time: each case has its share of the batch's."""
    calls = watch.samples.get("network", [])
    return {
        "nfe": len(calls),
        "latency_ms": watch.total * 1e3 / size,
        "network_call_ms": float(np.median(calls)) * 1e3 / size if calls else None,
        "stages_ms": watch.stages_ms(size),
        "batch_size": size,
        "load": load,
    }


def _checked(sample: Sample, result: Result, index: int, timing: dict[str, Any], bench: Bench) -> Outcome:
    """One case's arrays and reconstruction scores, unless the arrays break the contract."""
    anomaly = result.anomaly[index, 0].float().cpu().numpy()
    reconstruction = to_unit(result.reconstruction[index, 0].float()).cpu().numpy()
    for name, image in (("anomaly map", anomaly), ("reconstruction", reconstruction)):
        bad = int(np.count_nonzero(~np.isfinite(image)))
        if bad:
            return Outcome(sample, timing, reason=f"the {name} holds {bad} values that are NaN or infinite")
    if anomaly.min() < 0:
        return Outcome(sample, timing, reason=f"the anomaly map holds {anomaly.min():.3g}; it must be >= 0")
    clipped = np.clip(reconstruction, 0, 1)
    # Lesions are meant to differ from their reconstruction, so these scores would mean nothing there.
    metrics = {} if sample.case.lesion else _reconstruction_scores(sample.image, clipped, bench.scoring)
    return Outcome(sample, timing, anomaly, clipped, metrics)


def _reconstruction_scores(
    image: NDArray[np.float32], reconstruction: NDArray[np.float32], perceptual: ScoringPerceptual
) -> dict[str, float | None]:
    x, x_rec = (to_signed(torch.from_numpy(pixels)[None, None]) for pixels in (image, reconstruction))
    lpips = float(perceptual.distance(x, x_rec)[0])
    return {**reconstruction_metrics(image, reconstruction), "lpips": lpips}
