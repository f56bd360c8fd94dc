"""What a profile times and what it judges parity on."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from uadbench.bench.plan.weights import find_network
from uadbench.bench.profile.inputs import JUDGED, make_inputs, read_samples
from uadbench.bench.profile.opened import Opened, hold_against
from uadbench.reports.identity import Arm

NETWORK = find_network("mend-unet", {})


class Answers:
    """Change 0, and a logit of 0, but of 5 for the images that are ``wrong``."""

    device, precision, name = "cpu", "fp32", "fake"

    def __init__(self, wrong: Tensor) -> None:
        self.wrong = wrong
        self.sizes: list[int] = []

    def denoise(self, x_t: Tensor, t: Tensor, cond: Tensor | None = None) -> Tensor:
        self.sizes.append(len(x_t))
        logit = torch.stack(
            [5.0 * any(torch.equal(x, wrong) for wrong in self.wrong) * (x == x) for x in x_t]
        )
        return torch.cat([torch.zeros_like(x_t), logit], 1)


@pytest.mark.parametrize("batch", [1, 5, 16])
def test_parity_is_judged_on_whole_batches_of_at_least_so_many_cases_with_and_without_lesions(
    batch: int,
) -> None:
    _, samples = read_samples((batch, 1))
    inputs = make_inputs(NETWORK, samples, 0, batch)
    assert (len(inputs.samples), len(inputs.images), len(inputs.x_t)) == (batch,) * 3
    assert JUDGED <= len(inputs.judged) < JUDGED + batch
    assert len(inputs.judged) % batch == 0
    assert torch.equal(inputs.judged[:batch], inputs.images)
    lesions = [bool(sample.mask.any()) for sample in samples[: len(inputs.judged)]]
    assert {True, False} == set(lesions)


@pytest.mark.parametrize(("wrong", "passed"), [(slice(0, 0), True), (slice(11, 12), False)])
def test_an_arm_that_is_wrong_on_a_case_that_is_not_timed_fails(wrong: slice, passed: bool) -> None:
    _, samples = read_samples((1,))
    inputs = make_inputs(NETWORK, samples, 0, 1)
    right, other = Answers(inputs.judged[:0]), Answers(inputs.judged[wrong])
    arms: list[Any] = [
        Opened(Arm("torch", "fp32", "cpu"), NETWORK),
        Opened(Arm("openvino", "fp32", "cpu"), NETWORK),
    ]
    reference, judged = (
        replace(arm, denoiser=found) for arm, found in zip(arms, (right, other), strict=True)
    )
    hold_against(reference, judged, NETWORK, inputs, 0)
    assert judged.parity_note == ""
    assert judged.parity["pass"] == passed
    assert judged.parity["n_images"] == JUDGED
    assert set(other.sizes) == {1}
