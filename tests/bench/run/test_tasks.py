"""Cells run batch by batch; whatever interrupts them, the results are those of an undisturbed run."""

from __future__ import annotations

import dataclasses
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from uadbench.bench.plan.grid import SCHEDULE, CellSpec
from uadbench.bench.run.evaluate import Bench, NoNetwork, run_batch, warm_up
from uadbench.bench.run.inputs import Loader, choose_cases, healthy_prior, in_batches, spread
from uadbench.bench.run.interrupt import Interrupted, stop_on_signal
from uadbench.bench.run.tasks import Job, remaining, run_cells
from uadbench.bench.run.timing import Stopwatch
from uadbench.bench.score.cells import score_cell
from uadbench.datasets.case import Case, CaseError, Dataset, Sample
from uadbench.engine.interfaces import HealthyPrior, Result, Tools
from uadbench.engine.kernels.simplex import _omissions
from uadbench.engine.methods.ddpm import DDPM
from uadbench.engine.methods.floors import Blur, ResidualMedian
from uadbench.reports.store import load_run, read_arrays, read_cases, read_json, write_json

SIZE = 24


class Gaussian:
    """The optimal denoiser for pixels that are N(0, 0.25), and a record of the batches it saw."""

    device, precision = "cpu", "fp32"

    def __init__(self, name: str = "torch", calls: list[tuple[str, int]] | None = None) -> None:
        self.name = name
        self.calls: list[tuple[str, int]] = [] if calls is None else calls

    def denoise(self, x_t: Tensor, t: Tensor, cond: Tensor | None = None) -> Tensor:
        self.calls.append((self.name, len(x_t)))
        abar = float(SCHEDULE.abar[int(t[0])])
        return x_t * (1 - abar) ** 0.5 / (abar * 0.25 + 1 - abar)

    def synchronize(self) -> None: ...

    def close(self) -> None: ...

    def describe(self) -> dict[str, Any]:
        return {"provider": "closed form"}


class Absolute:
    """|x - x_rec| as the perceptual distance."""

    name = "absolute"

    def against(self, x: Tensor) -> Callable[[Tensor], Tensor]:
        return lambda x_rec: (x - x_rec).abs()

    def distance(self, x: Tensor, x_rec: Tensor) -> Tensor:
        return (x - x_rec).abs().mean(dim=(1, 2, 3))


class Quiet:
    def advance(self, slug: str, cases: int) -> None: ...


@dataclasses.dataclass(frozen=True)
class Fault:
    """Answers as asked: a method that raises, or gives what no method may give, for images marked in a corner."""

    kind: str = "raise"

    def __call__(self, x: Tensor, tools: Tools) -> Result:
        marked = x[:, :, :1, :1] > 0.99
        if self.kind == "raise" and bool(marked.any()):
            raise RuntimeError("cannot do this one\nsecond line")
        if self.kind == "shape":
            return Result(x[..., :4], x)
        bad = {"raise": 0.0, "nan": float("nan"), "negative": -1.0}[self.kind]
        return Result(torch.where(marked, torch.full_like(x, bad), x.abs()), x)


def make_dataset(bad: tuple[str, ...] = (), marked: tuple[str, ...] = (), train: int = 3) -> Dataset:
    """7 test cases (4 with a lesion), 3 healthy and 1 lesion validation cases."""
    cases = [Case(f"train{i}", f"t{i}", "train", False) for i in range(train)]
    cases += [Case(f"val{i}", f"v{i}", "val", i == 3) for i in range(4)]
    cases += [Case(f"case{i}", f"s{i}", "test", i < 4) for i in range(7)]

    def load(case: Case) -> Sample:
        if case.case_id in bad:
            raise CaseError(f"{case.case_id}.png: is empty; copy it again")
        rng = np.random.default_rng([ord(c) for c in case.case_id])
        image = (0.3 + 0.2 * rng.random((SIZE, SIZE))).astype(np.float32)
        mask = np.zeros((SIZE, SIZE), bool)
        if case.lesion:
            mask[5:12, 5:12] = True
            image[mask] += 0.4
        if case.case_id in marked:
            image[0, 0] = 1.0
        return Sample(case, image, mask)

    return Dataset("fake", "Fake", "T1w", 1, tuple(cases), load, fingerprint="f")


def method_cell(method: Any = None, backend: str = "torch") -> CellSpec:
    return CellSpec("ddpm", method or DDPM(t_start=100, steps=3), "gaussian", "3", backend, "fp32", 3)


