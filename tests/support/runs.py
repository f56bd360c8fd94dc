"""Makes run directories that are complete and valid but whose numbers come from a seed, for the reports' tests."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from scipy.ndimage import gaussian_filter, zoom

from support.scored import at_best
from uadbench.reports.store import CellDirectory, RunDirectory
from uadbench.reports.vocabulary import SIZE_NAMES, STAGES

SIZE = 128
TITLES = {"thor": "THOR", "ddpm": "DDPM", "anoddpm": "AnoDDPM", "autoddpm": "AutoDDPM"}
PERCEPTUAL = {"thor": "brain-squeeze", "autoddpm": "brain-squeeze"}
# method, noise, steps, back end, precision, kind, pooled max Dice, ms an image, NFE
Spec = tuple[str, str, str, str, str, str, float, float, int]
CELLS: tuple[Spec, ...] = (
    ("thor", "gaussian", "25", "torch", "fp32", "method", 0.412, 1450.0, 29),
    ("thor", "gaussian", "25", "onnxruntime", "fp32", "method", 0.412, 905.0, 29),
    ("thor", "gaussian", "25", "openvino", "bf16", "method", 0.398, 610.0, 29),
    ("thor", "simplex", "25", "torch", "fp32", "method", 0.441, 1530.0, 31),
    ("ddpm", "gaussian", "25", "torch", "fp32", "method", 0.187, 1180.0, 25),
    ("ddpm", "gaussian", "25", "onnxruntime", "fp32", "method", 0.187, 742.0, 25),
    ("anoddpm", "simplex", "25", "torch", "fp32", "method", 0.263, 1195.0, 25),
    ("autoddpm", "gaussian", "25", "torch", "fp32", "method", 0.352, 3320.0, 75),
    ("autoddpm", "gaussian", "25", "onnxruntime", "fp32", "method", 0.351, 2105.0, 75),
    ("asymmetry", "none", "0", "torch", "fp32", "floor", 0.301, 0.21, 0),
    ("intensity", "none", "0", "torch", "fp32", "floor", 0.236, 0.12, 0),
    ("residual-median", "none", "0", "torch", "fp32", "floor", 0.204, 0.16, 0),
    ("blur", "none", "0", "torch", "fp32", "floor", 0.122, 0.14, 0),
)
SHARES = dict(zip(STAGES, (0.86, 0.03, 0.04, 0.05, 0.01, 0.005, 0.005), strict=True))


def make_run(
    path: Path,
    *,
    run_id: str = "2026-11-21-a1b2c3",
    dataset: dict[str, Any] | None = None,
    cells: tuple[Spec, ...] = CELLS,
    n_lesion: int = 8,
    n_healthy: int = 4,
    seed: int = 0,
    reason: str = "image is constant (min = max = 0.0); a slice with tissue is needed",
    parity: bool = True,
    dead: Collection[str] = (),
    not_applicable: Mapping[str, str] | None = None,
) -> Path:
    """Write a run directory with inputs, arrays, cases, metrics, latency and parity; returns its path.

    dead : methods that fail on every case; not_applicable : why, by the methods that cannot run on the data set
    """
    rng = np.random.default_rng(seed)
    run = RunDirectory(path)
    slugs = ["-".join(cell[:5]) for cell in cells]
    # nothing here has to outlive a power cut, and hundreds of small files are written
    with patch("os.fsync"):
        run.write_manifest(_manifest(run_id, dataset or {}, slugs, n_lesion, n_healthy, seed))
        cases = [_case(rng, run, index, index < n_lesion) for index in range(n_lesion + n_healthy)]
        for cell, slug in zip(cells, slugs, strict=True):
            folder, why = run.cell(slug), (not_applicable or {}).get(cell[0], "")
            folder.write_info(_info(cell, why))
            if not why:
                _write_results(folder, cell, cases, rng, seed, reason, cell[0] in dead)
        if parity:
            run.write_parity({slug: _parity(slug) for slug in slugs if "none" not in slug})
    return path


def _manifest(
    run_id: str, dataset: dict[str, Any], slugs: list[str], lesion: int, healthy: int, seed: int
) -> dict:
    return {
        "run_id": run_id,
        "config": {"methods": list(TITLES), "batch_size": 8, "limit": lesion + healthy},
        "config_hash": "9f" * 32,
        "created": "2026-11-21T07:40:00Z",
        "finished": "2026-11-21T08:20:00Z",
        "version": "0.1.0",
        "git": {"commit": "0123456789abcdef0123456789abcdef01234567", "dirty": False},
        "environment": {
            "python": "3.11.13",
            "cpu": "Test CPU @ 2.60GHz",
            "cores": 2,
            "threads": 2,
            "memory_mib": 15872,
            "os": "Linux 6.1",
            "packages": {"torch": "2.13.0", "onnxruntime": "1.27.0", "numpy": "2.3.4"},
        },
        "dataset": {
            "name": "phantom",
            "title": "Phantom: brain slices made from the MNI152 tissue maps",
            "origin": "synthetic",
            "modality": "T1w",
            "caveats": ["Synthetic: slices and lesions are generated; figures say nothing about patients."],
            "licence": "CC0-1.0",
            "citation": "Fonov et al., NeuroImage 47, S102 (2009)",
            "preprocessing": {"percentile": 98, "size": 128},
            "fingerprint": "ab" * 32,
            "n_test_lesion": lesion,
            "n_test_healthy": healthy,
            "n_val": 20,
        }
        | dataset,
        "seed": seed,
        "checkpoints": {"gaussian": {"sha256": "12" * 32, "card": {"steps": 6000, "parameters": 4100000}}},
        "perceptual": {"brain-squeeze": {"sha256": "34" * 32}},
        "command": "bench run --methods thor,ddpm,anoddpm,autoddpm --backends torch,onnxruntime,openvino",
        "cells": slugs,
    }


def _case(rng: np.random.Generator, run: RunDirectory, index: int, lesion: bool) -> dict[str, Any]:
    """A brain-like slice with a lesion of one of the size groups, kept with the run."""
    rows, columns = np.mgrid[:SIZE, :SIZE].astype(np.float32)
    radius = np.hypot((rows - 64) / 54, (columns - 64) / 44)
    texture = zoom(rng.normal(size=(16, 16)), 8, order=3) * 0.09
    tissue = np.where(radius < 1, 0.55 + texture + 0.2 * (radius > 0.82), 0.0)
    side = (4.0, 9.0, 17.0)[index % 3] * rng.uniform(0.8, 1.2)
    group = SIZE_NAMES[index % 3] if lesion else None
    row, column = rng.uniform(48, 80), rng.choice([rng.uniform(40, 52), rng.uniform(76, 88)])
    blob = np.hypot(rows - row, (columns - column) * 1.3) + zoom(rng.normal(size=(16, 16)), 8, order=3)
    mask = (blob < side) & (radius < 0.8) if lesion else np.zeros((SIZE, SIZE), bool)
    image = np.clip(gaussian_filter(tissue - 0.28 * gaussian_filter(mask.astype(float), 1.0), 0.6), 0, 1)
    image = np.clip(image + rng.normal(scale=0.01, size=image.shape) * (radius < 1), 0, 1)
    case_id = f"sub-{index:03d}"
    run.write_input(case_id, image.astype(np.float32), mask)
    return {
        "case_id": case_id,
        "lesion": lesion,
        "image": image,
        "clean": tissue,
        "mask": mask,
        "group": group,
    }


def _info(cell: Spec, not_applicable: str) -> dict[str, Any]:
    """cell.json of one of CELLS."""
    method, noise, steps, backend, precision, kind, _, _, nfe = cell
    return {
        "dataset": "phantom",
        "method": method,
        "title": TITLES.get(method, method),
        "noise": noise,
        "steps": steps,
        "perceptual": PERCEPTUAL.get(method, ""),
        "settings": {},
        "seed": 0,
        "backend": backend,
        "precision": precision,
        "device": "cpu",
        "kind": kind,
        "not_applicable": not_applicable,
        "t_start": 350 if nfe else None,
        "hyperparameters": {"smooth": 2.0},
        "backend_info": {"provider": backend, "threads": 2},
    }


def _write_results(
    folder: CellDirectory, cell: Spec, cases: list[dict], rng: Any, seed: int, reason: str, dead: bool
) -> None:
    dice, latency_ms, nfe = cell[6:]
    raw = latency_ms * rng.lognormal(0, 0.04, size=len(cases))
    per_case: dict[str, Any] = {}
    for index, case in enumerate(cases):
        record = _record(case, index, float(raw[index]), nfe, seed)
        if dead or index == 1:
            folder.append_case(record | {"status": "failed", "reason": reason, "metrics": {}})
            continue
        signal = gaussian_filter(case["mask"].astype(float), 1.5) * dice
        noise_map = np.abs(gaussian_filter(rng.normal(size=(SIZE, SIZE)), 1.2)) * (case["image"] > 0.1)
        arrays = signal + noise_map * 0.3, np.clip(case["clean"], 0, 1)
        folder.append_case(record | {"arrays_sha256": folder.write_arrays(case["case_id"], *arrays)})
        per_case[case["case_id"]] = {
            "dice": float(np.clip(rng.normal(dice, 0.12), 0, 1)) if case["lesion"] else None,
            "lesion_px": record["lesion_px"],
            "group": case["group"],
            "score": float(rng.random()),
            **at_best(arrays[0], case["mask"]),
        }
    metrics, latency = _metrics(dice, cases, per_case, reason), _latency(raw, nfe)
    if dead:
        metrics, latency = _nothing(metrics, cases, reason), _nulls(latency) | {"n": 0, "raw_ms": []}
    folder.write_summary(metrics, latency)


def _record(case: dict, index: int, latency_ms: float, nfe: int, seed: int) -> dict[str, Any]:
    """A line of cases.jsonl of a case that went well."""
    return {
        "case_id": case["case_id"],
        "subject": case["case_id"],
        "split": "test",
        "lesion": case["lesion"],
        "status": "ok",
        "reason": None,
        "nfe": nfe,
        "latency_ms": latency_ms,
        "stages_ms": {name: latency_ms * share for name, share in SHARES.items()},
        "batch_size": 8,
        "first_call": index == 0,
        "load": 1.4,
        "seed": seed,
        "lesion_px": int(case["mask"].sum()),
        "metrics": {"ssim": 0.9, "psnr": 27.0},
    }


def _nulls(value: Any) -> Any:
    """The same keys without any figure, as a cell has them of which no case went well."""
    return {key: _nulls(entry) for key, entry in value.items()} if isinstance(value, dict) else None


def _nothing(metrics: dict[str, Any], cases: list[dict], reason: str) -> dict[str, Any]:
    """metrics.json of a cell of which no case went well."""
    failed = [{"case_id": case["case_id"], "reason": reason} for case in cases]
    counts = {"n_cases": 0, "n_lesion": 0, "n_healthy": 0, "n_excluded": 0, "n_failed": len(cases)}
    curve = {"recall": [], "precision": []}
    return _nulls(metrics) | counts | {"excluded": {}, "failed": failed, "per_case": {}, "pr_curve": curve}


def _metrics(dice: float, cases: list[dict], per_case: dict, reason: str) -> dict[str, Any]:
    def interval(value: float, half: float, **more: Any) -> dict[str, Any]:
        return {"value": value, "lo": max(0.0, value - half), "hi": min(1.0, value + half), **more}

    recall = np.linspace(0, 1, 100)
    lesions = sum(case["lesion"] for case in cases)
    return {
        "n_cases": len(per_case),
        "n_lesion": lesions - 1,
        "n_healthy": len(cases) - lesions,
        "n_failed": 1,
        "n_excluded": 2,
        "excluded": {"lesion of 3 px or fewer": 2},
        "failed": [{"case_id": cases[1]["case_id"], "reason": reason}],
        "dice_max": interval(dice, 0.035, threshold=0.31),
        "dice_max_exact": interval(dice + 0.002, 0.035, threshold=0.308),
        "dice_average": interval(dice * 0.9, 0.04),
        "dice_average_papers": interval(dice * 0.8, 0.04),
        "dice_small": interval(dice * 0.35, 0.06, n=10),
        "dice_medium": interval(dice * 1.05, 0.05, n=10),
        "dice_large": interval(min(1, dice * 1.5), 0.05, n=9),
        "auprc": interval(dice * 0.9, 0.04),
        "dice_healthy_fpr5": interval(dice * 0.6, 0.03, threshold=0.22),
        "dice_healthy_fpr5_head": interval(dice * 0.65, 0.03, threshold=0.25),
        "dice_case": interval(dice * 0.55, 0.03),
        "auroc_image": interval(min(1, 0.5 + dice / 2), 0.06),
        "fpr_healthy_test": interval(0.06, 0.02),
        "fpr_healthy_test_head": interval(0.055, 0.02),
        "ssim_healthy": interval(0.91, 0.01),
        "psnr_healthy": {"value": 27.4, "lo": 26.9, "hi": 27.9},
        "lpips_healthy": interval(0.08, 0.01),
        "per_case": per_case,
        "pr_curve": {
            "recall": recall.tolist(),
            "precision": (0.02 + 0.9 * (1 - recall) ** (0.9 / dice)).tolist(),
        },
    }


def _latency(raw: np.ndarray, nfe: int) -> dict[str, Any]:
    def summary(values: np.ndarray) -> dict[str, Any]:
        p50, p90 = np.percentile(values, [50, 90])
        return {"p50": float(p50), "p90": float(p90), "p95": None, "p99": None, "mean": float(values.mean())}

    network = summary(raw * SHARES["network"] / nfe) if nfe else dict.fromkeys(summary(raw))
    return {
        "n": len(raw),
        "latency_ms": summary(raw),
        "network_ms": network,
        "first_call_ms": float(raw[0] * 1.8),
        "warmup_ms": float(raw[0] * 2.2),
        "stages_ms": {name: float(raw.mean() * share) for name, share in SHARES.items()},
        "peak_memory_mib": 812.0,
        "load_max": 1.6,
        "raw_ms": raw.tolist(),
    }


def _parity(slug: str) -> dict[str, Any]:
    if slug.endswith("torch-fp32"):
        return {"verdict": "reference", "reason": "torch fp32 is what the others are held against"}
    if slug.endswith("bf16"):
        return {
            "verdict": "fail",
            "reason": "max Dice differs by 1.4 points, the margin is 1.0",
            "network": {"l2": 0.02},
        }
    return {
        "verdict": "pass",
        "reason": "max Dice differs by 0.01 points, the margin is 1.0",
        "network": {"l2": 1e-6},
    }
