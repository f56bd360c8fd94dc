"""The trend of Dice is that of known residuals, and what counts as a sign of divergence is what the page says."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from uadbench.bench.run.training_checks import Lesions, one_call_dice, risen, trouble
from uadbench.engine.training.losses import OBJECTIVES

MASKS = np.zeros((2, 16, 16), dtype=bool)
MASKS[0, 2:6, 2:6] = MASKS[1, 8:10, 8:12] = True  # 16 and 8 pixels
LESIONS = {"a": Lesions(np.where(MASKS, 0.75, 0.5).astype(np.float32), MASKS)}


def healthy(model: nn.Module, x: Tensor, t: int, noise: Tensor, schedule: Any) -> Tensor:
    """Grey everywhere, but for a false alarm of 4 pixels as large as a lesion's residual."""
    estimate = torch.zeros_like(x)
    estimate[0, 0, 12:14, 12:14] = 0.5
    return estimate


def test_the_dice_is_pooled_over_cases_and_of_one_estimate_at_the_objective_s_level() -> None:
    objective = replace(OBJECTIVES["noise"], estimate=healthy)
    found = one_call_dice(nn.Identity(), objective, "gaussian", LESIONS)
    assert found == {"a": {"250": pytest.approx(2 * 24 / (24 + 24 + 4))}}


@pytest.mark.parametrize(
    ("name", "level"), [("noise", 250), ("patch", 500), ("conditioned", 500), ("masked", None)]
)
def test_lesions_are_looked_for_at_a_validated_level_that_is_no_higher_than_the_methods_own(
    name: str, level: int | None
) -> None:
    objective = OBJECTIVES[name]
    assert objective.judged == level
    if level is None:
        assert one_call_dice(nn.Identity(), objective, "gaussian", LESIONS) == {}
    else:
        assert level in objective.validated


@pytest.mark.parametrize(
    ("loss", "lowest", "word"),
    [
        pytest.param(0.29, 0.1, "", id="below three times"),
        pytest.param(0.31, 0.1, "the running loss is 0.31, 3.1 times its lowest", id="above"),
        pytest.param(9.0, None, "", id="in the warm-up"),
    ],
)
def test_a_loss_has_risen_above_three_times_its_lowest(loss: float, lowest: float | None, word: str) -> None:
    assert risen(loss, lowest) == word


def record(error: float, loss: float = 0.1) -> dict[str, Any]:
    return {"loss": loss, "lowest_loss": 0.1, "clean_error": {"a": {"50": 1.0, "250": error}}}


def test_an_error_is_held_against_its_own_best_of_before() -> None:
    earlier = [record(0.0020), record(0.0010), record(0.0012)]
    assert trouble(record(0.0015), earlier) == ""
    assert (
        trouble(record(0.0016), earlier) == "the error of x0 on a at t = 250 is 16.0e-4, 1.6 times its best"
    )
    assert trouble(record(9.0), []) == ""
    assert trouble(record(0.0010, loss=0.4), earlier).startswith("the running loss is 0.4, 4.0 times")


def test_records_of_earlier_versions_are_taken_as_they_are() -> None:
    old = {"loss": 0.1, "clean_error": {"b": {"250": 1.0}}}
    assert trouble(record(0.001), [old]) == ""
    assert trouble(old, [record(0.001)]) == ""
