"""Healthy cases under shifts: the same noise, the run's own result at 1, and only what is missing is computed."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.cells import (
    BLUR,
    Breaking,
    Recording,
    cell_of,
    compute,
    make_dataset,
    make_work,
    method_cell,
    records,
)

from uadbench.bench.plan.config import make_config
from uadbench.bench.plan.grid import Cell
from uadbench.bench.plan.shifts import Shift
from uadbench.bench.run.inputs import Loader
from uadbench.bench.run.notes import failures
from uadbench.bench.run.run import _Work
from uadbench.bench.run.shifts import cells_to_shift, plan_shifts, run_shifts
from uadbench.bench.score.cases import histogram_kld, reconstruction_metrics
from uadbench.datasets.shifts import shifted
from uadbench.engine.interfaces import Result, Tools
from uadbench.engine.post import head
from uadbench.reports.identity import Arm
from uadbench.reports.store import RunDirectory

PLAIN = method_cell()
SHIFTS = (Shift("contrast", 0.5), Shift("gain", 1.2))
SEEN: list[torch.Tensor] = []


@dataclasses.dataclass(frozen=True)
class Listening:
    """Gives the image back and remembers the noise that it was given."""

    def __call__(self, x: torch.Tensor, tools: Tools) -> Result:
        SEEN.append(tools.noise(1).clone())
        return Result(x.abs(), x)


def shift(
    path: Path, cells: tuple[Cell, ...] = (BLUR, PLAIN), limit: int = 24, **named: Any
) -> tuple[_Work, int]:
    """(the work, the tasks that were missing)."""
    work = make_work(path, cells, **named)
    config = dataclasses.replace(work.plan.config, shift_limit=limit)
    plan = dataclasses.replace(work.plan, config=config, shifts=SHIFTS)
    tasks = plan_shifts(work.run, plan, cells)
    loader = Loader(work.run, plan.dataset)
    run_shifts(work.run, tasks, loader, work.denoisers, work.bench, lambda slug, cases: None)
    return work, len(tasks)


def lines(path: Path, cell: Cell = PLAIN) -> dict[tuple[str, str, float], dict[str, Any]]:
    return {(r["case_id"], r["shift"], r["value"]): r for r in cell_of(path, cell.slug).read_shifts()}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("shifted") / "run"
    compute(path)
    shift(path)
    return path


def test_healthy_test_cases_are_run_at_every_value_and_as_they_are(finished: Path) -> None:
    wanted = {("none", 1.0), ("contrast", 0.5), ("gain", 1.2)}
    for cell in (BLUR, PLAIN):
        assert set(lines(finished, cell)) == {
            (case, *value) for case in ("case4", "case5", "case6") for value in wanted
        }
    assert all(line["status"] == "ok" for line in lines(finished).values())


def test_the_unshifted_line_is_of_the_result_that_the_run_holds(finished: Path) -> None:
    line, record = lines(finished)["case5", "none", 1.0], records(finished)["case5"]
    image, _ = RunDirectory(finished).read_input("case5")
    reconstruction = cell_of(finished).read_arrays("case5")[1]
    kld = histogram_kld(image, reconstruction, head(image))
    assert line["metrics"] == {**record["metrics"], "kld_unclipped": kld}


def test_a_shifted_line_is_of_the_shifted_input(finished: Path) -> None:
    image, _ = RunDirectory(finished).read_input("case5")
    changed = shifted(image, head(image), "gain", 1.2)
    x = torch.from_numpy(changed)[None, None] * 2 - 1
    blurred = ((BLUR.method(x, None).reconstruction + 1) / 2)[0, 0].numpy()  # type: ignore[arg-type]
    metrics = lines(finished, BLUR)["case5", "gain", 1.2]["metrics"]
    wanted = {
        **reconstruction_metrics(changed, blurred),
        "kld_unclipped": histogram_kld(changed, blurred, head(image)),
    }
    assert {key: metrics[key] for key in wanted} == pytest.approx(wanted, rel=1e-4)


def test_a_case_meets_the_noise_of_its_unshifted_run(tmp_path: Path) -> None:
    SEEN.clear()
    cell = method_cell(Listening())
    SEEN.clear()  # the walk listened too
    compute(tmp_path, (cell,))
    unshifted = torch.cat(SEEN)[-3:]  # healthy test cases are the last of the run
    SEEN.clear()
    shift(tmp_path, (cell,))
    assert len(SEEN) == len(SHIFTS)
    for noise in SEEN:
        torch.testing.assert_close(noise, unshifted, rtol=0, atol=0)
    assert float(unshifted.std()) > 0.9


def test_nothing_is_computed_twice_and_more_cases_add_to_what_is_there(tmp_path: Path) -> None:
    compute(tmp_path)
    shift(tmp_path, limit=1)
    before = lines(tmp_path)
    assert {case for case, _, _ in before} == {"case4"}
    network = Recording()
    assert shift(tmp_path, limit=1, networks={PLAIN.slug: network})[1] == 0
    assert network.log == []
    shift(tmp_path)
    after = lines(tmp_path)
    assert len(after) == 9
    assert {key: after[key] for key in before} == before


def test_a_line_torn_by_a_kill_is_computed_again_to_the_same_figures(finished: Path, tmp_path: Path) -> None:
    compute(tmp_path)
    shift(tmp_path)
    path = tmp_path / "cells" / PLAIN.slug / "shifts.jsonl"
    path.write_bytes(path.read_bytes()[:-20])
    cell_of(tmp_path).repair_cases()
    assert len(lines(tmp_path)) == 8
    assert shift(tmp_path)[1] == 1
    assert lines(tmp_path) == lines(finished)


def test_a_line_with_the_divergence_of_earlier_versions_is_computed_again(
    finished: Path, tmp_path: Path
) -> None:
    compute(tmp_path)
    shift(tmp_path)
    path = tmp_path / "cells" / PLAIN.slug / "shifts.jsonl"
    path.write_text(path.read_text().replace('"kld_unclipped"', '"kld"', 1))
    assert shift(tmp_path)[1] == 1
    assert lines(tmp_path) == lines(finished)


def test_a_case_that_fails_is_named_and_tried_again(tmp_path: Path) -> None:
    compute(tmp_path, (PLAIN,))
    work, _ = shift(tmp_path, (PLAIN,), networks={PLAIN.slug: Breaking(1e9)})
    failed = [line for line in lines(tmp_path).values() if line["status"] == "failed"]
    assert len(failed) == 6
    assert (PLAIN.slug, "case4 under contrast 0.5", "RuntimeError: out of memory") in failures(
        work.run, work.plan
    )
    assert shift(tmp_path, (PLAIN,))[1] == 2
    assert all(line["status"] == "ok" for line in lines(tmp_path).values())


def test_a_case_that_cannot_be_read_is_a_line_with_the_reason(tmp_path: Path) -> None:
    dataset = make_dataset(bad=("case5",))
    compute(tmp_path, (PLAIN,), dataset)
    shift(tmp_path, (PLAIN,), dataset=dataset)
    found = lines(tmp_path)
    assert {found[key]["reason"] for key in found if key[0] == "case5"} == {
        "case5.png: is empty; copy it again"
    }
    assert found["case4", "gain", 1.2]["status"] == "ok"


def test_arms_and_post_processings_share_one_reconstruction() -> None:
    arms = method_cell(arm=Arm("openvino")), PLAIN, method_cell(post="behrendt")
    assert cells_to_shift((BLUR, *arms)) == [BLUR, PLAIN]
    alone = method_cell(post="behrendt")
    assert cells_to_shift((alone,)) == [alone]


def test_the_default_is_24_cases() -> None:
    assert make_config({}, {"methods": "blur"}).shift_limit == 24


def test_shifts_change_nothing_of_the_lesion_protocol(tmp_path: Path) -> None:
    compute(tmp_path)
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    shift(tmp_path)
    after = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    assert {p.name for p in set(after) - set(before)} == {"shifts.jsonl"}
    assert all(after[p] == content for p, content in before.items())


def test_a_dark_image_has_no_head_and_no_histogram() -> None:
    dark = np.full((8, 8), 0.05, np.float32)
    assert histogram_kld(dark, dark, head(dark)) is None
