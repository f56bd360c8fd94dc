"""The few contracts that the engine's parts share.

Images inside the engine are torch float32 ``[B, 1, H, W]`` in [-1, 1] (background -1); ``to_unit`` and
``to_signed`` convert. A diffusion level ``t`` counts from the clean image: 0 is clean, 1 .. T are noisy. Networks
that number their timesteps from 0 are fed ``t - 1`` by their back end, so no sampler ever sees that convention.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:  # names of methods are listed without loading torch
    from torch import Tensor

    from uadbench.engine.schedule import Schedule

__all__ = [
    "NOISES",
    "Denoiser",
    "Fitting",
    "Method",
    "Perceptual",
    "Result",
    "Stepping",
    "Tools",
    "to_signed",
    "to_unit",
]


NOISES = ("gaussian", "simplex")


def to_signed(image: Tensor) -> Tensor:
    """Map an image from [0, 1] to the network's range [-1, 1]."""
    return image * 2 - 1


def to_unit(image: Tensor) -> Tensor:
    """Map an image from [-1, 1] to [0, 1]."""
    return (image + 1) / 2


class Denoiser(Protocol):
    """A network bound to something that runs it: torch, ONNX Runtime, OpenVINO, ...

    ``name``, ``device`` and ``precision`` say what was asked for; ``describe()`` says what really runs
    (provider, threads, versions, hash of the weights or artifact).
    """

    name: str
    device: str
    precision: str

    def denoise(self, x_t: Tensor, t: Tensor, cond: Tensor | None = None) -> Tensor:
        """Predict the noise in ``x_t``, or whatever else the network was taught, see ``Tools.restore``.

        x_t : float32 [B, 1, H, W], an image at level t
        t : int64 [B], level counted from the clean image, 1 .. T
        returns : float32 [B, 1, H, W], eps
        """
        ...

    def synchronize(self) -> None:
        """Wait until all queued work is done, so that a host clock may be read."""
        ...

    def close(self) -> None:
        """Free what the back end holds."""
        ...

    def describe(self) -> dict[str, Any]:
        """What really runs, for the run's record."""
        ...


class Stepping(Denoiser, Protocol):
    """A denoiser that can also take a whole step of a chain at once, its network included; an option of a back end."""

    def stepper(
        self,
        schedule: Schedule,
        eta: float = 1.0,
        x0_variance: Callable[[int], float] | None = None,
    ) -> Callable[..., tuple[Tensor, Tensor]] | None:
        """A function (x_t, t, t_prev, noise, cond=None) -> (x_prev, x0), which computes what ``Tools.reverse`` does.

        schedule, eta, x0_variance : as for ``tools.make_tools``
        noise : the field that the step adds; None where it adds none
        None for a network that predicts no noise, and where another is wrapped which cannot. See ``tools.stepper_of``.
        """
        ...


class Perceptual(Protocol):
    """A perceptual distance whose features of the unchanging input are computed once."""

    @property
    def name(self) -> str:
        """What the run's record calls it."""
        ...

    def against(self, x: Tensor) -> Callable[[Tensor], Tensor]:
        """Fix the input x [B, 1, H, W] in [-1, 1]; the result maps x_rec (same form) to a map [B, 1, H, W] >= 0."""
        ...


@dataclass(frozen=True)
class Tools:
    """All that a method may call. The harness wraps these to count and time, so methods know nothing of it.

    schedule : which levels there are; methods ask it for the chain they walk
    denoise : (x_t, t, cond=None) -> eps, t an int level
    restore : (x, t) -> what a network says that was taught to undo anomalies instead of noise: [B, 1 or 2, H, W], the
        change that is to be made to x, and the logit that a pixel is changed. t is the strength that is assumed, from 1
    predict_x0 : (x_t, t, cond=None) -> the estimate of the clean image, in [-1, 1]; one network call
    reverse : (x_t, t, t_prev, cond=None) -> (x_prev, x0_hat), one network call and one step of the chain; draws its own
        noise where it needs any. A back end that fuses the two replaces this one callable
    add_noise : (x0, t, noise) -> x_t, a clean image to level t
    diffuse : (x, t_from, t_to) -> x, forward from one level to a noisier one, with fresh noise
    noise : t -> a fresh field [B, 1, H, W] for level t, every image its own
    against : x -> (x_rec -> perceptual map [B, 1, H, W] >= 0)
    close, dilate : (map [B, 1, H, W], size) -> map, grey morphology with a flat square
    lesion_sign : +1 where lesions are brighter than tissue (FLAIR), -1 where darker (T1w); floors and Mend are told
    median, mean : float32 [1, 1, H, W] in [-1, 1], pixelwise of healthy slices; None where the data set has none
    spread : float32 [1, 1, H, W], their pixelwise standard deviation, of grey values in [0, 1]; None likewise
    """

    schedule: Schedule
    denoise: Callable[..., Tensor]
    restore: Callable[[Tensor, int], Tensor]
    predict_x0: Callable[..., Tensor]
    reverse: Callable[..., tuple[Tensor, Tensor]]
    add_noise: Callable[[Tensor, int, Tensor], Tensor]
    diffuse: Callable[[Tensor, int, int], Tensor]
    noise: Callable[[int], Tensor]
    against: Callable[[Tensor], Callable[[Tensor], Tensor]]
    close: Callable[[Tensor, int], Tensor]
    dilate: Callable[[Tensor, int], Tensor]
    lesion_sign: int = -1
    median: Tensor | None = None
    mean: Tensor | None = None
    spread: Tensor | None = None


@dataclass(frozen=True)
class Result:
    """What a method returns.

    anomaly : float32 [B, 1, H, W], >= 0
    reconstruction : float32 [B, 1, H, W] in [-1, 1], the pseudo-healthy image
    trace : named intermediate images of the same form, e.g. the maps at each harmonization step
    """

    anomaly: Tensor
    reconstruction: Tensor
    trace: Mapping[str, Tensor] = field(default_factory=dict)


class Method(Protocol):
    """A frozen dataclass whose fields are hyper-parameters and whose call is the paper's loop."""

    def __call__(self, x: Tensor, tools: Tools) -> Result:
        """x : float32 [B, 1, H, W] in [-1, 1]."""
        ...


@runtime_checkable
class Fitting(Protocol):
    """A method with a setting that lesions of the validation split decide, where the data set has some."""

    def wants_fit(self) -> bool:
        """Whether the setting is still open."""
        ...

    def evidence(self, x: Tensor, tools: Tools) -> Tensor:
        """What the fit looks at of images x [B, 1, H, W] in [-1, 1]: [B, C, H, W], as many planes as it likes."""
        ...

    def fit(self, evidence: Tensor, lesions: Tensor) -> tuple[Method, Mapping[str, float]]:
        """The method with the setting, and what to record of the fit.

        evidence : of all validation lesion cases, [N, C, H, W]; lesions : their masks, bool [N, 1, H, W]
        """
        ...