BLUR = CellSpec("blur", Blur(), "none", "-", "torch", "fp32", 0)
MEDIAN = CellSpec("residual-median", ResidualMedian(), "none", "-", "torch", "fp32", 0)


def make_job(
    run: Path,
    cells: tuple[CellSpec, ...] = (BLUR, method_cell()),
    dataset: Dataset | None = None,
    stop: Callable[[], None] = lambda: None,
    denoisers: dict[str, Any] | None = None,
    prior: HealthyPrior | None = None,
) -> Job:
    dataset = dataset or make_dataset()
    networks = denoisers or {cell.slug: NoNetwork() if cell.floor else Gaussian() for cell in cells}
    bench = Bench(0, 1.0, Absolute(), prior, stop)
    cases, loader = choose_cases(dataset, 16), Loader(run, dataset)
    return Job(run, "fake", cells, networks, cases, 4, loader, bench, Stopwatch(), Quiet())


def results(run: Path, slug: str) -> dict[str, Any]:
    """All that must not hang on interruptions: bytes of arrays and inputs, records less their times."""
    timed = ("latency_ms", "network_call_ms", "stages_ms", "load", "peak_memory_mib", "first_call")
    records = [{k: v for k, v in r.items() if k not in timed} for r in read_cases(run / "cells" / slug)]
    arrays = {path.name: path.read_bytes() for path in sorted((run / "cells" / slug / "arrays").iterdir())}
    inputs = {path.name: path.read_bytes() for path in sorted((run / "inputs").iterdir())}
    return {"records": sorted(records, key=lambda r: r["case_id"]), "arrays": arrays, "inputs": inputs}


SLUG = method_cell().slug


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("undisturbed")
    run_cells(make_job(run))
    return run


def test_every_case_of_every_cell_is_kept_with_its_nfe_and_time(undisturbed: Path) -> None:
    for cell in (BLUR, method_cell()):
        records = read_cases(undisturbed / "cells" / cell.slug)
        assert [r["case_id"] for r in records] == [
            *(f"val{i}" for i in range(3)),
            *(f"case{i}" for i in range(7)),
        ]
        assert {r["status"] for r in records} == {"ok"}
        assert {r["nfe"] for r in records} == {cell.nfe}
        for r in records:
            assert sum(r["stages_ms"].values()) == pytest.approx(r["latency_ms"])
            assert set(r["metrics"]) == (set() if r["lesion"] else {"ssim", "psnr", "mae", "lpips"})
            anomaly, reconstruction = read_arrays(undisturbed / "cells" / cell.slug, r["case_id"])
            assert anomaly.min() >= 0
            assert 0 <= reconstruction.min() <= reconstruction.max() <= 1
    assert [r["batch_size"] for r in read_cases(undisturbed / "cells" / SLUG)] == [4] * 8 + [2] * 2


@pytest.mark.parametrize("kept", [0, 1, 4, 6, 9, 10])
def test_a_run_cut_off_after_any_case_is_finished_to_the_same_bytes(
    undisturbed: Path, tmp_path: Path, kept: int
) -> None:
    run_cells(make_job(tmp_path))
    path = tmp_path / "cells" / SLUG / "cases.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:kept]))
    for number, record in enumerate(read_cases(undisturbed / "cells" / SLUG)):
        if number > kept:  # of the batch in work, one case's arrays may be there without its line
            (tmp_path / "cells" / SLUG / "arrays" / f"{record['case_id']}.npz").unlink()
    network = Gaussian()
    job = make_job(tmp_path, denoisers={BLUR.slug: NoNetwork(), SLUG: network})
    assert remaining(tmp_path, job.cells, job.cases) == 10 - kept
    run_cells(job)
    assert results(tmp_path, SLUG) == results(undisturbed, SLUG)
    # batches keep their composition; 4 or 6 warm-up calls come first
    sizes = [size for _, size in network.calls]
    warm = 0 if kept == 10 else 4 if kept < 8 else 2
    assert sizes[warm:] == [
        size for first, size in ((0, 4), (4, 4), (8, 2)) if kept < first + size for _ in range(3)
    ]


def test_a_finished_run_computes_nothing_and_keeps_its_summaries(undisturbed: Path) -> None:
    network = Gaussian()
    run_cells(make_job(undisturbed, denoisers={BLUR.slug: NoNetwork(), SLUG: network}))
    assert network.calls == []


def test_a_damaged_result_is_computed_again(undisturbed: Path, tmp_path: Path) -> None:
    run_cells(make_job(tmp_path))
    (tmp_path / "cells" / SLUG / "arrays" / "case2.npz").write_bytes(b"torn")
    (tmp_path / "inputs" / "case3.npz").write_bytes(b"")
    run_cells(make_job(tmp_path))
    assert results(tmp_path, SLUG) == results(undisturbed, SLUG)


