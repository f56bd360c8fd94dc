"""A run is read whole, or refused in one line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from uadbench.reports.atomic import RunError, write_json
from uadbench.reports.runs import load_run
from uadbench.reports.store import SCHEMA, RunDirectory


def test_a_run_is_read_whole_and_an_unbegun_cell_is_left_out(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    run.write_manifest({"run_id": "a", "cells": ["blur", "thor"]})
    blur = run.cell("blur")
    blur.write_info({"method": "blur"})
    sha256 = blur.write_arrays("a", np.ones((4, 4)), np.zeros((4, 4)))
    blur.append_case({"case_id": "a", "status": "ok", "arrays_sha256": sha256})
    write_json(blur.path / "metrics.json", {"n_cases": 1})
    found = load_run(tmp_path)
    (cell,) = found.cells
    assert (cell.slug, cell.info["method"], len(cell.cases)) == ("blur", "blur", 1)
    assert (cell.metrics, cell.latency, found.parity) == ({"n_cases": 1}, None, None)
    assert cell.arrays("a")[0].max() == 1
    blur.write_arrays("a", np.zeros((4, 4)), np.zeros((4, 4)))
    with pytest.raises(RunError, match="is not what was written"):
        cell.arrays("a")


@pytest.mark.parametrize(
    ("manifest", "message"),
    [
        pytest.param(None, "holds no manifest.json", id="none"),
        pytest.param({}, "has no list of cells", id="no cells"),
        pytest.param({"cells": {"a": 1}}, "has no list of cells", id="a table of cells"),
        pytest.param({"cells": [["a"]]}, "has no list of cells", id="cells that are lists"),
        pytest.param({"schema": SCHEMA, "cells": ["../../etc"]}, "cannot name a file", id="path"),
    ],
)
def test_what_is_not_a_run_is_refused(tmp_path: Path, manifest: dict | None, message: str) -> None:
    if manifest is not None:
        write_json(tmp_path / "manifest.json", manifest)
    with pytest.raises(RunError, match=message):
        load_run(tmp_path)
    with pytest.raises(RunError, match="no such folder"):
        load_run(tmp_path / "absent")


def test_a_damaged_cell_is_named(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path)
    run.write_manifest({"run_id": "a", "cells": ["blur"]})
    run.cell("blur").write_info({})
    (tmp_path / "cells" / "blur" / "cell.json").write_text('{"method": "bl')
    with pytest.raises(RunError, match=r"blur/cell\.json: is not JSON"):
        load_run(tmp_path)
