"""Tables of the speed of networks, from profiles and layer_times.py: ``result_tables.py`` puts them in."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from uadbench.reports.text import milliseconds

__all__ = ["batches_table", "layers_table", "profile_table"]


def _read(csv: Path) -> pd.DataFrame:
    return pd.read_csv(csv, dtype={"method": str, "label": str}, keep_default_na=False, na_values=[""])


def _gain(row: pd.Series) -> str:
    if pd.isna(row["speedup_vs_eager"]):
        return "–"
    return f"{row['speedup_vs_eager']:.2f} ({row['speedup_lo']:.2f}–{row['speedup_hi']:.2f})"


def profile_table(csv: Path) -> str:
    """A GitHub table of one profile.csv: a line for each network or method and back end, of its smallest batches."""
    frame = _read(csv)
    heads = ("what", "back end", "ms/image", "images/s", "speed-up", "parity", "of ceiling", "stability")
    lines = ["| " + " | ".join(heads) + " |", "| --- | --- " + "| ---: " * (len(heads) - 2) + "|"]
    for _, row in frame[frame["batch"] == frame["batch"].min()].iterrows():
        what = row["network"] if row["method"] == "-" else f"**{row['label']}**"
        share = "–" if pd.isna(row["share_of_ceiling"]) else f"{row['share_of_ceiling']:.0%}"
        cells = [what, f"{row['backend']} {row['precision']}", milliseconds(row["image_ms_p50"])]
        cells += (f"{row['images_per_s']:.3g}", _gain(row), row["parity"], share, row["stability"])
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def batches_table(profiles: Sequence[Path]) -> str:
    """A GitHub table of the one network that all these profiles timed: milliseconds an image and speed-up, by batch."""
    found = [_read(folder / "profile.csv") for folder in profiles]
    (network,) = set.intersection(*(set(frame["network"]) for frame in found))
    frame = pd.concat(found)
    calls = frame[frame["network"].eq(network) & frame["method"].eq("-")]
    rows = {(row["backend"], row["precision"], row["batch"]): row for _, row in calls.iterrows()}
    batches = sorted(calls["batch"].unique())
    heads = [
        "back end",
        *(f"{what}, batch {batch}" for batch in batches for what in ("ms/image", "speed-up")),
    ]
    lines = ["| " + " | ".join(heads) + " |", "| --- " + "| ---: " * 2 * len(batches) + "|"]
    for backend, precision in calls[["backend", "precision"]].drop_duplicates().itertuples(index=False):
        cells = [f"{backend} {precision}"]
        for batch in batches:
            row = rows.get((backend, precision, batch))
            if row is None:
                cells += ["–", "–"]
                continue
            unstable = "" if row["stability"] == "stable" else f", {row['stability']}"
            cells += [milliseconds(row["image_ms_p50"]) + unstable, _gain(row)]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _layers(row: Any) -> str:
    if pd.isna(row.gflops):
        return f"{row.ms:.1f}"
    return f"{row.ms:.1f} ({row.gflops:.0f} GFLOP/s, {row.share_of_ceiling:.0%})"


def layers_table(csv: Path) -> str:
    """A GitHub table of what layer_times.py wrote: milliseconds by kind of layer, an arm a column."""
    frame = pd.read_csv(csv)
    rows = {(row.precision, row.what): row for row in frame.itertuples()}
    precisions = list(frame["precision"].unique())
    lines = ["| layers | " + " | ".join(precisions) + " |", "| --- " + "| ---: " * len(precisions) + "|"]
    for what in frame["what"].drop_duplicates():
        cells = (_layers(rows[one, what]) if (one, what) in rows else "–" for one in precisions)
        lines.append("| " + " | ".join([what, *cells]) + " |")
    errors = frame.set_index("precision")["error"].dropna()
    lines.append(
        "| "
        + " | ".join(["error", *(f"{errors[one]:.1e}" if one in errors else "–" for one in precisions)])
        + " |"
    )
    return "\n".join(lines) + "\n"
