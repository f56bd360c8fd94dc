"""``bench data``: list, check, fetch and preview data sets."""

from __future__ import annotations

import io
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import click

from uadbench.bench.commands.fetch import fetch_command
from uadbench.bench.commands.options import data_root, no_progress, one_line_errors, output

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from rich.console import Console

    from uadbench.datasets.case import Case, Dataset, Sample

__all__ = ["command"]

TINY = "tiny (3 px or fewer, not scored)"
BOXED = "with boxes"


@click.group(name="data")
def command() -> None:
    """List, check, fetch and preview data sets.

    Real data are looked for in --data-root, or else in the folder named by the environment variable UADBENCH_DATA, or
    else in the user's data folder. For the data set 'folder', --data-root is the folder that holds index.csv.

    Of whole volumes a choice may follow the NAME, as in brats:t2 or mslub:flair:all; `bench list` says what there is.
    """


command.add_command(fetch_command)


def count_text(cases: tuple[Case, ...]) -> str:
    """How many cases a list holds, by kind."""
    lesion = sum(case.lesion for case in cases)
    return f"{len(cases) - lesion} healthy" + (f" + {lesion} lesion" if lesion else "") if cases else "none"


@command.command("list")
@data_root
@one_line_errors
def list_command(data_root: Path | None) -> None:
    """Say which data sets there are, and which are available here or why not."""
    from rich.console import Console
    from rich.table import Table

    from uadbench.bench.plan.data import open_dataset
    from uadbench.datasets import DATASETS
    from uadbench.datasets.case import CaseError

    table = Table("name", "modality", "train", "val", "test", "here", title="Data sets")
    notes = []
    for name in DATASETS:
        try:
            dataset = open_dataset(name, data_root)
        except CaseError as error:
            table.add_row(name, "", "", "", "", "no")
            notes.append(f"{name}: {error}")
            continue
        counts = [count_text(dataset.split(split)) for split in ("train", "val", "test")]
        table.add_row(name, dataset.modality, *counts, "yes, see below" if dataset.findings else "yes")
        notes += [f"{name}: {finding.what}" for finding in dataset.findings]
    # Without a terminal rich assumes 80 columns; a pipe has no width, so nothing need be folded for it.
    Console(width=None if sys.stdout.isatty() else 120).print(table)
    for note in notes:
        click.echo(note)


@command.command("check")
@click.argument("name")
@data_root
@no_progress
@one_line_errors
def check_command(name: str, data_root: Path | None, no_progress: bool) -> None:
    """Read every case of NAME, count by split and lesion size, list what fails (exit code 1 if any does).

    Where volumes are not as the shipped networks know them, it says so, and what to run.
    """
    from rich.progress import track

    from uadbench.bench.plan.data import open_dataset
    from uadbench.datasets.case import SIZES, SPLITS, CaseError

    dataset = open_dataset(name, data_root)
    counts: Counter[tuple[str, str]] = Counter()
    boxes: Counter[str] = Counter()
    failures: list[tuple[Case, str]] = []
    quiet = no_progress or not sys.stderr.isatty()
    for case in track(dataset.cases, "reading", console=error_console(), disable=quiet):
        try:
            sample = dataset.load(case)
            counts[case.split, group_of(sample)] += 1
            boxes.update(box.label for box in sample.boxes or ())
        except CaseError as error:
            counts[case.split, "failed"] += 1
            failures.append((case, str(error)))
    click.echo(f"{dataset.name}: {dataset.title}; {dataset.modality}; fingerprint {dataset.fingerprint[:12]}")
    for split in SPLITS:
        parts = [
            f"{counts[split, key]} {key}"
            for key in ("healthy", TINY, *SIZES, BOXED, "failed")
            if counts[split, key]
        ]
        click.echo(f"{split}: {', '.join(parts) or 'none'}")
    if boxes:
        click.echo(f"boxes: {', '.join(f'{count} {label}' for label, count in sorted(boxes.items()))}")
    for finding in dataset.findings:
        click.echo(f"note: {finding.what}\n  to do: {finding.remedy}")
    for line in once(failures):
        click.echo(line)
    if failures:
        click.echo(f"error: {len(failures)} of {len(dataset.cases)} cases cannot be used", err=True)
        sys.exit(1)
    click.echo(f"all {len(dataset.cases)} cases can be read")