def test_stopping_between_two_calls_keeps_what_is_done_and_the_rest_follows(
    undisturbed: Path, tmp_path: Path
) -> None:
    asked = 0

    def stop() -> None:
        nonlocal asked
        asked += 1
        if asked == 20:
            raise Interrupted

    with pytest.raises(Interrupted):
        run_cells(make_job(tmp_path, stop=stop))
    kept = len(read_cases(tmp_path / "cells" / SLUG))
    assert 0 < kept < 10
    run_cells(make_job(tmp_path))
    assert results(tmp_path, SLUG) == results(undisturbed, SLUG)


def test_back_ends_of_one_method_take_turns_batch_by_batch(tmp_path: Path) -> None:
    calls: list[tuple[str, int]] = []
    cells = (method_cell(), method_cell(backend="other"))
    networks = {cells[0].slug: Gaussian("torch", calls), cells[1].slug: Gaussian("other", calls)}
    run_cells(make_job(tmp_path, cells, denoisers=networks))
    names = [name for name, _ in calls]
    # each warms up (2 sizes x 2 calls) before its first batch; a batch is 3 calls
    turns = ["torch"] * 7, ["other"] * 7, ["other"] * 3, ["torch"] * 3, ["torch"] * 3, ["other"] * 3
    assert names == [name for turn in turns for name in turn]
    assert results(tmp_path, cells[0].slug)["arrays"] == results(tmp_path, cells[1].slug)["arrays"]


def test_a_case_that_cannot_be_read_is_recorded_and_the_run_goes_on(tmp_path: Path) -> None:
    run_cells(make_job(tmp_path, dataset=make_dataset(bad=("case1", "val0"))))
    by_id = {r["case_id"]: r for r in read_cases(tmp_path / "cells" / SLUG)}
    assert by_id["case1"]["status"] == "failed"
    assert by_id["case1"]["reason"] == "case1.png: is empty; copy it again"
    assert sum(r["status"] == "ok" for r in by_id.values()) == 8
    run_cells(make_job(tmp_path))  # the file was copied again
    assert {r["status"] for r in read_cases(tmp_path / "cells" / SLUG)} == {"ok"}


def test_a_method_that_fails_on_one_case_fails_on_that_case_only(tmp_path: Path) -> None:
    cell = method_cell(Fault("raise"))
    run_cells(make_job(tmp_path, (cell,), make_dataset(marked=("case1",))))
    by_id = {r["case_id"]: r for r in read_cases(tmp_path / "cells" / SLUG)}
    assert by_id["case1"]["reason"] == "RuntimeError: cannot do this one"
    assert {k for k, r in by_id.items() if r["status"] == "failed"} == {"case1"}
    assert by_id["case2"]["batch_size"] == 1  # it shared a batch with the one at fault
    assert by_id["case0"]["batch_size"] == 4
    assert "second line" in (tmp_path / "cells" / SLUG / "errors.log").read_text()
    metrics = score_cell(tmp_path, SLUG, [case.case_id for case in make_job(tmp_path).cases], 0, 20)
    assert (metrics["n_cases"], metrics["n_failed"]) == (6, 1)
    assert metrics["failed"] == [{"case_id": "case1", "reason": "RuntimeError: cannot do this one"}]


@pytest.mark.parametrize(
    ("kind", "reason", "failing"),
    [
        pytest.param("nan", "the anomaly map holds 576 values that are NaN or infinite", 1, id="NaN"),
        pytest.param("negative", "the anomaly map holds -1; it must be >= 0", 1, id="negative"),
        pytest.param("shape", "ValueError: the anomaly map is (1, 1, 24, 4)", 10, id="shape"),
    ],
)
def test_a_result_that_no_method_may_give_is_a_failure_and_not_a_score(
    tmp_path: Path, kind: str, reason: str, failing: int
) -> None:
    cell = method_cell(Fault(kind))
    run_cells(make_job(tmp_path, (cell,), make_dataset(marked=("case1",))))
    failed = {
        r["case_id"]: r["reason"] for r in read_cases(tmp_path / "cells" / SLUG) if r["status"] == "failed"
    }
    assert len(failed) == failing
    assert failed["case1"].startswith(reason)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        pytest.param({"image": np.full((SIZE, SIZE), np.nan, np.float32)}, "image holds NaN", id="NaN"),
        pytest.param({"image": np.full((SIZE, SIZE), 2, np.float32)}, "image values span 2 to 2", id="range"),
        pytest.param({"image": np.zeros((4, 4), np.float32)}, "must be of one size", id="mask size"),
        pytest.param(
            {"mask": np.ones((SIZE, SIZE), bool)}, "is called healthy, but its mask has 576", id="mask"
        ),
    ],
)
def test_a_sample_that_breaks_the_contract_is_a_reason_not_a_crash(
    tmp_path: Path, change: dict, reason: str
) -> None:
    whole = make_dataset()

    def load(case: Case) -> Sample:
        sample = whole.load(case)
        return dataclasses.replace(sample, **change) if case.case_id == "case6" else sample

    dataset = dataclasses.replace(whole, load=load)
    found = Loader(tmp_path, dataset).read(dataset.split("test")[6])
    assert isinstance(found, str)
    assert reason in found


