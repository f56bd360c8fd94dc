"""Makes a finished run whose truth is boxes: maps from a seed, scored by the scorers themselves."""

from __future__ import annotations

from pathlib import Path
from unittest.mock import patch

import numpy as np

from support import runs
from support.runs import CELLS, SIZE
from uadbench.bench.score.cells import score_cell
from uadbench.bench.score.paired import compare_rows
from uadbench.reports.store import BoxEntry, RunDirectory

LABELS = ("fracture", "metal")
SPECS = tuple(cell for cell in CELLS if cell[0] in ("thor", "ddpm", "blur") and cell[1:5] in (
    ("gaussian", "25", "torch", "fp32"), ("none", "0", "torch", "fp32"),
))  # fmt: skip
FOUND = {"thor": 1.0, "ddpm": 0.2, "blur": 0.0}
"""The chance that a method finds a box."""


def boxes_of(index: int) -> list[BoxEntry]:
    """One box, or two with every third image."""
    first = (LABELS[index % 2], 20, 30 + index, 50, 50 + index)
    return [first, ("foreignbody", 90, 60, 96, 66)] if index % 3 == 0 else [first]


def make_boxed_run(path: Path, n_lesion: int = 14, n_healthy: int = 4) -> Path:
    """Write a run with inputs, arrays, cases, scores and paired.json; returns its path."""
    rng, run = np.random.default_rng(0), RunDirectory(path)
    slugs = ["-".join(spec[:5]) for spec in SPECS]
    data = {"name": "wrists", "title": "Wrists with boxes", "truth": "boxes", "caveats": []}
    ids = [f"w{i:02d}" for i in range(n_lesion + n_healthy + 3)]
    with patch("os.fsync"):
        run.write_manifest(runs._manifest("boxed", data, slugs, n_lesion, n_healthy, 0))
        images = rng.random((len(ids), SIZE, SIZE), dtype=np.float32)
        for index, (case_id, image) in enumerate(zip(ids, images, strict=True)):
            boxes = boxes_of(index) if index < n_lesion else []
            run.write_input(case_id, image, np.zeros((SIZE, SIZE), bool), boxes)
        for spec, slug in zip(SPECS, slugs, strict=True):
            cell = run.cell(slug)
            cell.write_info(runs._info(spec, ""))
            for index, (case_id, image) in enumerate(zip(ids, images, strict=True)):
                lesion = index < n_lesion
                anomaly = np.kron(rng.random((16, 16), dtype=np.float32), np.ones((8, 8), np.float32)) ** 4
                for _, top, left, bottom, right in boxes_of(index) if lesion else []:
                    anomaly[top:bottom, left:right] += float(rng.random() < FOUND[spec[0]])
                case = {"case_id": case_id, "lesion": lesion, "mask": np.zeros((SIZE, SIZE))}
                record = runs._record(case, index, spec[7], spec[8], 0)
                record |= {
                    "split": "test" if index < n_lesion + n_healthy else "val",
                    "network_call_ms": None,
                    "batch": index // 8,
                }
                record |= {
                    "peak_memory_mib": 100.0,
                    "arrays_sha256": cell.write_arrays(case_id, anomaly, image),
                }
                cell.append_case(record)
            score_cell(run, slug, ids, seed=0, n_boot=100)
        run.write_paired(compare_rows(run, slugs, ids, seed=0))
    return path
