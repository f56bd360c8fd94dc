"""What a program may call, as ``import uadbench`` offers it: a method on images, a run as tables, the methods."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from uadbench.bench.plan.plugins import connect
from uadbench.bench.run.machine import prepare_process

if TYPE_CHECKING:
    import pandas as pd

    from uadbench.bench.plan.config import RunConfig
    from uadbench.bench.plan.grid import Cell
    from uadbench.engine.interfaces import Denoiser, Perceptual

__all__ = ["LoadedRun", "Result", "detect", "load_run", "methods", "predict"]

Images = NDArray[np.float32]


@dataclass(frozen=True)
class Result:
    """What a method found, each float32 in the form of the images given, [H, W] or [B, H, W].

    anomaly : >= 0, larger where the image is less as expected
    reconstruction : the pseudo-healthy image, in [0, 1]
    """

    anomaly: Images
    reconstruction: Images


@dataclass(frozen=True)
class LoadedRun:
    """A run directory as tables. Scores are fractions; what was not or could not be computed is missing, never 0.

    leaderboard : a row a cell, the columns of leaderboard.csv
    cases : a row a case and cell: what the cell is (``variant`` and ``arm`` are its labels), "dice" at the threshold
        that 5 % of healthy pixels exceed, "lesion_px", "group" of lesion sizes, "dice_at_max" and "false_px" (pixels
        outside the truth) at the threshold of the pooled max Dice, image "score", times, and reconstruction scores
        of healthy cases; where the truth is boxes "boxes", "found", "false_positives", "precision", "recall" and "f1"
        in place of the Dice, "group" and "false_px"
    manifest : manifest.json
    """

    leaderboard: pd.DataFrame
    cases: pd.DataFrame
    manifest: dict[str, Any]


MASK_COLUMNS = ("dice", "group", "dice_at_max", "false_px")
BOX_COLUMNS = ("boxes", "found", "false_positives", "precision", "recall", "f1")


def methods() -> pd.DataFrame:
    """A row a method: name, title, paper, noises (its own first), and whether it is a floor."""
    import pandas as pd

    from uadbench.engine.methods import all_methods

    rows = [
        {"name": name, "title": info.title, "paper": info.paper, "noises": info.noises, "floor": info.floor}
        for name, info in all_methods().items()
    ]
    return pd.DataFrame(rows)


def load_run(path: str | Path) -> LoadedRun:
    """Read a run directory into tables; RunError with one clear line if it is none."""
    import pandas as pd

    connect()
    from uadbench.reports import runs
    from uadbench.reports.identity import arm_of, variant_of
    from uadbench.reports.rows import rows_of

    run = runs.load_run(Path(path))
    rows = []
    for cell in run.cells:
        variant, arm = variant_of(cell.info), arm_of(cell.info)
        scores = cell.scores
        truth = (cell.metrics or {}).get("truth")
        identity = {
            key: cell.info.get(key)
            for key in ("dataset", "method", "noise", "steps", "perceptual", "seed", "settings", "kind")
        }
        identity |= {"backend": arm.backend, "precision": arm.precision, "device": arm.device}
        identity |= {"variant": variant.label, "arm": arm.label, "cell": cell.slug}
        for record in cell.cases:
            own = scores.get(record["case_id"], {})
            keys = BOX_COLUMNS if truth == "boxes" else MASK_COLUMNS
            measured = {key: own.get(key) for key in (*keys, "score")}
            rows.append({**runs.split_of(run, record), **_case(record), **measured, **identity})
    return LoadedRun(rows_of([run]), pd.DataFrame(rows), run.manifest)


def _case(record: dict[str, Any]) -> dict[str, Any]:
    """The columns that follow from a line of cases.jsonl."""
    keys = ("subject", "lesion", "lesion_px", "status", "reason")
    times = ("latency_ms", "network_call_ms", "nfe", "batch_size")
    return {
        "case": record["case_id"],
        **{key: record.get(key) for key in (*keys, *times)},
        **(record.get("metrics") or {}),
    }


def detect(
    image: ArrayLike,
    method: str = "thor",
    backend: str = "torch",
    seed: int = 0,
    *,
    lesion_sign: int = -1,
    **settings: Any,
) -> Result:
    """Run a method on images, with the shipped networks unless told otherwise.

    image : [H, W] or [B, H, W] in [0, 1]; H and W multiples of 8, and 128 for an exported back end
    method, backend : as on the command line, "thor" or "thor:simplex", "torch" or "openvino:bf16"
    seed : of the noise, which hangs on it and on an image's place in the batch
    lesion_sign : +1 where lesions are bright, -1 where dark; floors and Mend look at it
    settings : further settings of ``bench run``, such as steps=50, device="cuda", post="behrendt", thor={"window": 9}

    Networks are opened in each call, so give many images at once. Raises ValueError on images of another form and
    ConfigError, CheckpointError, PerceptualError or BackendError, each with one line.
    """
    prepare_process()
    connect()
    images = _images(image)
    config, cell = _plan(method, backend, seed, settings)
    import torch

    from uadbench.bench.plan.weights import perceptual_file
    from uadbench.engine.perceptual.distance import open_perceptual

    name = config.perceptual[0]
    perceptual = open_perceptual(name, perceptual_file(name, config.perceptual_weights), config.device)
    with closing(_open(config, cell)) as denoiser, torch.inference_mode():
        parts = [
            _call(config, cell, denoiser, perceptual, lesion_sign, images[i : i + config.batch_size], i)
            for i in range(0, len(images), config.batch_size)
        ]
    shape = np.shape(image)
    anomaly, reconstruction = (np.concatenate(found).reshape(shape) for found in zip(*parts, strict=True))
    return Result(anomaly, reconstruction)


def predict(
    input: str | Path,
    output: str | Path,
    method: str = "thor",
    backend: str = "torch",
    seed: int = 0,
    *,
    slices: str = "mid",
    pattern: str | None = None,
    threshold: float | None = None,
    threshold_from: str | Path | None = None,
    lesion_sign: int | None = None,
    map_white: float | None = 1.0,
    overwrite: bool = False,
    **settings: Any,
) -> pd.DataFrame:
    """``bench predict`` on a file or folder: a row a file with its status, reason, and what was written of it.

    The arguments are the options of the command, map_white None for `max`; settings as ``detect`` has them.
    Raises ConfigError, CheckpointError, PerceptualError, BackendError, CaseError or RunError, each with one line.
    """
    import pandas as pd

    from uadbench.bench.plan.config import make_config
    from uadbench.bench.predict.predict import Request, execute
    from uadbench.bench.predict.setup import make_setup

    prepare_process()
    config = make_config(settings, {"methods": [method], "backends": [backend], "seed": seed})
    run = Path(threshold_from) if threshold_from is not None else None
    setup = make_setup(config, threshold, run, lesion_sign)
    request = Request(
        Path(input), Path(output), setup, slices, pattern, map_white, command="uadbench.predict"
    )
    done = execute(request, overwrite, lambda total, there: lambda name, count: None, lambda line: None)
    kinds = ("anomaly", "reconstruction", "mask")
    rows = [
        {key: entry[key] for key in ("case_id", "input", "status", "reason", "slices", "skipped")}
        | {
            kind: done.output / entry["outputs"][kind]["file"] if kind in entry["outputs"] else None
            for kind in kinds
        }
        for entry in done.files
    ]
    return pd.DataFrame(rows)


def _images(image: ArrayLike) -> Images:
    """[B, H, W] float32, checked."""
    images = np.asarray(image)
    if images.ndim not in (2, 3) or 0 in images.shape or images.dtype.kind not in "fiub":
        raise ValueError(
            f"images are {images.dtype} {images.shape}; numbers of the form [H, W] or [B, H, W] are needed"
        )
    images = images.astype(np.float32)
    if not np.isfinite(images).all() or images.min() < 0 or images.max() > 1:
        low, high = images.min(), images.max()
        raise ValueError(f"images hold values from {low:.4g} to {high:.4g}; finite ones in [0, 1] are needed")
    if images.shape[-1] % 8 or images.shape[-2] % 8:
        raise ValueError(
            f"images are {images.shape[-2]} x {images.shape[-1]}; sides that are multiples of 8 are needed, and the "
            "shipped networks were trained on 128 x 128"
        )
    return images.reshape(-1, *images.shape[-2:])


def _plan(method: str, backend: str, seed: int, settings: dict[str, Any]) -> tuple[RunConfig, Cell]:
    from uadbench.bench.plan.config import ConfigError, make_config
    from uadbench.bench.predict.setup import one_cell
    from uadbench.engine.backends import check_backend

    config = make_config(settings, {"methods": [method], "backends": [backend], "seed": seed})
    cell = one_cell(config, "detect")
    if cell.needs_median:
        raise ConfigError(
            f"{cell.variant.method} needs the median of a data set's healthy slices; use `bench run`"
        )
    if config.variance == "exact":
        raise ConfigError("the exact variance is measured on a data set's healthy slices; use `bench run`")
    check_backend(cell.arm.backend, cell.arm.precision, cell.arm.device)
    return config, cell


def _open(config: RunConfig, cell: Cell) -> Denoiser:
    from uadbench.bench.run.evaluate import NoNetwork
    from uadbench.bench.run.networks import open_denoiser

    if not cell.networks:
        return NoNetwork()
    path = cell.networks["denoiser"].path
    return open_denoiser(
        cell.arm, path, config.threads, config.batch_size, say=None, hint=config.hint
    )  # a library prints nothing


def _call(
    config: RunConfig,
    cell: Cell,
    denoiser: Denoiser,
    perceptual: Perceptual,
    lesion_sign: int,
    images: Images,
    first: int,
) -> tuple[Images, Images]:
    """(anomaly, reconstruction) of one batch, both [B, H, W]; ``first`` is the place of its first image."""
    import torch

    from uadbench.bench.run.threads import call_beside
    from uadbench.engine.interfaces import to_signed, to_unit
    from uadbench.engine.post import POSTS
    from uadbench.engine.rng import noise_source
    from uadbench.engine.tools import make_tools

    x = to_signed(torch.from_numpy(images).unsqueeze(1)).to(denoiser.device)
    ids = [str(first + i) for i in range(len(images))]
    variant, shape = cell.variant, (images.shape[1], images.shape[2])
    noise = noise_source(variant.noise, variant.seed, ids, shape, denoiser.device)
    tools = make_tools(denoiser, cell.schedule, noise, perceptual, config.eta, lesion_sign)
    found = call_beside(cell.arm, cell.method, x, tools)
    anomaly = found.anomaly if (post := variant.post) == "none" else POSTS[post](found.anomaly, x)
    reconstruction = to_unit(found.reconstruction).clamp(0, 1)
    return anomaly[:, 0].float().cpu().numpy(), reconstruction[:, 0].float().cpu().numpy()
