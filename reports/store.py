"""The run directory and its one owner: every path in it is known here, and nowhere else.

A run survives a kill at any moment: whole files are replaced atomically, and a line is appended to
``cases.jsonl`` (flushed, fsynced) only after the case's arrays are on disk (``shards``), so it always stands for work
done. The line holds the hash of the arrays, so no other case's can stand in for them. ``metrics.json`` and
``latency.json`` follow from the rest and are made again where they are missing or damaged.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from uadbench.reports.atomic import PARTIAL, RunError, read_json, read_npz, remove, write_json, write_npz
from uadbench.reports.blobs import pack
from uadbench.reports.cell import CellDirectory, checked, optional, read_arrays
from uadbench.reports.shards import Shards

__all__ = ["SCHEMA", "BoxEntry", "CellDirectory", "RunDirectory", "refuse_taken"]

SCHEMA = 3  # of the run directory; 1 had no variants, 2 a file a case
LOCK = ".uadbench.lock"  # named so that it is nobody else's
MANIFEST = "manifest.json"
REPORTS = (
    *("leaderboard.csv", "leaderboard.md", "leaderboard.html"),
    *("shifts.csv", "sweep.csv", "boxes.csv", "volumes.csv"),
)
CONTENT = ("cells", "inputs", "median.npz", "variance.json", "fitted.json", "parity.json", "paired.json")
EARLIER = ("prior.npz",)  # of schema 2

Image = NDArray[np.float32]
BoxEntry = tuple[str, int, int, int, int]
"""(label, top, left, bottom, right), rows and columns half open."""


@dataclass(frozen=True)
class RunDirectory:
    """A run's folder."""

    path: Path

    @property
    def lock_file(self) -> Path:
        """What a process locks while it writes here."""
        return self.path / LOCK

    @property
    def is_run(self) -> bool:
        """Whether its manifest is one of ours: a user's own manifest.json has no run_id."""
        manifest = optional(self.path / MANIFEST)
        return manifest is not None and isinstance(manifest.get("run_id"), str) and "cells" in manifest

    @property
    def has_manifest(self) -> bool:
        """Whether there is a manifest.json, whoever's."""
        return (self.path / MANIFEST).exists()

    @property
    def content(self) -> list[str]:
        """What of a run's results lies here."""
        return [name for name in (*CONTENT, *EARLIER) if (self.path / name).exists()]

    def foreign(self) -> list[str]:
        """Names of what lies here and is not known to be a run's."""
        names = {entry.name for entry in self.path.iterdir()}
        # A lock file says that a run was here. Without one, a folder called "inputs" may be anybody's.
        ours = {LOCK, *CONTENT, *EARLIER, *REPORTS} if LOCK in names else set()
        return sorted(name for name in names - ours if not PARTIAL.fullmatch(name))

    def read_manifest(self) -> dict[str, Any]:
        """manifest.json; RunError where it is missing or damaged."""
        return read_json(self.path / MANIFEST)

    def write_manifest(self, manifest: Mapping[str, Any]) -> None:
        """Write manifest.json, marked with the version of this layout."""
        write_json(self.path / MANIFEST, {"schema": SCHEMA, **manifest})

    def cell(self, slug: str) -> CellDirectory:
        """The folder of a cell; RunError for a name that could lead out of the run."""
        return CellDirectory(self.path / "cells" / checked(slug))

    @cached_property
    def _inputs(self) -> Shards:
        return Shards(self.path / "inputs")

    def write_input(
        self, case_id: str, image: ArrayLike, mask: ArrayLike, boxes: Sequence[BoxEntry] | None = None
    ) -> None:
        """Keep a case's input once for all cells: image float32 [H, W] in [0, 1], mask bool [H, W], boxes if any."""
        self.hold_input(case_id, image, mask, boxes)
        self.commit_inputs()

    def hold_input(
        self, case_id: str, image: ArrayLike, mask: ArrayLike, boxes: Sequence[BoxEntry] | None = None
    ) -> None:
        """The same, to be read here at once, and put on disk by ``commit_inputs``."""
        image, mask = np.asarray(image, dtype=np.float32), np.asarray(mask, dtype=np.bool_)
        text = b"" if boxes is None else json.dumps(list(boxes)).encode()
        more = {} if boxes is None else {"boxes": np.frombuffer(text, dtype=np.uint8)}
        self._inputs.put(checked(case_id), pack(image=image, mask=mask, **more))

    def commit_inputs(self) -> None:
        """Put the inputs that are held on disk."""
        self._inputs.commit()
        self._inputs.close()

    def read_input(self, case_id: str) -> tuple[Image, NDArray[np.bool_]]:
        """(image [H, W], mask [H, W]) of a case."""
        image, mask, _ = self.read_sample(case_id)
        return image, mask

    def read_boxes(self, case_id: str) -> list[BoxEntry] | None:
        """A case's boxes, [] when healthy; None where its truth is a mask. RunError where its input is not there."""
        return self.read_sample(case_id)[2]

    def read_sample(self, case_id: str) -> tuple[Image, NDArray[np.bool_], list[BoxEntry] | None]:
        """All that is kept of a case's input, read once: (image [H, W], mask [H, W], boxes as ``read_boxes``)."""
        arrays = read_arrays(self._inputs, case_id, ("image", "mask"), if_there=("boxes",))
        boxes: list[BoxEntry] | None = None
        if (found := arrays.get("boxes")) is not None:
            entries = json.loads(found.tobytes())
            boxes = [(str(label), *map(int, edges)) for label, *edges in entries]  # type: ignore[misc]
        return arrays["image"], arrays["mask"], boxes

    def repair_inputs(self) -> None:
        """Cut off what a kill left half written."""
        self._inputs.mend()

    def write_median(self, median: Image, record: Mapping[str, Any]) -> None:
        """Keep the median of healthy slices, float32 [H, W] in [0, 1], and what it was made of."""
        write_npz(self.path / "median.npz", median=median, record=np.array(json.dumps(record)))

    def read_median(self) -> tuple[Image, dict[str, Any]]:
        """(median, record); RunError where there is none."""
        arrays = read_npz(self.path / "median.npz", ("median", "record"))
        return arrays["median"], json.loads(str(arrays["record"]))

    def write_fitted(self, fitted: Mapping[str, Any]) -> None:
        """Write fitted.json: variant -> what validation lesions decided for it."""
        write_json(self.path / "fitted.json", fitted)

    @property
    def fitted(self) -> dict[str, Any]:
        """fitted.json; {} where it is missing or damaged."""
        return optional(self.path / "fitted.json") or {}

    def write_variances(self, variances: Mapping[str, Any]) -> None:
        """Write variance.json: network and kind of noise -> the table of its squared errors by level."""
        write_json(self.path / "variance.json", variances)

    @property
    def variances(self) -> dict[str, Any]:
        """variance.json; {} where it is missing or damaged."""
        return optional(self.path / "variance.json") or {}

    def write_parity(self, judged: Mapping[str, Any]) -> None:
        """Write parity.json."""
        write_json(self.path / "parity.json", judged)

    @property
    def parity(self) -> dict[str, Any] | None:
        """parity.json; None where it is missing or damaged."""
        return optional(self.path / "parity.json")

    def write_paired(self, tested: Mapping[str, Any]) -> None:
        """Write paired.json."""
        write_json(self.path / "paired.json", tested)

    @property
    def paired(self) -> dict[str, Any] | None:
        """paired.json; None where it is missing or damaged."""
        return optional(self.path / "paired.json", "measures")

    def drop_verdicts(self) -> None:
        """Remove the verdicts on other results: parity.json and paired.json."""
        for name in ("parity.json", "paired.json"):
            (self.path / name).unlink(missing_ok=True)

    def clear(self) -> None:
        """Remove what a run consists of but its manifest, and nothing else that a user may have put there."""
        for name in (*CONTENT, *EARLIER, *REPORTS):
            remove(self.path / name)

    def clear_partial(self) -> None:
        """Remove what a killed process left half written or removed; only for the process that owns the run."""
        for partial in [entry for entry in self.path.glob(".*.tmp") if PARTIAL.fullmatch(entry.name)]:
            if partial.is_dir() and not partial.is_symlink():
                shutil.rmtree(partial)
            else:
                partial.unlink(missing_ok=True)
        for folder in (self.path / "inputs", self.path / "cells"):
            for partial in folder.rglob(".*.tmp"):
                partial.unlink(missing_ok=True)


def refuse_taken(folder: Path, overwrite: bool) -> None:
    """RunError where results must not go: into a file, a run or, without ``overwrite``, a folder that is not empty."""
    if folder.exists() and not folder.is_dir():
        raise RunError(f"{folder}: is a file; give a folder as --output")
    if RunDirectory(folder).has_manifest:
        raise RunError(
            f"{folder}: holds a manifest.json, as a run does, which stays as it is; give another --output"
        )
    if folder.is_dir() and any(folder.iterdir()) and not overwrite:
        raise RunError(
            f"{folder}: is not empty; give another --output, or --overwrite to replace what is there"
        )
