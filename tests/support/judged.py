"""A finished run of THOR on images that a tiny network takes, for parity."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from support.closed_form import AbsolutePerceptual
from support.files import edit
from support.runs import make_run
from uadbench.engine.methods import METHODS, build_method
from uadbench.reports.atomic import write_json
from uadbench.reports.runs import load_run

PERCEPTUALS = {"brain-squeeze": AbsolutePerceptual()}


def judged_run(path: Path, arms: list[tuple[str, str]], name: str = "thor", noise: str = "gaussian") -> Path:
    """A finished run of a method, in 5 steps where it has any, on images of 32 x 32 for each (back end, precision),
    and a floor.
    """
    method: Any = build_method(name, noise, 5)
    steps = "5" if hasattr(method, "respaced") else "0"
    cells = tuple((name, noise, steps, b, p, "method", 0.4, 100.0, 5) for b, p in arms)
    floor = ("blur", "none", "0", "torch", "fp32", "floor", 0.1, 0.1, 0)
    make_run(path, cells=(*cells, floor), n_lesion=3, n_healthy=2, parity=False)
    run = load_run(path)
    fields = {name: getattr(method, name) for name in method.__dataclass_fields__}
    for cell in run.cells:
        if cell.info["kind"] == "method":
            folder = cell.directory.path
            edit(
                folder / "cell.json",
                hyperparameters=fields,
                t_start=getattr(method, "t_start", None),
                networks=dict(METHODS[name].networks(noise)),
            )
            write_json(folder / "metrics.json", run.cells[0].metrics)
    for case_id in {case["case_id"] for cell in run.cells for case in cell.cases}:
        image, mask = run.directory.read_input(case_id)
        run.directory.write_input(case_id, image[48:80, 48:80], mask[48:80, 48:80])
    return path
