"""Puts what is small of a finished run into the repository: ``python docs/publish_run.py RUN FOLDER``.

FOLDER gets leaderboard.md, leaderboard.csv, manifest.json without this machine's folders, parity.json where a back end
was judged, fitted.json where validation lesions decided something, the ``TABLES`` that the run has, and paired.csv: of
paired.json the pairs that a method is part of, in the scores of ``MEASURES``.
"""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from uadbench.reports.atomic import RunError, write_bytes
from uadbench.reports.cell import optional
from uadbench.reports.places import short_command, short_config
from uadbench.reports.runs import Cell, load_run

__all__ = ["COLUMNS", "MEASURES", "TABLES", "main", "pairs", "public_manifest", "publish"]

MEASURES = ("dice_max", "dice_average", "auprc")
TABLES = (
    "shifts.csv",
    "boxes.csv",
    "volumes.csv",
    "sweep.csv",
)  # of shifted intensities, of classes of boxes, of whole volumes, of what was varied
COLUMNS = ("measure", "a", "b", "difference", "lo", "hi", "p_holm", "n_subjects")


def publish(run: Path, folder: Path) -> None:
    """Write the folder's files; raises RunError for a folder that is no run."""
    loaded = load_run(run)
    files = {name: (run / name).read_text() for name in ("leaderboard.md", "leaderboard.csv")}
    files["manifest.json"] = _json(public_manifest(loaded.manifest))
    if any(verdict.get("verdict") != "not judged" for verdict in (loaded.parity or {}).values()):
        files["parity.json"] = _json(loaded.parity)
    if chosen := optional(run / "fitted.json"):
        files["fitted.json"] = _json(chosen)
    files |= {name: (run / name).read_text() for name in TABLES if (run / name).exists()}
    if tested := loaded.paired:
        files["paired.csv"] = pairs(tested, {cell.slug: cell for cell in loaded.cells})
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        write_bytes(folder / name, text.encode())


def public_manifest(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """The manifest, of places only their last parts."""
    sessions = [one | {"command": short_command(one["command"])} for one in manifest["sessions"]]
    return {
        **manifest,
        "command": short_command(manifest["command"]),
        "config": short_config(manifest["config"]),
        "sessions": sessions,
    }


def pairs(tested: Mapping[str, Any], cells: Mapping[str, Cell]) -> str:
    """paired.csv; a difference is b less a, a cell is named without its back end where all methods share one."""
    arms = {(c.info["backend"], c.info["precision"]) for c in cells.values() if c.info["kind"] == "method"}
    names = {slug: _name(cell) if len(arms) == 1 else slug for slug, cell in cells.items()}
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(COLUMNS)
    for measure in MEASURES:
        for row in tested["measures"].get(measure, ()):
            kinds = {cells[row[side]].info["kind"] for side in ("a", "b")}
            if "method" in kinds and row["difference"] is not None:
                numbers = ("" if row[key] is None else f"{row[key]:.6f}" for key in COLUMNS[3:7])
                writer.writerow((measure, names[row["a"]], names[row["b"]], *numbers, row["n_subjects"]))
    return buffer.getvalue()


def _name(cell: Cell) -> str:
    return cell.slug.removesuffix(f"-{cell.info['backend']}-{cell.info['precision']}")


def _json(value: Any) -> str:
    return json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def main(arguments: list[str]) -> int:
    """Publish the given run; returns the exit code."""
    if len(arguments) != 2:
        print("usage: python docs/publish_run.py RUN FOLDER", file=sys.stderr)
        return 2
    try:
        publish(*map(Path, arguments))
    except (RunError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
