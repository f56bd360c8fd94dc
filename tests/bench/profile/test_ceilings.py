"""Ceilings against closed forms, by a clock that counts its readings; and which are asked for."""

from __future__ import annotations

import itertools

import pytest

from uadbench.bench.profile.ceilings import measure_ceilings


def test_rates_are_the_work_over_the_time_of_a_call() -> None:
    ticks = itertools.count()
    found = measure_ceilings("cpu", ("fp32", "fp8"), quick=True, clock=lambda: float(next(ticks)))
    assert set(found["precisions"]) == {"fp32"}  # torch has no other of these
    rates = found["precisions"]["fp32"]
    assert rates["matmul_gflops"] == pytest.approx(2 * 1024**3 / 1e9)
    assert rates["conv_gflops"] == pytest.approx(2 * 64 * 64 * 256 * 256 * 9 / 1e9)
    assert found["copy_gb_s"] == pytest.approx(2 * 128 * 2**20 / 1e9)
    assert found["sizes"] == {"matrix": 1024, "images": 1, "copy_mib": 128}
    assert next(ticks) == 3 * 2 * 3  # of each three calls, as one alone is longer than the time there is
