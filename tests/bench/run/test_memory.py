"""A batch's peak memory is its own, and no figure where the system's mark cannot be set back."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from support.cells import BLUR, SLUG, Recording, compute, records
from torch import Tensor

from uadbench.bench.run import executors
from uadbench.bench.run.memory import set_back

HELD = 192  # MiB


class Hungry(Recording):
    """Takes much memory in each call, and gives it back."""

    def denoise(self, x_t: Tensor, t: Tensor, cond: Tensor | None = None) -> Tensor:
        held = torch.ones(HELD * 2**18)
        del held
        return super().denoise(x_t, t, cond)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has /proc/self/clear_refs")
def test_a_cell_does_not_inherit_the_peak_of_one_before(tmp_path: Path) -> None:
    """The two cells take turns batch by batch, so the hungry one's mark is older than most of the other's batches."""
    if not set_back():
        pytest.skip("this system does not let the mark be set back")
    compute(tmp_path, networks={SLUG: Hungry()})
    peaks = {
        slug: [r["peak_memory_mib"] for r in records(tmp_path, slug).values()] for slug in (SLUG, BLUR.slug)
    }
    assert min(peaks[SLUG]) > max(peaks[BLUR.slug]) + HELD / 2


def test_where_the_mark_cannot_be_set_back_there_is_no_figure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(executors, "set_back", lambda: False)
    compute(tmp_path)
    found: list[Any] = [
        r["peak_memory_mib"] for slug in (SLUG, BLUR.slug) for r in records(tmp_path, slug).values()
    ]
    assert found == [None] * 20
