"""What a run of 200,000 cases takes, step by step; nothing is asserted. Run by hand, from the repository's root:

python tests/benchmarks/scale.py score 200000        scores of generated maps, none of which is kept
python tests/benchmarks/scale.py keep 5000           500 outcomes a second from an executor that only yields
python tests/benchmarks/scale.py build DIR 200000    a run directory of two cells with maps of 16 x 16
python tests/benchmarks/scale.py score-run DIR       its scores, read from there, and its pairs
python tests/benchmarks/scale.py grow DIR 16         more cells for it, each a copy of its scored method by links
python tests/benchmarks/scale.py open DIR            open it, plan what is missing, write its reports

Each prints lines of "step, cases, wall s, cpu s, peak MiB", where the peak is of the process so far.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from scipy.ndimage import gaussian_filter

sys.path.insert(0, str(Path(__file__).parents[1]))

from support.cells import BLUR, method_cell

from uadbench.bench.run.evaluate import Outcome
from uadbench.bench.run.executors import Evaluated
from uadbench.bench.run.keeping import keeping
from uadbench.bench.run.tasks import Task, begin_cell, finished
from uadbench.bench.score.cases import Scored
from uadbench.bench.score.cells import score_cell
from uadbench.bench.score.measured import Cases
from uadbench.bench.score.paired import compare_rows
from uadbench.bench.score.summary import summarize
from uadbench.datasets.case import Case, Sample
from uadbench.reports.leaderboard import write_reports
from uadbench.reports.runs import load_run
from uadbench.reports.store import SCHEMA, RunDirectory

SLICES = 155  # of a volume of BraTS
BATCH = 8
RATE = 500.0
CELLS = (BLUR, method_cell())


@contextmanager
def step(name: str, cases: int) -> Iterator[None]:
    """Print what a step took."""
    wall, cpu = time.perf_counter(), time.process_time()
    yield
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    took = time.perf_counter() - wall, time.process_time() - cpu
    print(f"{name}, {cases}, {took[0]:.2f}, {took[1]:.2f}, {peak:.0f}", flush=True)


def made(number: int, side: int) -> tuple[np.ndarray, np.ndarray]:
    """(map, mask) of a slice: 9 in 20 have a lesion, of a size that varies from volume to volume."""
    rng = np.random.default_rng(number)
    anomaly = 0.6 * rng.random((side, side), dtype=np.float32)
    mask = np.zeros((side, side), dtype=bool)
    if number % 20 < 9:
        mask.flat[side : side + 4 + number * 7919 % (side * side // 8)] = True
        anomaly[mask] += np.float32(0.2)
    return anomaly, mask


def score(n: int, side: int) -> None:
    def read(number: int) -> Scored:
        anomaly, mask = made(number, side)
        subject, lesion = f"v{number // SLICES}", bool(mask.any())
        metrics = {} if lesion else {"ssim": 0.9, "psnr": 30.0, "lpips": 0.1}
        head = None if lesion else np.ones_like(mask)
        return Scored(f"c{number}", subject, lesion, anomaly, mask, metrics, head)

    with step(f"generate {side} x {side}", n):
        for number in range(n):
            read(number)
    cases = Cases([f"v{k // SLICES}" for k in range(n)], [k % 20 < 9 for k in range(n)], read)
    healthy = [read(20 * k + 10 + 10**8) for k in range(16)]
    with step(f"generate and score {side} x {side}", n):
        found = summarize(cases, healthy, seed=0)
    for name in ("auprc", "dice_max_exact", "dice_max"):
        print(f"# {name}: {found[name]}")


def lifelike(side: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """20 (map, mask) that are compressed as real ones are: smooth, and 0 outside a head."""
    y, x = (np.indices((side, side)) + 0.5) / side - 0.5
    head = y**2 / 0.39**2 + x**2 / 0.33**2 < 1
    rng = np.random.default_rng(0)
    noise = [gaussian_filter(rng.standard_normal((side, side)), 1) for _ in range(20)]
    return [((np.abs(field) * head).astype(np.float32), made(k, side)[1]) for k, field in enumerate(noise)]


def outcomes(
    cell: Any, n: int, side: int, rate: float | None, maps: list[tuple[np.ndarray, np.ndarray]] | None = None
) -> Iterator[Evaluated]:
    """An executor that computes nothing and yields batches at this rate of cases a second, or as fast as it can.

    maps : that cases have in turn, where not each its own
    """
    start = time.perf_counter()
    timing = {"batch_size": BATCH, "nfe": 3, "latency_ms": 900.0, "network_call_ms": 35.0, "load": 0.5}
    stages = dict.fromkeys(("network", "update", "noise", "perceptual", "morphology", "other"), 150.0)
    for first in range(0, n, BATCH):
        results, cases = [], []
        for number in range(first, min(first + BATCH, n)):
            anomaly, mask = maps[number % len(maps)] if maps else made(number, side)
            case = Case(f"c{number}", f"v{number // SLICES}", "test", bool(mask.any()))
            cases.append(case)
            metrics = {} if mask.any() else {"ssim": 0.9, "psnr": 30.0, "mae": 0.1, "lpips": 0.1}
            time_of = {**timing, "stages_ms": stages, "peak_memory_mib": 900.0}
            sample = Sample(case, anomaly, mask)
            results.append(Outcome(sample, time_of, anomaly, anomaly, metrics))
        if rate is not None:
            time.sleep(max(0.0, start + (first + len(cases)) / rate - time.perf_counter()))
        yield Evaluated(
            Task(cell, first // BATCH, tuple(cases), frozenset(case.case_id for case in cases)), results, []
        )


def keep_all(run: RunDirectory, cell: Any, executor: Iterator[Evaluated]) -> None:
    begin_cell(run, cell, "scale", {})
    with keeping(run) as keeper:
        for evaluated in executor:
            keeper.keep(evaluated)


def keep(n: int, side: int, rate: float) -> None:
    maps = lifelike(side)
    with tempfile.TemporaryDirectory(dir=".") as folder:
        for name, wanted in ((f"keep at {rate:g} a second", rate), ("keep as fast as it can", None)):
            with step(f"{name}, {side} x {side}", n):
                keep_all(
                    RunDirectory(Path(folder) / str(wanted)),
                    CELLS[1],
                    outcomes(CELLS[1], n, side, wanted, maps),
                )


def build(path: Path, n: int, side: int) -> None:
    run = RunDirectory(path)
    slugs = [cell.slug for cell in CELLS]
    dataset = {"name": "scale", "fingerprint": "scale", "n_test": n, "n_test_all": n}
    run.write_manifest({"run_id": "scale", "cells": slugs, "dataset": dataset, "environment": {"threads": 1}})
    with step("keep inputs", n):
        for number in range(n):
            run.hold_input(f"c{number}", *made(number, side))
            if number % 1000 == 999:
                run.commit_inputs()
        run.commit_inputs()
    for cell in CELLS:
        with step(f"keep {cell.slug}", n):
            keep_all(run, cell, outcomes(cell, n, side, None))
        run.cell(cell.slug).note_arrays()


def score_run(path: Path) -> None:
    run = RunDirectory(path)
    order = [record["case_id"] for record in run.cell(CELLS[0].slug).read_cases()]
    for cell in CELLS:
        with step(f"score {cell.slug}", len(order)):
            score_cell(run, cell.slug, order, 0, 1000)
    with step("test the pair", len(order)):
        run.write_paired(compare_rows(run, [cell.slug for cell in CELLS], order, 0))


def grow(path: Path, n_cells: int) -> None:
    run = RunDirectory(path)
    manifest = run.read_manifest()
    source = run.cell(manifest["cells"][1])
    for number in range(len(manifest["cells"]), n_cells):
        more = run.cell(f"{source.path.name}-{number}")
        shutil.copytree(source.path, more.path, copy_function=os.link)
        settings = {"window": number}
        more.write_info(
            {**source.info, "settings": settings, "hyperparameters": settings}
        )  # replaces the link
        manifest["cells"].append(more.path.name)
    run.write_manifest(manifest)


def open_run(path: Path) -> None:
    run = RunDirectory(path)
    count = len(run.read_manifest()["cells"])
    with step(f"load_run, {count} cells", 0):
        n = load_run(path).cells[0].n_cases
    with step("what is missing of a cell", n):
        assert len(finished(run.cell(CELLS[0].slug))) == n
    with step(f"bench report, {count} cells", n), tempfile.TemporaryDirectory() as folder:
        write_reports([path], Path(folder))
        sizes = {file.name: file.stat().st_size for file in Path(folder).iterdir()}
    print(f"# bytes: {sizes}; schema {SCHEMA}; files: {sum(1 for file in path.rglob('*') if file.is_file())}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("score", "keep", "build", "score-run", "grow", "open"))
    parser.add_argument("arguments", nargs="+")
    parser.add_argument(
        "--side", type=int, default=0, help="of the maps; 64 to score, 128 to keep, 16 to build"
    )
    parser.add_argument("--rate", type=float, default=RATE, help="of the executor, outcomes a second")
    given = parser.parse_args()
    first = given.arguments[0]
    if given.what == "score":
        score(int(first), given.side or 64)
    elif given.what == "keep":
        keep(int(first), given.side or 128, given.rate)
    elif given.what == "build":
        build(Path(first), int(given.arguments[1]), given.side or 16)
    elif given.what == "grow":
        grow(Path(first), int(given.arguments[1]))
    else:
        {"score-run": score_run, "open": open_run}[given.what](Path(first))


if __name__ == "__main__":
    main()
