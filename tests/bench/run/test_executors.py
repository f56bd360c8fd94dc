"""The executor warms each cell up once, says whose first call it was, and goes on where a warm-up fails."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.cells import BLUR, SLUG, Breaking, Recording, cell_of, compute, method_cell, records

from uadbench.bench.run.interrupt import Interrupted


def test_of_cells_that_share_a_network_only_the_first_has_its_first_call(tmp_path: Path) -> None:
    cells, network = (method_cell(), method_cell(settings='{"squared": true}')), Recording()
    compute(tmp_path, cells, networks={cell.slug: network for cell in cells})
    first, second = (cell_of(tmp_path, cell.slug).warm_up for cell in cells)
    assert first["first_call_ms"] > 0
    assert "warmed_by" not in first
    assert (second["first_call_ms"], second["warmed_by"]) == (None, cells[0].slug)


def test_a_warm_up_that_raises_is_recorded_and_the_cases_tell_what_fails(tmp_path: Path) -> None:
    compute(tmp_path, networks={SLUG: Breaking(np.inf)})
    found = records(tmp_path)
    assert {(r["status"], r["reason"]) for r in found.values()} == {("failed", "RuntimeError: out of memory")}
    assert len(found) == 10
    assert cell_of(tmp_path).warm_up["failed"] == "RuntimeError: out of memory"
    assert {r["status"] for r in records(tmp_path, BLUR.slug).values()} == {"ok"}
    # a network that recovers is taken up again
    compute(tmp_path, networks={SLUG: Breaking(1)})
    assert {r["status"] for r in records(tmp_path).values()} == {"ok"}


def test_stopping_in_a_warm_up_stops(tmp_path: Path) -> None:
    def stop() -> None:
        raise Interrupted

    with pytest.raises(Interrupted):
        compute(tmp_path, (method_cell(),), stop=stop)
    assert records(tmp_path) == {}
