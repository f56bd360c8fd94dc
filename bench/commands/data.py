"""``bench data``: list, check, fetch and preview data sets."""

from __future__ import annotations

import io
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import click

from uadbench.bench.commands.options import data_root, no_progress, one_line_errors, output

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from rich.console import Console

    from uadbench.datasets.case import Case, Dataset, Sample

__all__ = ["command"]

FETCHABLE = "lpips-squeeze"
TINY = "tiny (3 px or fewer, not scored)"
BOXED = "with boxes"


@click.group(name="data")
def command() -> None:
    """List, check, fetch and preview data sets.

    Real data are looked for in --data-root, or else in the folder named by the environment variable UADBENCH_DATA, or
    else in the user's data folder. For the data set 'folder', --data-root is the folder that holds index.csv.
    """


def open_dataset(name: str, root: Path | None, limit: int | None = None) -> Dataset:
    """The data set; raises ConfigError on a name that is none, CaseError where it is not here."""
    from uadbench.bench.plan.config import unknown
    from uadbench.datasets import DATASETS

    if name not in DATASETS:
        raise unknown("data set", name, DATASETS)
    return DATASETS[name](root, 0, limit)


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
        table.add_row(name, dataset.modality, *counts, "yes")
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
    """Read every case of NAME, count by split and lesion size, list what fails (exit code 1 if any does)."""
    from rich.progress import track

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


@command.command("fetch")
@click.argument("name")
@data_root
@click.option("--force", is_flag=True, help=f"Download {FETCHABLE} again even where it is.")
@one_line_errors
def fetch_command(name: str, data_root: Path | None, force: bool) -> None:
    """Download perceptual weights (lpips-squeeze), or say how a data set is obtained.

    Data sets are never downloaded: their owners ask users to get them, and to accept the terms, themselves. Exit code 2
    when a data set is not here.
    """
    if name == FETCHABLE:
        fetch_weights(force)
        return
    from uadbench.bench.plan.config import unknown
    from uadbench.datasets import DATASETS
    from uadbench.datasets.case import CaseError
    from uadbench.datasets.sources import PARTS, SOURCES, content_hash, find_root

    parts = {**PARTS, **{key: (key,) for key in SOURCES}}
    if name not in parts:
        choices = [*DATASETS, *(key for key in SOURCES if key not in DATASETS), FETCHABLE]
        if name not in choices:
            raise unknown("data set", name, choices)
        generated = name != "folder" and open_dataset(name, None).origin == "synthetic"
        what = "generated by uadbench" if generated else "your own: see docs/data.md"
        click.echo(f"{name}: nothing to fetch, it is {what}")
        return
    missing = []
    for part in parts[name]:
        source = SOURCES[part]
        click.echo(f"{part}\n  what: {source.origin}\n  licence: {source.licence}\n  cite: {source.citation}")
        click.echo(f"  to get it: {source.how}\n  layout: {part}/ with {source.layout}")
        try:
            folder = find_root(part, data_root)
        except CaseError:
            click.echo("  here: no")
            missing.append(part)
            continue
        if not source.sha256:
            click.echo(f"  here: {folder}\n  contents: not compared, no results of uadbench are from them")
            continue
        same = content_hash(folder) == source.sha256
        click.echo(
            f"  here: {folder}\n  contents: {'those' if same else 'not those'} that uadbench's results are from"
        )
    if missing:
        raise CaseError(
            f"{' and '.join(missing)} cannot be downloaded by uadbench; get it as said above, then "
            "name the folder that holds it by --data-root or UADBENCH_DATA"
        )


def fetch_weights(force: bool) -> None:
    """Download the ImageNet weights of LPIPS-squeeze and say where they are."""
    from uadbench.bench.fetch import fetch_lpips_squeeze

    click.echo(str(fetch_lpips_squeeze(force)))


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

    output = output or Path(f"{name}-{split}.png")
    if output.suffix.lower() != ".png":
        raise ConfigError(f"--output {output} must end in .png")
    dataset = open_dataset(name, data_root, count if split == "test" else None)
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
