"""What makes pDDPM and cDDPM those methods: where noise is, what the network is shown, how often it is called."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from support.closed_form import AbsolutePerceptual
from torch import Tensor

from uadbench.engine.interfaces import Tools
from uadbench.engine.methods.cddpm import CDDPM
from uadbench.engine.methods.pddpm import PDDPM, patches
from uadbench.engine.rng import noise_source
from uadbench.engine.schedule import linear_schedule
from uadbench.engine.steps import add_noise
from uadbench.engine.tools import make_tools

SCHEDULE = linear_schedule()
X = torch.from_numpy(np.random.default_rng(5).uniform(-0.9, 0.9, (2, 1, 32, 32))).float()


class Recorder:
    """Finds no noise at all, and keeps what it was shown."""

    name, device, precision = "recorder", "cpu", "fp32"

    def __init__(self) -> None:
        self.calls: list[tuple[Tensor, int, Tensor | None]] = []

    def denoise(self, x_t: Tensor, t: Tensor, cond: Tensor | None = None) -> Tensor:
        self.calls.append((x_t.clone(), int(t[0]), cond))
        return torch.zeros_like(x_t)

    def synchronize(self) -> None: ...

    def close(self) -> None: ...

    def describe(self) -> dict[str, str]:
        return {}


def tools_for(recorder: Recorder, ids: tuple[str, ...] = ("a", "b")) -> Tools:
    return make_tools(recorder, SCHEDULE, noise_source("simplex", 0, ids, (32, 32)), AbsolutePerceptual())


@pytest.mark.parametrize(("overlap", "calls"), [(False, 4), (True, 9)])
def test_pddpm_has_noise_nowhere_outside_the_patch(overlap: bool, calls: int) -> None:
    recorder = Recorder()
    PDDPM(overlap=overlap)(X, tools_for(recorder))
    noised = add_noise(SCHEDULE, X, 500, noise_source("simplex", 0, ["a", "b"], (32, 32))(500))
    places = list(patches(32, 32, 0.5, overlap))
    assert len(recorder.calls) == len(places) == calls
    for (x_t, t, cond), (rows, columns) in zip(recorder.calls, places, strict=True):
        inside = torch.zeros(32, 32, dtype=torch.bool)
        inside[rows, columns] = True
        assert inside.sum() == 16 * 16
        assert torch.equal(x_t[..., ~inside], X[..., ~inside])
        assert torch.equal(x_t[..., inside], noised[..., inside])
        assert (t, cond) == (500, None)


@pytest.mark.parametrize(("height", "width", "share", "overlap"), [(32, 32, 0.5, True), (30, 48, 0.4, False)])
def test_patches_cover_the_image_and_stay_inside(
    height: int, width: int, share: float, overlap: bool
) -> None:
    seen = torch.zeros(height, width, dtype=torch.int64)
    side = round(share * min(height, width))
    for rows, columns in patches(height, width, share, overlap):
        assert (rows.stop - rows.start, columns.stop - columns.start) == (side, side)
        assert rows.stop <= height
        assert columns.stop <= width
        seen[rows, columns] += 1
    assert int(seen.min()) >= 1
    if (height, width, overlap) == (32, 32, True):
        assert int(seen[16, 16]) == 4  # the middle is seen by four patches, a corner by one
        assert int(seen[0, 0]) == 1


def test_pddpm_takes_from_each_call_only_its_own_patch() -> None:
    """A network that answers with the number of its call leaves that number in its patch."""

    class Counting(Recorder):
        def denoise(self, x_t: Tensor, t: Tensor, cond: Tensor | None = None) -> Tensor:
            number = len(self.calls) / 10
            super().denoise(x_t, t, cond)
            abar = float(SCHEDULE.abar[int(t[0])])
            return (x_t - abar**0.5 * number) / (1 - abar) ** 0.5  # eps of the clean image ``number``

    result = PDDPM()(X, tools_for(Counting()))
    for k, (rows, columns) in enumerate(patches(32, 32, 0.5, False)):
        torch.testing.assert_close(
            result.reconstruction[..., rows, columns], torch.full((2, 1, 16, 16), k / 10), atol=1e-5, rtol=0
        )


def test_cddpm_calls_once_a_level_with_the_input_as_condition_and_averages() -> None:
    recorder = Recorder()
    result = CDDPM()(X, tools_for(recorder))
    assert [t for _, t, _ in recorder.calls] == [250, 500, 750]
    assert all(cond is X for _, _, cond in recorder.calls)
    torch.testing.assert_close(result.reconstruction, torch.stack(list(result.trace.values())).mean(0))
    draw = noise_source("simplex", 0, ["a", "b"], (32, 32))
    for x_t, t, _ in recorder.calls:
        torch.testing.assert_close(x_t, add_noise(SCHEDULE, X, t, draw(t)))


@pytest.mark.parametrize("method", [PDDPM(), PDDPM(overlap=True), CDDPM()])
def test_a_case_has_the_same_result_alone_and_in_a_batch(method: PDDPM | CDDPM) -> None:
    both = method(X, tools_for(Recorder()))
    alone = method(X[1:], tools_for(Recorder(), ("b",)))
    assert torch.equal(both.reconstruction[1:], alone.reconstruction)


def test_settings_without_sense_are_refused() -> None:
    with pytest.raises(ValueError, match="patch is 0; a share of the side"):
        PDDPM(patch=0)
    with pytest.raises(ValueError, match="t_test is empty"):
        CDDPM(t_test=())
