"""A step of a chain (``engine.fused_step``) as one graph in a file.

On a GPU it saves some ten launches a step, and x and the step's number can stay in buffers there. On a CPU nothing was
gained (0.02 % of a call), so no back end for the CPU uses it. The schedule and the chain are in the file; the network
alone remains the artifact of reference.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from uadbench.engine.backends.form import Form
from uadbench.engine.fused_step import FusedStep
from uadbench.engine.networks.adapters import restores
from uadbench.engine.networks.checkpoint import schedule_of
from uadbench.engine.schedule import LINEAR, Schedule
from uadbench.exporters.graph import write_graph
from uadbench.exporters.onnx import SIZE, denoiser_inputs, denoiser_opset, origin, refuse_int8
from uadbench.exporters.precision import ExportError, in_form

__all__ = ["export_step"]


def export_step(
    model: nn.Module,
    card: Mapping[str, Any],
    path: Path,
    pairs: Sequence[tuple[int, int]],
    form: Form | None = None,
    opset: int | None = None,
    size: int = SIZE,
    eta: float = 1.0,
    x0_variance: Callable[[int], float] | None = None,
) -> dict[str, Any]:
    """Write one step of a chain to ``path`` (NAME.onnx), its manifest, of kind "step", beside it; returns the manifest.

    Inputs x, step, z and cond, outputs x_prev and x0, as for ``FusedStep``. The manifest's "chain" says what is in the
    file: schedule, pairs, eta and the weight of the noise at each step.

    model, card, form, opset : as for ``onnx.export_unet``
    Raises ExportError.
    """
    if restores(card):
        raise ExportError(
            "this network undoes anomalies and predicts no noise, so it has no steps; export it alone"
        )
    form, schedule = form or Form(), schedule_of(card)
    refuse_int8(form, "a whole step")
    _check_chain(schedule, pairs, eta, x0_variance is not None)
    step = FusedStep(in_form(model, form), schedule, pairs, eta, x0_variance).eval().requires_grad_(False)
    x, number, *cond = denoiser_inputs(card, form, size).values()
    example = {"x": x, "step": number, "z": torch.zeros_like(x)} | ({"cond": cond[0]} if cond else {})
    record = {
        "kind": "step",
        **origin(card),
        "attention": form.attention,
        "image_layout": form.layout,
        "chain": {
            "schedule": dict(card.get("schedule") or LINEAR),
            "pairs": [list(pair) for pair in pairs],
            "eta": eta,
            "noise": [float(f"{value:.6g}") for value in step.get_buffer("of_noise").tolist()],
        },
    }
    return write_graph(
        step,
        tuple(example.values()),
        path,
        list(example),
        ["x_prev", "x0"],
        form,
        denoiser_opset(form, opset),
        record,
    )


def _check_chain(schedule: Schedule, pairs: Sequence[tuple[int, int]], eta: float, varied: bool) -> None:
    if not pairs:
        raise ExportError("the chain has no steps; give the pairs of levels that it visits")
    for t, t_prev in pairs:
        if not 0 <= t_prev < t <= schedule.length:
            raise ExportError(
                f"a step leads from level {t} to {t_prev}; levels fall, from {schedule.length} at most to 0"
            )
    if not 0 <= eta <= 1 or (varied and eta != 1):
        raise ExportError(f"eta is {eta}; 0 to 1 is allowed, with x0_variance only 1")
