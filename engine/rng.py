"""Noise that depends on the case alone: never on the batch, the order, the shard or the back end."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from uadbench.engine.interfaces import NOISES
from uadbench.engine.kernels.simplex import simplex_fields

__all__ = ["case_generator", "noise_source", "to_device"]


def case_generator(seed: int, case_id: str) -> np.random.Generator:
    """A counter-based generator keyed by (run seed, case id)."""
    key = hashlib.sha256(f"{seed}\x1f{case_id}".encode()).digest()[:16]
    return np.random.Generator(np.random.Philox(key=int.from_bytes(key, "little")))


def noise_source(
    kind: str, seed: int, case_ids: Sequence[str], shape: tuple[int, int], device: str = "cpu"
) -> Callable[[int], Tensor]:
    """A function of the level t whose every call draws the next field of each case, [B, 1, H, W] float32.

    kind : "gaussian" (white, unit variance, whatever t) or "simplex" (fractal, Wyatt et al. 2022: 3-D noise on the
        plane z = t, not normalised; every field from a fresh seed); "none" for what draws none, RuntimeError if it does
    shape : (H, W)

    Fields are drawn on the CPU, simplex by as many threads as torch has now, and moved to ``device``, so all back ends
    see the same noise. The host does not wait for a GPU to take them.
    """
    if kind == "none":
        return _no_noise
    if kind not in NOISES:
        raise ValueError(f"unknown noise {kind!r}; choose from {', '.join(NOISES)}")
    generators = [case_generator(seed, case_id) for case_id in case_ids]
    threads = torch.get_num_threads()

    def gaussian(t: int) -> np.ndarray:
        return np.stack([g.standard_normal(shape, dtype=np.float32) for g in generators])

    def simplex(t: int) -> np.ndarray:
        seeds = np.array([g.integers(2**63 - 1) for g in generators], dtype=np.int64)
        return simplex_fields(seeds, shape, z=float(t), threads=threads)

    draw = gaussian if kind == "gaussian" else simplex

    return lambda t: to_device(torch.from_numpy(draw(t)).unsqueeze(1), device)


def to_device(field: Tensor, device: str) -> Tensor:
    """A tensor of the host on that device; the host does not wait for a GPU to take it."""
    if torch.device(device).type != "cuda":
        return field.to(device)
    # From pageable memory the copy would wait for all that is queued; torch keeps pinned memory until it is taken.
    return field.pin_memory().to(device, non_blocking=True)


def _no_noise(t: int) -> Tensor:
    raise RuntimeError("this method has no noise to draw")
