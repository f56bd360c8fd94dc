"""The exact variance is measured once a network, on healthy validation slices, kept, and used by every cell."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.cells import Recording, floor_cell, make_bench, make_dataset, make_work, method_cell

from uadbench.bench.plan.config import ConfigError, RunConfig, make_config
from uadbench.bench.plan.grid import Cell
from uadbench.bench.plan.plan import make_plan
from uadbench.bench.run.evaluate import bind, run_batch
from uadbench.bench.run.run import _compute
from uadbench.bench.run.timing import Stopwatch
from uadbench.bench.run.variance import measure_cells
from uadbench.datasets import DATASETS
from uadbench.datasets.case import Case, Dataset, Sample
from uadbench.engine.methods.ddpm import DDPM
from uadbench.engine.methods.floors import Blur
from uadbench.engine.schedule import linear_schedule
from uadbench.reports.atomic import RunError
from uadbench.reports.identity import Arm
from uadbench.reports.store import RunDirectory

SCHEDULE = linear_schedule()
EXACT = RunConfig(variance="exact", batch_size=2)
KEY = "unet-gaussian gaussian"


def cells() -> tuple[Cell, ...]:
    """A floor; two methods' cells, of two seeds, on two arms, the reference last: all of one network."""
    high = DDPM(t_start=200, steps=2)
    return (
        floor_cell("blur", Blur()),
        *(method_cell(arm=arm, seed=1) for arm in (Arm("openvino"), Arm())),
        *(method_cell(high, arm, steps="2") for arm in (Arm("openvino"), Arm())),
    )


def measure(
    path: Path,
    dataset: Dataset | None = None,
    config: RunConfig = EXACT,
    made: Sequence[Cell] | None = None,
    network: type[Recording] = Recording,
) -> tuple[tuple[Cell, ...], list[tuple[str, int]], list[Any]]:
    """(the cells with their tables, the batches that networks saw, the networks that were used)."""
    log: list[tuple[str, int]] = []
    made = cells() if made is None else made
    opened = {cell.slug: network(cell.arm.backend, log) for cell in made}
    data = dataset or make_dataset()
    found, used = measure_cells(
        RunDirectory(path), made, data, opened, make_bench(), config, lambda line: None
    )
    return found, log, used


def test_one_table_serves_all_methods_seeds_and_arms_of_a_network_and_the_reference_measures_it(
    tmp_path: Path,
) -> None:
    (blur, *found), log, used = measure(tmp_path)
    tables = [cell.x0_variance for cell in found]
    assert all(table == tables[0] for table in tables)
    assert blur.x0_variance == {}
    assert {name for name, _ in log} == {"torch"}
    assert [network.name for network in used] == ["torch"]
    assert tables[0]["arm"] == "torch fp32"
    assert tables[0]["levels"][-2] < 200 <= tables[0]["levels"][-1]  # the highest start level of all
    assert len(log) == 2 * len(tables[0]["levels"])  # 3 healthy slices in batches of 2
    assert RunDirectory(tmp_path).variances == {KEY: tables[0]}


def test_the_table_is_the_closed_forms(tmp_path: Path) -> None:
    """The estimate is a x_t, so its error is (1 - a sqrt(abar)) x - a sqrt(1 - abar) n; nothing here is clipped."""
    dataset = make_dataset()
    healthy = [case for case in dataset.split("val") if not case.lesion]
    x = np.stack([dataset.load(case).image for case in healthy]) * 2 - 1
    table = measure(tmp_path, dataset)[0][1].x0_variance
    for t, v in zip(table["levels"], table["v"], strict=True):
        abar = float(SCHEDULE.abar[t])
        a = math.sqrt(abar) * 0.25 / (abar * 0.25 + 1 - abar)
        wanted = (1 - a * math.sqrt(abar)) ** 2 * np.square(x).mean() + a**2 * (1 - abar)
        assert v == pytest.approx(wanted, rel=0.15)  # 1728 pixels: 3 % and the cross term
    assert table["noise"] == pytest.approx(1, rel=0.05)
    assert table["n"] == 3


def test_only_healthy_validation_slices_are_looked_at_and_those_that_cannot_be_read_left_out(
    tmp_path: Path,
) -> None:
    dataset, read = make_dataset(bad=("val1",)), list[str]()

    def load(case: Case) -> Sample:
        read.append(case.case_id)
        return dataset.load(case)

    found, _, _ = measure(tmp_path, dataclasses.replace(dataset, load=load))
    assert sorted(read) == ["val0", "val1", "val2"]
    assert found[1].x0_variance["n"] == 2


