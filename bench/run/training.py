"""One training: healthy slices of several data sets in, a checkpoint with its card, logs and sample grids out."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from uadbench.bench.run.training_checks import Lesions, risen, trouble, validate
from uadbench.bench.run.training_log import Events, read_log, write_log
from uadbench.bench.run.training_sources import Sources
from uadbench.engine.networks import NETWORKS, kind_of
from uadbench.engine.networks.checkpoint import CheckpointError, load_checkpoint, read_card, save_checkpoint
from uadbench.engine.training.ancestry import ancestors_told, before
from uadbench.engine.training.config import TrainingConfig
from uadbench.engine.training.contract import Objective
from uadbench.engine.training.initial import starting_weights
from uadbench.engine.training.loop import Progress, train
from uadbench.engine.training.losses import OBJECTIVES
from uadbench.engine.training.place import Place
from uadbench.engine.training.validation import reconstructions
from uadbench.reports.atomic import PARTIAL, write_bytes

__all__ = ["Training", "check_initial", "run_training"]


@dataclass(frozen=True)
class Training:
    """A training as asked for.

    initial : the checkpoints that it starts from
    lesions : source -> validation slices with lesions, for a trend of Dice; nothing is learned from them
    place : device, precision and processes
    command : for the card
    preset : shape of the network, one of its objective's
    """

    config: TrainingConfig
    sources: Sources
    output: Path
    initial: tuple[Path, ...]
    place: Place
    command: str
    preset: str = "small"
    lesions: Mapping[str, Lesions] = field(default_factory=dict)

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

    @property
    def log(self) -> Path:
        """Of validations; the table beside it ends in .csv."""
        return self.output / f"log-{self.label}.jsonl"

    def grid(self, step: int) -> Path:
        """The sample grid of the validation at a step."""
        return self.output / f"grid-{self.label}-{step:06d}.png"


def check_initial(paths: Sequence[Path], objective: Objective, preset: str) -> str:
    """The hashes of the checkpoints to start from, joined by "+"; CheckpointError where one cannot be used."""
    return "+".join(card["sha256"] for _, card in _starts(paths, objective, preset))


def _starts(
    paths: Sequence[Path], objective: Objective, preset: str
) -> list[tuple[dict[str, Tensor], dict[str, Any]]]:
    """Of each checkpoint the weights to start from, and its card."""
    shape = objective.presets[preset]
    with torch.device("meta"):
        target = NETWORKS[kind_of(shape)].module(shape)
    found: list[tuple[dict[str, Tensor], dict[str, Any]]] = []
    for path in paths:
        model, card = load_checkpoint(path)
        try:
            ancestors_told([*(other for _, other in found), card])
            found.append((starting_weights(model, card, target, objective.prediction), card))
        except ValueError as error:
            raise CheckpointError(f"--initial {path}: {error}; give another checkpoint, or none") from error
    return found


def run_training(
    training: Training,
    validate_every: int,
    stop: Callable[[], None],
    tell: Callable[[str], None] = lambda line: None,
) -> Iterator[tuple[Progress, dict[str, Any] | None]]:
    """Train, or go on training; yields (progress, the validation's record where one was made) after every step.

    stop : called between two steps; may raise to stop, after which the same call goes on from here
    tell : gets lines for the user: early signs of divergence, and that tensorboard is lacking
    Writes the state, the logs, a sample grid and the checkpoint at every validation, so that the best that is there can
    be used at any time. Of several processes the main one validates and writes. Raises as ``train`` does.
    """
    config, output, label, place = training.config, training.output, training.label, training.place
    if place.is_main:
        for partial in output.glob(f".*-{label}*.tmp"):  # what a killed process left half written
            if PARTIAL.fullmatch(partial.name):
                partial.unlink(missing_ok=True)
    starts = _starts(training.initial, training.objective, training.preset)
    initial = {name: weight for weights, _ in starts for name, weight in weights.items()}
    ancestry = ancestors_told([card for _, card in starts])
    steps = train(
        training.sources.pools,
        config,
        output / f"state-{label}.pt",
        training.sources.fingerprint,
        network=training.shape,
        initial=initial or None,
        place=place,
        stop=stop,
    )
    healthy = training.sources.validation
    events, warned = Events(output / "tensorboard" / label, training.grid, tell), False
    for progress, averaged in steps:
        record = None
        if place.is_main:
            word = risen(progress.loss, progress.lowest)
            if progress.step % validate_every == 0 or progress.step == config.steps:
                model, history = averaged(), _history(training, progress.step)
                record = validate(
                    model, progress, training.objective, config.noise, healthy, training.lesions
                )
                word = trouble(record, history)
                warned = _warn(training, progress.step, word, warned, tell) if word else False
                write_log(training.log, [*history, record])
                _write_grid(training.grid(progress.step), model, training)
                card = _card(training, model, progress, [*history, record], ancestry)
                save_checkpoint(training.checkpoint, model, card)
                events.add([*history, record])
            elif word:
                warned = _warn(training, progress.step, word, warned, tell)
        yield progress, record
    events.close()


def _history(training: Training, step: int) -> list[dict[str, Any]]:
    """The records of validations before that step; those from it on were of a session that was killed."""
    return [record for record in read_log(training.log) if record["step"] < step]


def _warn(training: Training, step: int, word: str, warned: bool, tell: Callable[[str], None]) -> bool:
    """Say once that a training seems to diverge, and put its last good checkpoint out of the next one's way."""
    if not warned:
        kept = _keep_good(training, step)
        where = f"the last good checkpoint is kept as {kept}" if kept else "there is no good checkpoint yet"
        tell(
            f"step {step}: {word}, so the training may diverge; start anew in another --output with a lower "
            f"--learning-rate; {where}"
        )
    return True


def _keep_good(training: Training, step: int) -> Path | None:
    """Copy the checkpoint that is there to NAME-good, if it is of the last validation and that was good."""
    path, history = training.checkpoint, _history(training, step)
    good = path.with_name(f"{path.stem}-good{path.suffix}")
    try:
        sound = bool(history) and not trouble(history[-1], history[:-1])
        if sound and read_card(path).get("steps") == history[-1]["step"]:
            write_bytes(good, path.read_bytes())
            write_bytes(good.with_suffix(".json"), path.with_suffix(".json").read_bytes())
    except CheckpointError:  # there is none yet
        pass
    return good if good.is_file() else None


def _card(
    training: Training,
    model: nn.Module,
    progress: Progress,
    history: list[dict[str, Any]],
    ancestry: list[dict[str, Any]],
) -> dict[str, Any]:
    config, images = training.config, progress.step * training.config.images_a_step
    return {
        "name": training.objective.name(config.noise),
        "noise": config.noise if training.objective.noisy else None,
        "objective": training.objective.title,
        "prediction": training.objective.prediction,
        "steps": progress.step,
        "of_steps": config.steps,
        "images_seen": images,
        **before(images, ancestry),
        "parameters": sum(weight.numel() for weight in model.parameters()),
        "schedule": {"kind": "linear", "length": 1000, "start": 1e-4, "end": 0.02},
        "training": asdict(config),
        "data": list(training.sources.records),
        "data_fingerprint": training.sources.fingerprint,
        "validation_slices": {name: len(images) for name, images in training.sources.validation.items()},
        "validation_lesions": {name: len(found.images) for name, found in training.lesions.items()},
        "one_call_dice": history[-1]["one_call_dice"],
        "loss": progress.loss,
        "log": history,
        "seconds": round(progress.seconds),
        "threads": torch.get_num_threads(),
        "precision": training.place.precision,
        "device": training.place.describe(),
        "processes": training.place.processes,
        "versions": {"uadbench": version("uadbench"), "torch": torch.__version__},
        "command": training.command,
    }


def _write_grid(path: Path, model: nn.Module, training: Training) -> None:
    """Inputs on top, then the estimates of the clean image at rising levels."""
    from PIL import Image

    images = np.concatenate([slices[:3] for slices in training.sources.validation.values()])[:9]
    rows = reconstructions(model, images, training.config.noise, training.objective)
    tiles = np.concatenate([images[None], rows]).clip(0, 1)
    sheet = np.concatenate([np.concatenate(list(row), axis=1) for row in tiles], axis=0)
    buffer = io.BytesIO()
    Image.fromarray((sheet * 255).round().astype(np.uint8)).save(buffer, "png")
    write_bytes(path, buffer.getvalue())
