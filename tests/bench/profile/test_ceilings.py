"""Ceilings against closed forms, by a clock that counts its readings; and which are asked for."""

from __future__ import annotations

import itertools

import pytest
import torch

from uadbench.bench.profile.ceilings import int8_calls, measure_ceilings


def test_rates_are_the_work_over_the_time_of_a_call() -> None:
    ticks = itertools.count()
    found = measure_ceilings(
        "cpu", ("fp32", "fp8", "int8", "int8-bf16"), quick=True, clock=lambda: float(next(ticks))
    )
    assert set(found["precisions"]) == {"fp32", "int8", "int8-bf16"}
    assert found["left_out"] == {"fp8": "torch has no such precision"}
    for rates in found["precisions"].values():
        assert rates["matmul_gflops"] == pytest.approx(2 * 1024**3 / 1e9)
        assert rates["conv_gflops"] == pytest.approx(2 * 64 * 64 * 256 * 256 * 9 / 1e9)
    assert found["copy_gb_s"] == pytest.approx(2 * 128 * 2**20 / 1e9)
    assert found["sizes"] == {"matrix": 1024, "images": 1, "copy_mib": 128}
    assert next(ticks) == 7 * 2 * 3  # of each three calls, as one alone is longer than the time there is


def test_in_8_bits_the_product_and_the_convolution_are_what_they_are_called() -> None:
    product, convolution = int8_calls("cpu", 64, 1)
    assert product().dtype == torch.int32
    assert (product() == 64).all()
    found = convolution()
    assert (found.dtype, found.shape) == (torch.uint8, (1, 256, 64, 64))
    assert (found[..., 1:-1, 1:-1] == 1).all()  # 9 x 256 ones that are worth 1 / 2304 each
    assert (found[..., 0, 0] == 0).all()  # a corner sees 4 of the 9, and 0.44 is rounded


def test_a_torch_without_these_operators_has_no_ceiling_in_int8(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: object) -> None:
        raise AttributeError("'_OpNamespace' 'onednn' object has no attribute 'qconv_prepack'")

    monkeypatch.setattr("uadbench.bench.profile.ceilings.int8_calls", missing)
    found = measure_ceilings("cpu", ("int8",), quick=True)
    assert found["precisions"] == {}
    assert "qconv_prepack" in found["left_out"]["int8"]