def test_scores_and_times_are_written_for_a_report_to_read(tmp_path: Path) -> None:
    run_cells(make_job(tmp_path))
    order = [case.case_id for case in make_job(tmp_path).cases]
    for cell in (BLUR, method_cell()):
        score_cell(tmp_path, cell.slug, order, 0, 20)
    write_json(tmp_path / "manifest.json", {"cells": [BLUR.slug, SLUG]})
    floor, method = load_run(tmp_path).cells
    assert floor.metrics is not None
    assert method.metrics is not None
    assert method.latency is not None
    assert method.metrics["n_cases"] == 7
    assert method.metrics["ssim_healthy"]["value"] is not None
    assert method.latency["n"] == 2
    assert method.latency["nfe"] == 3
    assert method.latency["first_call_ms"] > 0
    assert read_json(floor.path / "warmup.json")["first_call_ms"] is None
    # the lesions are the only bright squares, so the difference to the blurred image must find them
    assert floor.metrics["auroc_image"]["value"] > 0.9
    # more cases make a summary stale, so it goes before they come
    (tmp_path / "cells" / SLUG / "arrays" / "case2.npz").unlink()
    run_cells(make_job(tmp_path))
    assert not (tmp_path / "cells" / SLUG / "metrics.json").exists()
    assert (tmp_path / "cells" / BLUR.slug / "metrics.json").exists()


def test_warming_up_calls_the_network_at_every_size_to_come() -> None:
    dataset = make_dataset()
    samples = [dataset.load(case) for case in dataset.split("test")[:4]]
    network = Gaussian()
    found = warm_up(method_cell(), network, samples, [4, 2], Bench(0, 1.0, Absolute(), None, lambda: None))
    assert [size for _, size in network.calls] == [4, 4, 2, 2]
    assert found["first_call_ms"] is not None
    assert found["warmup_ms"] is not None
    assert found["first_call_ms"] < found["warmup_ms"]


def test_warming_up_draws_simplex_noise_on_every_plane_of_the_chain() -> None:
    dataset = make_dataset()
    samples = [dataset.load(case) for case in dataset.split("test")[:4]]
    cell = dataclasses.replace(method_cell(DDPM(t_start=93, steps=7)), noise="simplex")
    bench = Bench(0, 1.0, Absolute(), None, lambda: None)
    warm_up(cell, Gaussian(), samples, [4], bench)
    before = _omissions.cache_info().misses
    assert [outcome.reason for outcome in run_batch(cell, Gaussian(), samples, bench)] == [None] * 4
    assert _omissions.cache_info().misses == before


def test_of_cells_that_share_a_network_only_the_first_has_its_first_call(tmp_path: Path) -> None:
    cells = (method_cell(), dataclasses.replace(method_cell(), name="thor"))
    network = Gaussian()
    run_cells(make_job(tmp_path, cells, denoisers={cell.slug: network for cell in cells}))
    first, second = (read_json(tmp_path / "cells" / cell.slug / "warmup.json") for cell in cells)
    assert first["first_call_ms"] > 0
    assert "warmed_by" not in first
    assert (second["first_call_ms"], second["warmed_by"]) == (None, cells[0].slug)


class Breaking(Gaussian):
    """Raises at its first calls."""

    def __init__(self, calls: float) -> None:
        super().__init__()
        self.left = calls

    def denoise(self, x_t: Tensor, t: Tensor, cond: Tensor | None = None) -> Tensor:
        self.left -= 1
        if self.left >= 0:
            raise RuntimeError("out of memory\nat line 3")
        return super().denoise(x_t, t)


