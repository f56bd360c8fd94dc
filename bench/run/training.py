"""One training: healthy slices of several data sets in, a checkpoint with its card, a log and sample grids out."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from uadbench.bench.plan.config import ConfigError, digest, unknown
from uadbench.datasets import DATASETS
from uadbench.datasets.preprocess import to_size
from uadbench.engine.networks import NETWORKS, kind_of
from uadbench.engine.networks.checkpoint import CheckpointError, load_checkpoint, save_checkpoint
from uadbench.engine.training.config import TrainingConfig
from uadbench.engine.training.initial import starting_weights
from uadbench.engine.training.loop import Pool, Progress, train
from uadbench.engine.training.losses import OBJECTIVES, Objective
from uadbench.engine.training.validation import clean_errors, reconstructions, validation_loss
from uadbench.reports.atomic import PARTIAL, write_bytes

__all__ = ["Sources", "Training", "check_initial", "load_sources", "run_training"]

HELD_OUT = 24  # validation slices of each source that errors are measured on


@dataclass(frozen=True)
class Sources:
    """What a network is trained and validated on.

    validation : source -> healthy validation slices, float32 [N, H, W] in [0, 1]
    records : for the card
    """

    pools: tuple[Pool, ...]
    validation: Mapping[str, NDArray[np.float32]]
    records: tuple[dict[str, Any], ...]

    @property
    def fingerprint(self) -> str:
        """sha256 of what is drawn from, and how often."""
        return digest(list(self.records))


@dataclass(frozen=True)
class Training:
    """A training as asked for.

    initial : the checkpoints that it starts from
    precision : of the arithmetic, see ``train``
    command : for the card
    preset : shape of the network, one of its objective's
    """

    config: TrainingConfig
    sources: Sources
    output: Path
    initial: tuple[Path, ...]
    precision: str
    command: str
    preset: str = "small"

    @property
    def objective(self) -> Objective:
        """What is taught."""
        return OBJECTIVES[self.config.objective]

    @property
    def shape(self) -> Any:
        """The network's configuration."""
        return self.objective.presets[self.preset]

    @property
    def label(self) -> str:
        """What its files are called after; a denoiser of all noise by the noise alone."""
        name = self.objective.name(self.config.noise)
        return name.removeprefix("unet-")

    @property
    def checkpoint(self) -> Path:
        """Where it puts its network."""
        return self.output / f"{self.objective.name(self.config.noise)}.safetensors"


def load_sources(weights: Mapping[str, float], root: Path | None) -> Sources:
    """Read the healthy training and validation slices of the named data sets.

    weights : data set -> how often it is drawn from, relative to the others
    Raises ConfigError on a name that is none, or a data set without healthy slices of either kind; CaseError where a
    slice cannot be read.
    """
    pools, validation, records = [], {}, []
    for name, weight in weights.items():
        if name not in DATASETS:
            raise unknown("data set", name, DATASETS)
        dataset = DATASETS[name](root, 0, None)
        images = [np.asarray(image, dtype=np.float32) for image in dataset.training_slices()]
        healthy = [case for case in dataset.split("val") if not case.lesion][:HELD_OUT]
        for count, split in ((len(images), "train"), (len(healthy), "val")):
            if not count:
                raise ConfigError(
                    f"{name} has no healthy {split} case to train with; give some lines of its index "
                    f"the split {split} and no mask"
                )
        pools.append(Pool(name, images, weight, to_size))
        validation[name] = np.stack([dataset.load(case).image for case in healthy])
        content = hashlib.sha256(b"".join(image.tobytes() for image in images)).hexdigest()
        records.append(
            {
                "name": name,
                "title": dataset.title,
                "licence": dataset.licence,
                "citation": dataset.citation,
                "slices": len(images),
                "weight": weight,
                "sha256": content,
            }
        )
    return Sources(tuple(pools), validation, tuple(records))


def check_initial(paths: Sequence[Path], objective: Objective, preset: str) -> str:
    """The hashes of the checkpoints to start from, joined by "+"; CheckpointError where one cannot be used."""
    return "+".join(load_checkpoint(path)[1]["sha256"] for path in paths if _start(path, objective, preset))


def _start(path: Path, objective: Objective, preset: str) -> dict[str, Tensor]:
    shape = objective.presets[preset]
    with torch.device("meta"):
        target = NETWORKS[kind_of(shape)].module(shape)
    model, card = load_checkpoint(path)
    try:
        return starting_weights(model, card, target, objective.prediction)
    except ValueError as error:
        raise CheckpointError(f"--initial {path}: {error}; give another checkpoint, or none") from error


