"""Makes a finished run of whole volumes: maps from a seed, scored by the scorers themselves."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from unittest.mock import patch

import numpy as np

from support import runs
from support.boxed import SPECS
from support.runs import SIZE
from uadbench.bench.score.cells import score_cell
from uadbench.bench.score.paired import compare_rows
from uadbench.reports.store import RunDirectory

VOLUMES = ("north", "south")
DEPTH, SPACING = 4, [3.0, 1.5, 1.5]
SIGNAL = {"thor": 2.0, "ddpm": 0.6, "blur": 0.2}
"""What a method adds to noise from 0 to 1 where the lesion is."""


def lesion_of(volume: str, position: int) -> np.ndarray:
    """A block of 6 x 6 pixels in the two middle slices; the second volume has another in its highest."""
    mask = np.zeros((SIZE, SIZE), dtype=bool)
    mask[20:26, 30:36] = position in (1, 2)
    mask[80:86, 60:66] = volume == VOLUMES[1] and position == DEPTH - 1
    return mask


def make_volume_run(path: Path, failed: Collection[str] = (), spacing: bool = True) -> Path:
    """Write a run of two volumes and a healthy validation case; returns its path. failed : cases of thor"""
    rng, run = np.random.default_rng(0), RunDirectory(path)
    slugs = ["-".join(spec[:5]) for spec in SPECS]
    data = {"name": "brains", "title": "Brains, all slices", "truth": "mask", "caveats": []}
    places = [("", 0), *((volume, z) for volume in VOLUMES for z in range(DEPTH))]
    ids = [f"{volume or 'val'}-{z:03d}" for volume, z in places]
    masks = [lesion_of(volume, z) & bool(volume) for volume, z in places]
    with patch("os.fsync"):
        run.write_manifest(runs._manifest("volumes", data, slugs, 5, 3, 0))
        for case_id, mask in zip(ids, masks, strict=True):
            run.write_input(case_id, rng.random((SIZE, SIZE), dtype=np.float32), mask)
        for spec, slug in zip(SPECS, slugs, strict=True):
            cell = run.cell(slug)
            cell.write_info(runs._info(spec, ""))
            for index, (case_id, (volume, z), mask) in enumerate(zip(ids, places, masks, strict=True)):
                anomaly = rng.random((SIZE, SIZE), dtype=np.float32) ** 8 + SIGNAL[spec[0]] * mask
                case = {"case_id": case_id, "lesion": bool(mask.any()), "mask": mask}
                record = runs._record(case, index, spec[7], spec[8], 0) | {
                    "subject": volume or "val",
                    "split": "test" if volume else "val",
                    "network_call_ms": None,
                    "peak_memory_mib": 100.0,
                    "batch": index // 4,
                }
                if volume:
                    record |= {"volume": volume, "position": z}
                    record |= {"spacing_mm": SPACING} if spacing else {}
                if case_id in failed and spec[0] == "thor":
                    record |= {"status": "failed", "reason": "made to fail"}
                else:
                    record["arrays_sha256"] = cell.write_arrays(case_id, anomaly, anomaly)
                cell.append_case(record)
            score_cell(run, slug, ids, seed=0, n_boot=50)
        run.write_paired(compare_rows(run, slugs, ids, seed=0))
    return path