def test_a_run_that_is_taken_up_goes_on_with_what_was_measured(tmp_path: Path) -> None:
    before, _, _ = measure(tmp_path)
    again, log, used = measure(tmp_path)
    assert again == before
    assert (log, used) == ([], [])
    (tmp_path / "variance.json").write_text("{")
    assert measure(tmp_path)[0] == before


def test_with_the_fixed_small_variance_nothing_is_measured_written_or_recorded(tmp_path: Path) -> None:
    found, log, _ = measure(tmp_path, config=RunConfig())
    assert found == cells()
    assert log == []
    assert not (tmp_path / "variance.json").exists()
    assert "x0_variance" not in found[1].record("fake", {})
    assert measure(tmp_path)[0][1].record("fake", {})["x0_variance"]["n"] == 3


def test_where_no_slice_can_be_read_the_run_ends_in_one_line_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"no healthy validation slice .*val0.png.*\"fixed-small\"") as error:
        measure(tmp_path, make_dataset(bad=("val0", "val1", "val2")))
    assert "\n" not in str(error.value)


class Nan(Recording):
    def denoise(self, x_t: torch.Tensor, t: torch.Tensor, cond: torch.Tensor | None = None) -> torch.Tensor:
        return torch.full_like(x_t, float("nan"))


class Raising(Recording):
    def denoise(self, x_t: torch.Tensor, t: torch.Tensor, cond: torch.Tensor | None = None) -> torch.Tensor:
        raise RuntimeError("out of memory\nat line 3")


@pytest.mark.parametrize(
    ("network", "message"), [(Nan, "hold NaN or infinity"), (Raising, r"\(RuntimeError: out of memory\)$")]
)
def test_a_network_that_gives_no_error_to_measure_is_one_line(
    tmp_path: Path, network: type[Recording], message: str
) -> None:
    with pytest.raises(RunError, match=message) as error:
        measure(tmp_path, network=network)
    assert "\n" not in str(error.value)
    assert RunDirectory(tmp_path).variances == {}


def test_a_cell_with_a_table_walks_its_chain_with_it(tmp_path: Path) -> None:
    """With x_t all 0 and noise known, the last step leaves sqrt(v) of it: nothing else does."""
    cell = measure(tmp_path)[0][2]
    sample = make_dataset().load(Case("val0", "v0", "val", False))
    tools, _ = bind(cell, Recording(), [sample], make_bench(), Stopwatch())
    same, _ = bind(cell, Recording(), [sample], make_bench(), Stopwatch())
    table = cell.x0_variance
    level = table["levels"][5]
    x_prev, _ = tools.reverse(torch.zeros(1, 1, 24, 24), level, 0)
    wanted = math.sqrt(table["v"][5] / table["noise"]) * same.noise(level)
    torch.testing.assert_close(x_prev, wanted)
    plain, exact = (
        run_batch(made, Recording(), [sample], make_bench())[0]
        for made in (dataclasses.replace(cell, x0_variance={}), cell)
    )
    assert plain.reconstruction is not None
    assert exact.reconstruction is not None
    assert exact.reconstruction.std() > plain.reconstruction.std()


def test_results_of_another_table_are_not_mixed_with_these(tmp_path: Path) -> None:
    cell = measure(tmp_path / "measured")[0][4]
    other = dataclasses.replace(cell, x0_variance={**cell.x0_variance, "noise": 2.0})
    for made in (cell, cell):
        _compute(make_work(tmp_path / "run", (made,)), (made,), lambda slug, cases: None)
    for made in (other, dataclasses.replace(cell, x0_variance={})):
        with pytest.raises(RunError, match=r"another exact variance.*--overwrite starts anew"):
            _compute(make_work(tmp_path / "run", (made,)), (made,), lambda slug, cases: None)


def test_a_data_set_without_a_healthy_validation_slice_is_refused_before_anything_is_written(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    dataset = make_dataset()
    tests = dataclasses.replace(dataset, cases=tuple(case for case in dataset.cases if case.split != "val"))
    monkeypatch.setitem(DATASETS, "fake", lambda *_: tests)
    assert make_plan(make_config({}, {"methods": "blur", "dataset": "fake"})).dataset is tests
    with pytest.raises(ConfigError, match="data set fake has none; give variance = 'fixed-small'"):
        make_plan(make_config({}, {"methods": "blur", "dataset": "fake", "variance": "exact"}))