def test_a_warm_up_that_raises_is_recorded_and_the_cases_tell_what_fails(tmp_path: Path) -> None:
    cell = method_cell()
    run_cells(make_job(tmp_path, denoisers={BLUR.slug: NoNetwork(), SLUG: Breaking(np.inf)}))
    records = read_cases(tmp_path / "cells" / cell.slug)
    assert {(r["status"], r["reason"]) for r in records} == {("failed", "RuntimeError: out of memory")}
    assert len(records) == 10
    assert read_json(tmp_path / "cells" / SLUG / "warmup.json")["failed"] == "RuntimeError: out of memory"
    assert {r["status"] for r in read_cases(tmp_path / "cells" / BLUR.slug)} == {"ok"}
    # a network that recovers is taken up again
    run_cells(make_job(tmp_path, denoisers={BLUR.slug: NoNetwork(), SLUG: Breaking(1)}))
    assert {r["status"] for r in read_cases(tmp_path / "cells" / SLUG)} == {"ok"}


def test_stopping_in_a_warm_up_stops(tmp_path: Path) -> None:
    def stop() -> None:
        raise Interrupted

    with pytest.raises(Interrupted):
        run_cells(make_job(tmp_path, (method_cell(),), stop=stop))
    assert read_cases(tmp_path / "cells" / SLUG) == []


def test_a_verdict_of_parity_goes_before_any_result_changes_and_only_then(tmp_path: Path) -> None:
    run_cells(make_job(tmp_path))
    write_json(tmp_path / "parity.json", {})
    run_cells(make_job(tmp_path))
    assert (tmp_path / "parity.json").is_file()
    (tmp_path / "cells" / SLUG / "arrays" / "case2.npz").unlink()
    with pytest.raises(Interrupted):
        run_cells(make_job(tmp_path, denoisers={BLUR.slug: NoNetwork(), SLUG: Stopping()}))
    assert not (tmp_path / "parity.json").exists()


class Stopping(Gaussian):
    def denoise(self, x_t: Tensor, t: Tensor, cond: Tensor | None = None) -> Tensor:
        raise Interrupted


def test_the_prior_is_the_median_of_healthy_training_slices_and_is_computed_once(tmp_path: Path) -> None:
    dataset = make_dataset()
    prior, record = healthy_prior(tmp_path, dataset)
    assert prior is not None
    assert record == {"split": "train", "n": 3}
    images = np.stack([dataset.load(case).image for case in dataset.split("train")])
    np.testing.assert_allclose((prior.median[0, 0].numpy() + 1) / 2, np.median(images, axis=0), atol=1e-6)

    def refuse(case: Case) -> Sample:
        raise AssertionError("read again")

    again, _ = healthy_prior(tmp_path, dataclasses.replace(dataset, load=refuse))
    assert again is not None
    assert torch.equal(again.median, prior.median)


def test_without_training_slices_validation_ones_serve_and_without_any_the_floor_is_skipped(
    tmp_path: Path,
) -> None:
    dataset = make_dataset(train=0)
    prior, record = healthy_prior(tmp_path / "a", dataset)
    assert prior is not None
    assert record == {"split": "val", "n": 3}
    only_test = dataclasses.replace(dataset, cases=dataset.split("test"))
    assert healthy_prior(tmp_path / "b", only_test) == (None, {"split": None, "n": 0})
    run_cells(make_job(tmp_path / "b", (MEDIAN,), only_test))
    records = read_cases(tmp_path / "b" / "cells" / MEDIAN.slug)
    assert {r["status"] for r in records} == {"skipped"}
    assert "no healthy training or validation slice" in records[0]["reason"]
    assert remaining(tmp_path / "b", (MEDIAN,), only_test.cases) == 0


def test_cases_are_the_healthy_validation_ones_then_the_test_ones_in_fixed_batches() -> None:
    dataset = make_dataset()
    chosen = choose_cases(dataset, 2)
    assert [case.case_id for case in chosen[:3]] == ["val0", "val1", "case0"]
    assert len(choose_cases(dataset, 0)) == 7
    assert [len(batch) for batch in in_batches(chosen, 4)] == [4, 4, 1]
    assert [case.case_id for case in spread(dataset.split("test"), 3)] == ["case0", "case2", "case4"]


def test_the_first_signal_waits_for_a_safe_point_and_the_second_does_not() -> None:
    before = signal.getsignal(signal.SIGINT)
    with stop_on_signal() as stop:
        stop()
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(Interrupted):
            stop()
        with pytest.raises(Interrupted):
            signal.raise_signal(signal.SIGTERM)
    assert signal.getsignal(signal.SIGINT) is before