def run_training(
    training: Training, validate_every: int, stop: Callable[[], None]
) -> Iterator[tuple[Progress, dict[str, Any] | None]]:
    """Train, or go on training; yields (progress, the validation's record where one was made) after every step.

    stop : called between two steps; may raise to stop, after which the same call goes on from here
    Writes the state, a log, a sample grid and the checkpoint at every validation, so that the best that is there can be
    used at any time. Raises as ``train`` does.
    """
    config, output, label = training.config, training.output, training.label
    for partial in output.glob(f".*-{label}*.tmp"):  # what a killed process left half written
        if PARTIAL.fullmatch(partial.name):
            partial.unlink(missing_ok=True)
    log = output / f"log-{label}.jsonl"
    initial: dict[str, Tensor] = {}
    for path in training.initial:
        initial |= _start(path, training.objective, training.preset)
    steps = train(
        training.sources.pools,
        config,
        output / f"state-{label}.pt",
        training.sources.fingerprint,
        network=training.shape,
        initial=initial or None,
        precision=training.precision,
        stop=stop,
    )
    for progress, averaged in steps:
        record = None
        if progress.step % validate_every == 0 or progress.step == config.steps:
            model = averaged()
            history = [entry for entry in _history(log) if entry["step"] < progress.step]
            record = _validate(model, progress, training)
            _write_log(log, [*history, record])
            _write_grid(output / f"grid-{label}-{progress.step:06d}.png", model, training)
            card = _card(training, model, progress, [*history, record])
            save_checkpoint(training.checkpoint, model, card)
        yield progress, record


def _validate(model: nn.Module, progress: Progress, training: Training) -> dict[str, Any]:
    validation, noise, objective = training.sources.validation, training.config.noise, training.objective
    record: dict[str, Any] = {
        "step": progress.step,
        "loss": progress.loss,
        "seconds": round(progress.seconds),
    }
    if objective.prediction == "epsilon":
        images = np.concatenate(list(validation.values()))
        record["eps_error_by_band"] = dict(validation_loss(model, images, noise))
    return record | {"clean_error": clean_errors(model, validation, noise, objective)}


def _history(log: Path) -> list[dict[str, Any]]:
    """The records there are; a torn last line is left out."""
    try:
        lines = log.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return []
    found = []
    for line in lines:
        try:
            found.append(json.loads(line))
        except ValueError:
            break
    return found


def _write_log(log: Path, records: Sequence[dict[str, Any]]) -> None:
    write_bytes(log, "".join(json.dumps(record) + "\n" for record in records).encode())


def _card(
    training: Training, model: nn.Module, progress: Progress, history: list[dict[str, Any]]
) -> dict[str, Any]:
    config = training.config
    return {
        "name": training.objective.name(config.noise),
        "noise": config.noise if training.objective.noisy else None,
        "objective": training.objective.title,
        "prediction": training.objective.prediction,
        "steps": progress.step,
        "of_steps": config.steps,
        "images_seen": progress.step * config.batch_size,
        "parameters": sum(weight.numel() for weight in model.parameters()),
        "schedule": {"kind": "linear", "length": 1000, "start": 1e-4, "end": 0.02},
        "training": asdict(config),
        "data": list(training.sources.records),
        "data_fingerprint": training.sources.fingerprint,
        "validation_slices": {name: len(images) for name, images in training.sources.validation.items()},
        "loss": progress.loss,
        "log": history,
        "seconds": round(progress.seconds),
        "threads": torch.get_num_threads(),
        "precision": training.precision,
        "versions": {"uadbench": version("uadbench"), "torch": torch.__version__},
        "command": training.command,
    }


def _write_grid(path: Path, model: nn.Module, training: Training) -> None:
    """Inputs on top, then the estimates of the clean image at rising levels."""
    import io

    from PIL import Image

    images = np.concatenate([slices[:3] for slices in training.sources.validation.values()])[:9]
    rows = reconstructions(model, images, training.config.noise, training.objective)
    tiles = np.concatenate([images[None], rows]).clip(0, 1)
    sheet = np.concatenate([np.concatenate(list(row), axis=1) for row in tiles], axis=0)
    buffer = io.BytesIO()
    Image.fromarray((sheet * 255).round().astype(np.uint8)).save(buffer, "png")
    write_bytes(path, buffer.getvalue())
