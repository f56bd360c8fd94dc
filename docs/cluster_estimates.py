"""Write into a page what all of a data set takes with every method, from a profile: hours of one worker, and disk.

    python docs/cluster_estimates.py --profile PROFILE docs/many-machines.md

Numbers of cases are those of ``CASES``, with their sources; times are those of the profile and of nothing else: what
it did not measure has no figure.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from pathlib import Path

from uadbench.bench.plan.config import RunConfig
from uadbench.bench.plan.estimate import Rate, Row, disk_bytes, find_row, read_profile
from uadbench.bench.plan.grid import Cell, plan_cells, read_arms
from uadbench.engine.methods import METHODS
from uadbench.engine.networks.checkpoint import is_shipped
from uadbench.reports.text import milliseconds

__all__ = ["CASES", "fill", "table"]

CASES = {
    "ATLAS v2.0, mid-axial": 655,
    "ATLAS v2.0, all slices": 655 * 189,
    "BraTS 2021, all slices": 1251 * 155,
    "GRAZPEDWRI-DX": 20_327,
}
# 655 T1w volumes with a public mask (doi:10.1038/s41597-022-01401-7), one slice each as in THOR's paper, or all 189;
# 1251 volumes of 155 slices (arXiv 2107.02314); 20327 radiographs (doi:10.1038/s41597-022-01328-z).

SIDE, BATCH = 128, 4
MARKS = re.compile(r"(<!-- estimates -->\n).*?(<!-- /estimates -->)", re.DOTALL)


def cells(arm: str) -> list[Cell]:
    """Every method whose networks are shipped, with its usual noise and steps, on an arm such as "torch:bf16"."""
    ready = [n for n, i in METHODS.items() if all(map(is_shipped, i.networks(i.noises[0]).values()))]
    device = arm.partition("@")[2] or "cpu"
    (one,) = read_arms(arm.partition("@")[0], ("fp32",), device)
    config = RunConfig(
        methods=tuple(ready),
        backends=(one.backend,),
        precision=(one.precision,),
        device=device,
        batch_size=BATCH,
    )
    return [cell for cell in plan_cells(config) if not cell.variant.floor]


def table(rows: Sequence[Row], arm: str) -> str:
    """A line a method: calls, milliseconds an image and where they come from, then hours of one worker a data set."""
    heads = [
        "method",
        "NFE",
        "ms an image",
        *(f"{name} ({count:,})" for name, count in CASES.items()),
        "from",
    ]
    lines = ["| " + " | ".join(heads) + " |", "| --- " + "| ---: " * (len(heads) - 2) + "| --- |"]
    total, every = 0.0, cells(arm)
    for cell in every:
        network = cell.networks["denoiser"].name
        rate = find_row(rows, cell.variant, network, cell.walk.nfe, cell.arm, BATCH)
        total += rate.image_ms if rate else 0.0
        lines.append(_line(cell, rate))
    hours = [_hours(total, count) for count in CASES.values()]
    lines.append("| " + " | ".join(["all that were measured", "", f"{total:.0f}", *hours, ""]) + " |")
    disk = [f"{disk_bytes(count, len(every), SIDE) / 2**30:.1f} GiB" for count in CASES.values()]
    return (
        "\n".join([*lines, "| " + " | ".join([f"disk, {len(every)} methods", "", "", *disk, ""]) + " |"])
        + "\n"
    )


def _line(cell: Cell, rate: Rate | None) -> str:
    figures = [_hours(rate.image_ms, count) if rate else "–" for count in CASES.values()]
    time, row = (f"{milliseconds(rate.image_ms)}", rate.row.words) if rate else ("–", "not measured")
    return "| " + " | ".join([cell.variant.label, str(cell.walk.nfe), time, *figures, row]) + " |"


def _hours(image_ms: float, count: int) -> str:
    hours = image_ms * count / 3.6e6
    return f"{hours:.3g} h" if hours < 100 else f"{hours:,.0f} h"


def fill(text: str, found: str) -> str:
    """The page with the table in its place; ValueError where it has none."""
    if not MARKS.search(text):
        raise ValueError("the page has no <!-- estimates --> .. <!-- /estimates -->")
    return MARKS.sub(lambda marks: f"{marks[1]}{found}{marks[2]}", text)


def main() -> None:
    """Rewrite the page."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--profile", type=Path, required=True, help="a folder that `bench profile` wrote")
    parser.add_argument(
        "--arm", default="torch:fp32", help="BACKEND:PRECISION, on a GPU BACKEND:PRECISION@cuda"
    )
    parser.add_argument("page", type=Path)
    given = parser.parse_args()
    text = fill(given.page.read_text(encoding="utf-8"), table(read_profile(given.profile), given.arm))
    given.page.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
