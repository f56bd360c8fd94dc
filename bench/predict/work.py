"""Files under way: read once, their slices computed in batches by the harness's own path, written when all are done."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from uadbench.bench.predict.outputs import Found, call_pixels, encode, native_of, output_names
from uadbench.bench.predict.record import Entry, PredictionDirectory, sha256_of
from uadbench.bench.predict.setup import Called, Setup
from uadbench.bench.predict.sources import Source, choose_slices, slice_id
from uadbench.bench.run.evaluate import Bench, Outcome, run_batch
from uadbench.bench.score.cases import image_score
from uadbench.datasets.case import Case, CaseError, Sample
from uadbench.datasets.native import Grid, cut, read_grid, read_pixels, suffix_of
from uadbench.datasets.preprocess import check_image, grey_range, preprocess
from uadbench.engine.interfaces import Denoiser
from uadbench.reports.places import short_text

__all__ = ["Item", "compute", "keep", "make_item"]


@dataclass
class Item:
    """One file on its way.

    grid : None where the file cannot be used, and then ``reason`` says why
    slices : that are asked for; left : of them, those that are not done with
    done : whether its results are there already
    """

    source: Source
    sha256: str | None
    grid: Grid | None = None
    slices: list[int] = field(default_factory=list)
    reason: str | None = None
    done: bool = False
    left: int = 0
    pixels: NDArray[Any] | None = None
    found: list[Found] = field(default_factory=list)
    skipped: list[int] = field(default_factory=list)
    latency_ms: float = 0.0

    def names(self, called: Called) -> dict[str, str]:
        """What is written of it, by kind."""
        return (
            {} if self.source.fault else output_names(self.source.written, self.source.suffix.lower(), called)
        )


def make_item(source: Source, slices: str) -> Item:
    """A file with its slices, from its header."""
    item = Item(source, sha256_of(source.path), reason=source.fault or None)
    if source.fault:
        return item
    try:
        item.grid = read_grid(source.path)
        item.slices = choose_slices(slices, item.grid.depth)
    except CaseError as error:
        item.reason = _short(error, source.path)
    item.left = len(item.slices)
    return item


def compute(batch: Sequence[tuple[Item, int]], setup: Setup, denoiser: Denoiser, bench: Bench) -> list[Item]:
    """Read and run the slices of a batch; the items that are complete with it.

    A slice of a volume that shows nothing is skipped; any other that cannot be used makes its file fail.
    """
    ready = [(item, index, sample) for item, index in batch if (sample := _sample(item, index)) is not None]
    if ready:
        outcomes = run_batch(setup.cell, denoiser, [sample for _, _, sample in ready], bench)
        for (item, index, _), outcome in zip(ready, outcomes, strict=True):
            _take(item, index, outcome)
    complete = []
    for item, _ in batch:
        item.left -= 1
        if item.left == 0:
            complete.append(item)
    return complete


def _sample(item: Item, index: int) -> Sample | None:
    """A slice as methods see it, None where it is left out."""
    if item.reason is not None or item.grid is None:
        return None
    grid, source = item.grid, item.source
    try:
        if item.pixels is None:
            item.pixels = read_pixels(grid)
        plane = cut(grid, item.pixels, index)
        low, high = grey_range(check_image(plane, source.path.name))
        if grid.volume and not high > low:
            item.skipped.append(index)
            return None
        image, mask = preprocess(plane, None, name=source.path.name)
    except (CaseError, MemoryError) as error:
        item.reason = (
            f"slice {index}: {_short(error, source.path)}" if grid.volume else _short(error, source.path)
        )
        return None
    # Whether something is wrong is what is asked; called a lesion, its reconstruction is not scored as a healthy one's.
    case = Case(
        slice_id(source, grid, index),
        source.case_id,
        "test",
        True,
        source.case_id if grid.volume else "",
        index,
    )
    return Sample(case, image, mask)


def _take(item: Item, index: int, outcome: Outcome) -> None:
    """Keep what came of a slice until its file is complete."""
    item.latency_ms += outcome.timing["latency_ms"]
    if outcome.anomaly is None or outcome.reconstruction is None:
        item.reason = f"slice {index}: {outcome.reason}" if item.grid and item.grid.volume else outcome.reason
        return
    assert item.grid is not None
    assert item.pixels is not None
    plane = cut(item.grid, item.pixels, index)
    low, high = grey_range(plane.astype(np.float64))
    shape = (plane.shape[0], plane.shape[1])
    item.found.append(Found(index, outcome.anomaly, outcome.reconstruction, shape, low, high))


def _short(error: BaseException, path: Path) -> str:
    """In one line, without the file's name, which stands beside it, and the folders of this machine."""
    return short_text(str(error).replace(str(path), path.name)).removeprefix(f"{path.name}: ")


def keep(directory: PredictionDirectory, item: Item, setup: Setup, white: float | None) -> Entry:
    """Write a complete file's results and record it; what failed is recorded with the reason."""
    entry = _entry(item, setup.called)
    if item.reason is None and not item.found:
        item.reason = f"none of its {len(item.slices)} slices shows anything; name others by --slices"
    if item.reason is not None or item.grid is None or item.pixels is None:
        entry |= {"status": "failed", "reason": item.reason, "outputs": {}}
        directory.note(entry)
        return entry
    directory.note({**entry, "status": "begun", "outputs": {}})
    arrays = native_of(item.grid, item.found, item.pixels, setup.called)
    top = white or float(arrays["anomaly"].max()) or 1.0
    outputs = {}
    for kind, name in item.names(setup.called).items():
        data = encode(item.grid, kind, arrays[kind], item.pixels.dtype, top)
        outputs[kind] = {"file": name, "sha256": directory.write_file(name, data)}
    if suffix_of(item.source.path) == ".png":
        entry |= {"white": top, "above_white_px": int(np.count_nonzero(arrays["anomaly"] > top))}
    entry |= {"status": "ok", "reason": None, "outputs": outputs}
    directory.note(entry)
    return entry


def _entry(item: Item, called: Called) -> Entry:
    entry: Entry = {
        "case_id": item.source.case_id,
        "input": item.source.name + item.source.suffix,
        "sha256": item.sha256,
        "latency_ms": item.latency_ms,
        "skipped": item.skipped,
    }
    entry["slices"] = [_slice_entry(item, one, called) for one in item.found]
    return entry


def _slice_entry(item: Item, one: Found, called: Called) -> dict[str, Any]:
    assert item.grid is not None
    found: dict[str, Any] = {
        "index": one.index,
        "case_id": slice_id(item.source, item.grid, one.index),
        "low": one.low,
        "high": one.high,
        "score": image_score(one.anomaly),
    }
    if called.threshold is not None:
        found["found_px"] = int(np.count_nonzero(call_pixels(one.anomaly, called)))
    return found
