"""A denoiser for any back end from a checkpoint: networks are exported on demand and kept in the user's cache."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from uadbench.bench.plan.plan import Plan
from uadbench.bench.run.calibration import training_slices
from uadbench.bench.run.evaluate import NoNetwork
from uadbench.bench.run.timing import Stopwatch
from uadbench.engine.backends import BACKENDS, check_backend, open_backend
from uadbench.engine.interfaces import Denoiser
from uadbench.exporters.cache import cached_artifact
from uadbench.reports.identity import Arm

__all__ = ["open_denoiser", "open_denoisers"]


def open_denoiser(
    arm: Arm,
    checkpoint: Path,
    threads: int | None = None,
    batch_size: int = 1,
    cache: Path | None = None,
    *,
    say: Callable[[str], None] | None,
    hint: str = "latency",
) -> Denoiser:
    """Bind a checkpoint to a back end, exporting it first where the back end needs that and the cache has none.

    threads : CPU threads for back ends that keep their own pool, torch's number where None
    batch_size : largest batch that will be asked for
    cache : folder of exported networks; the user's cache folder where None
    hint : see ``open_backend``
    say : is told before work of minutes; it has no default, so that no caller forgets its user

    The first export of a checkpoint takes 5 to 10 seconds on two free cores, in int8 twice as long. Raises BackendError
    (also its kinds ExportError and ArtifactError) and CheckpointError, each with one line and the remedy.
    """
    check_backend(arm.backend, arm.precision, arm.device)  # before the export, which takes seconds
    backend, source = BACKENDS[arm.backend], checkpoint
    if backend.source == "onnx":
        form = backend.form(arm.precision, batch_size, arm.device.partition(":")[0])
        healthy = training_slices() if form.precision == "int8" else None
        source = cached_artifact(checkpoint, cache, form, healthy, say)
    return open_backend(arm.backend, source, arm.precision, arm.device, threads, batch_size, say, hint)


def open_denoisers(
    plan: Plan, stack: ExitStack, watch: Stopwatch, say: Callable[[str], None], threads: int | None = None
) -> dict[str, Denoiser]:
    """cell slug -> its denoiser, closed with the stack; cells with the same network and arm share one.

    threads : the plan's where None
    """
    opened: dict[tuple[str, str], Denoiser] = {}
    result: dict[str, Denoiser] = {}
    for cell in plan.cells:
        network, arm = cell.networks.get("denoiser"), cell.arm
        key = (network.name if network else "", arm.slug)
        if key not in opened:
            if network is None:
                opened[key] = NoNetwork()
            else:
                with watch.stage("open"):
                    size, hint = plan.config.batch_size, plan.config.hint
                    opened[key] = open_denoiser(
                        arm, network.path, threads or plan.threads, size, say=say, hint=hint
                    )
            stack.callback(opened[key].close)
        result[cell.slug] = opened[key]
    return result