def once(failures: list[tuple[Case, str]]) -> list[str]:
    """A line for each reason, with the cases that it keeps from being read: a file may serve many."""
    by_reason: dict[str, list[str]] = {}
    for case, why in failures:
        by_reason.setdefault(why, []).append(f"{case.case_id} ({case.split})")
    return [
        f"failed {', '.join(cases[:5])}{f' and {len(cases) - 5} more' if len(cases) > 5 else ''}: {why}"
        for why, cases in by_reason.items()
    ]


def error_console() -> Console:
    """rich's console on stderr, because stdout is for results."""
    from rich.console import Console

    return Console(stderr=True)


def group_of(sample: Sample) -> str:
    """healthy, boxed, or the papers' size group by lesion pixels at 128 x 128."""
    if not sample.case.lesion:
        return "healthy"
    if sample.boxes is not None:
        return BOXED
    from uadbench.datasets.case import SIZES

    pixels = int(sample.mask.sum())
    return next((name for name, (over, up_to) in SIZES.items() if over < pixels <= up_to), TINY)


@command.command("preview")
@click.argument("name")
@data_root
@output(
    "PNG to write; NAME-SPLIT.png by default.",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE.png",
)
@click.option("--count", type=click.IntRange(1, 400), default=24, show_default=True, help="How many cases.")
@click.option(
    "--split",
    type=click.Choice(["train", "val", "test"]),
    default="test",
    show_default=True,
    help="Of which split.",
)
@one_line_errors
def preview_command(name: str, data_root: Path | None, output: Path | None, count: int, split: str) -> None:
    """Write a contact sheet of NAME with the outlines of masks or boxes (exit code 1 if a case cannot be read)."""
    from uadbench.bench.plan.config import ConfigError
    from uadbench.bench.plan.data import open_dataset

    output = output or Path(f"{name.replace(':', '-')}-{split}.png")
    if output.suffix.lower() != ".png":
        raise ConfigError(f"--output {output} must end in .png")
    dataset = open_dataset(name, data_root, limit=count if split == "test" else None)
    cases = dataset.split(split)[:count]
    if not cases:
        raise ConfigError(f"{name} has no case in {split}; choose another --split")
    failures = contact_sheet(dataset, cases, output)
    click.echo(f"{output}: {len(cases)} cases of {name} ({split}), {len(failures)} of them cannot be read")
    for line in once(failures):
        click.echo(line, err=True)
    if failures:
        sys.exit(1)


def contact_sheet(dataset: Dataset, cases: tuple[Case, ...], output: Path) -> list[tuple[Case, str]]:
    """Draw the cases, write the PNG, return those that could not be read and why.

    Raises OSError where the PNG cannot be written; no part of it is left then.
    """
    from matplotlib.figure import Figure

    from uadbench.datasets.case import CaseError
    from uadbench.reports.atomic import write_bytes

    columns = min(8, len(cases))
    rows = -(-len(cases) // columns)
    figure = Figure(figsize=(2 * columns, 2.2 * rows + 0.4), dpi=100, layout="constrained")
    figure.suptitle(f"{dataset.title} ({dataset.modality})", fontsize=10)
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    failures: list[tuple[Case, str]] = []
    for axis in axes:
        axis.set_axis_off()
    for axis, case in zip(axes, cases, strict=False):
        try:
            draw(axis, dataset.load(case))
        except CaseError as error:
            failures.append((case, str(error)))
            axis.set_title(f"{case.case_id}\ncannot be read", fontsize=6, color="firebrick")
    picture = io.BytesIO()
    figure.savefig(picture, format="png")
    write_bytes(output, picture.getvalue())
    return failures


def draw(axis: Axes, sample: Sample) -> None:
    """One slice, its mask or boxes as thin red outlines, its name, and lesion size or classes."""
    from matplotlib.patches import Rectangle

    axis.imshow(sample.image, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    if sample.mask.any():
        axis.contour(sample.mask, levels=[0.5], colors="red", linewidths=0.7)
    for box in sample.boxes or ():  # along the outer edges of their pixels
        corner, extent = (box.left - 0.5, box.top - 0.5), (box.right - box.left, box.bottom - box.top)
        axis.add_patch(Rectangle(corner, *extent, fill=False, edgecolor="red", linewidth=0.7))
    size = f"{int(sample.mask.sum())} px" if sample.case.lesion else "healthy"
    size = " ".join(box.label for box in sample.boxes or ()) or size
    axis.set_title(f"{sample.case.case_id}\n{size}", fontsize=6)
