"""Everything that determines what a training leads to."""

from __future__ import annotations

from dataclasses import dataclass, field

from uadbench.engine.training.augment import Augmentation

__all__ = ["TrainingConfig"]


@dataclass(frozen=True)
class TrainingConfig:
    """Everything that determines the result, but for the arithmetic (precision, threads).

    steps : updates of the weights
    batch_size, accumulate : a step's gradient is the mean over ``accumulate`` batches of ``batch_size`` images each
    learning_rate : highest; a linear warm-up leads to it and one cosine down to a twentieth of it
    ema : decay of the averaged weights, which are the ones that are kept
    t_from, t_focus, focus_share : this share of the drawn levels lies in t_from .. t_focus, those that the methods use
        and a few more; the rest is uniform over all levels
    weighting : see ``objectives.WEIGHTINGS``; for the noise alone
    initial : sha256 of the checkpoints that training starts from, joined by "+", "" for random weights
    objective : what is taught, see ``losses.OBJECTIVES``
    """

    noise: str = "gaussian"
    steps: int = 15000
    batch_size: int = 8
    learning_rate: float = 3e-4
    warmup: int = 200
    ema: float = 0.9995
    t_focus: int = 360
    focus_share: float = 0.98
    weighting: str = "min-snr-5"
    augmentation: Augmentation = field(default_factory=Augmentation)
    initial: str = ""
    seed: int = 0
    objective: str = "noise"
    t_from: int = 1
    accumulate: int = 1

    @property
    def images_a_step(self) -> int:
        """In all batches and processes."""
        return self.batch_size * self.accumulate
