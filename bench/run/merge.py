"""``bench merge``: the shards of a run become the run, scored as if one process had computed it.

What they computed is copied in the run's order. An interrupted merge is taken up by the next, and so is one to which
shards were lacking. No network is called.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from uadbench.bench.plan.config import digest
from uadbench.bench.run.directory import locked, now, prepare_run
from uadbench.bench.run.interrupt import stop_on_signal
from uadbench.bench.run.parts import Part, check_alike, in_order, lacking
from uadbench.bench.run.run import Progress
from uadbench.bench.run.shifts import UNSHIFTED
from uadbench.bench.run.tasks import finished
from uadbench.bench.score.cells import score_cell
from uadbench.bench.score.paired import compare_rows
from uadbench.reports.atomic import RunError
from uadbench.reports.cell import CellDirectory, Together
from uadbench.reports.leaderboard import write_reports
from uadbench.reports.store import RunDirectory

__all__ = ["Merged", "merge"]

TOGETHER = 256  # cases that are put on disk at a time
OWN = ("shard", "run_id", "sessions", "finished", "schema")  # of a shard's manifest, not of the whole run's


@dataclass(frozen=True)
class Merged:
    """What a merge gave. missing : what is lacking, in words, "" for nothing; n_failed : results that are failures"""

    output: Path
    reports: list[Path]
    missing: str
    n_failed: int


def merge(
    parts: Sequence[Part],
    output: Path,
    partial: bool,
    overwrite: bool,
    progress: Callable[[int, int], Progress],
    say: Callable[[str], None],
) -> Merged:
    """Copy, score, report; progress and say as in ``execute``.

    Where `bench run` itself has worked in the folder, its results and sessions are kept. Raises RunError where cases
    are missing (unless ``partial``), fits differ, or the folder holds results of other shards' cases; Interrupted.
    """
    lack = lacking(parts)
    if lack and not partial:
        raise RunError(f"{lack}; finish those shards by the same `bench run` commands, or give --partial")
    working = [part for part in parts if part.places]
    if not working:
        raise RunError("the shards given have no case; give the others, too")
    check_alike(working)
    run, manifest = RunDirectory(output), _whole(parts)
    with locked(run), stop_on_signal() as stop:
        there = prepare_run(run, manifest, overwrite)
        _check_there(run, there, working)
        manifest = {**there, **_about(there, parts)}
        run.write_manifest({**manifest, "finished": None})
        told = progress(len(manifest["cells"]) * sum(len(part.places) for part in working), 0)
        failed = _copy(run, working, stop, told)
        _score(run, manifest, working, stop)
        run.write_manifest({**manifest, "finished": None if lack else now()})
        if len({digest(part.manifest.get("environment")) for part in parts}) > 1:
            say("the shards ran on different machines or software; manifest.json says which")
        reports = write_reports([run.path], run.path)
    return Merged(output, reports, lack, failed)


def _whole(parts: Sequence[Part]) -> dict[str, Any]:
    """The manifest that the run would have, made of the first shard's."""
    first = parts[0].manifest
    kept = {key: value for key, value in first.items() if key not in OWN}
    whole = {"run_id": parts[0].shard["whole"], "command": _command(str(first.get("command", "")))}
    return {**kept, **whole, "sessions": [], "finished": None}


def _command(shards: str) -> str:
    """A shard's command line without what is the shard's own."""
    words, kept = iter(shlex.split(shards)), []
    for word in words:
        if word in ("--shard", "--output"):
            next(words, None)
        elif not word.startswith(("--shard=", "--output=")):
            kept.append(word)
    return shlex.join(kept)


def _check_there(run: RunDirectory, manifest: Mapping[str, Any], parts: Sequence[Part]) -> None:
    """RunError where what lies there would be left out of the scores, or is `bench run`'s own with other fits."""
    known, others, own = {case for part in parts for case in part.places}, set[str](), False
    for slug in manifest["cells"]:
        for record in run.cell(slug).read_cases():
            others |= {record["case_id"]} - known
            own = own or "shard" not in (record.get("where") or {})
    if others:
        raise RunError(
            f"{run.path}: holds results of {len(others)} cases that are of no shard given; give their shards, too, or "
            "another --output"
        )
    if own:
        check_alike([Part(run, manifest, {}), *parts])


def _about(manifest: Mapping[str, Any], parts: Sequence[Part]) -> dict[str, Any]:
    """What the run's manifest says of its shards: sessions of all, behind the run's own, and where each ran."""
    environment = manifest.get("environment")
    sessions = [session for session in manifest["sessions"] if "shard" not in session]
    for part in parts:
        other = part.manifest.get("environment")
        there = {"environment": other} if digest(other) != digest(environment) else {}
        sessions += [{"shard": part.label, **there, **session} for session in part.manifest["sessions"]]
    shards = [
        {
            "label": part.label,
            **{key: part.manifest.get(key) for key in ("created", "finished", "environment", "git")},
        }
        for part in parts
    ]
    return {"sessions": sessions, "shards": shards}


def _copy(run: RunDirectory, parts: Sequence[Part], stop: Callable[[], None], told: Progress) -> int:
    """Whatever of the shards is not here yet, in the run's order; how many results of theirs are failures."""
    first = parts[0].run
    with suppress(RunError):
        run.write_median(*first.read_median())
    if fitted := first.fitted:
        run.write_fitted(fitted)
    if variances := first.variances:
        run.write_variances(variances)
    order = in_order(parts)
    for count, (case, part) in enumerate(order, 1):
        stop()
        _copy_input(run, part.run, case)
        if count % TOGETHER == 0:
            run.commit_inputs()
    run.commit_inputs()
    failed = 0
    for slug in parts[0].manifest["cells"]:
        info = next((found for part in parts if (found := part.run.cell(slug).info)), None)
        if info is None:
            continue
        cell = run.cell(slug)
        cell.write_info(info)
        done = finished(cell)
        if len(done) < len(order):
            run.drop_verdicts()  # they are on fewer results, and so are scores
            cell.drop_summary()
        records = {case: record for part in parts for case, record in part.records(slug).items()}
        sources = {part.label: part.run.cell(slug) for part in parts}
        with cell.together() as results:
            for count, (case, part) in enumerate(order, 1):
                told(slug, 1)
                record = records.get(case)
                failed += record is not None and record["status"] != "ok"
                if record is not None and case not in done:
                    stop()
                    where = {"shard": part.label, **(record.get("where") or {})}
                    _copy_case(results, sources[part.label], {**record, "where": where})
                if count % TOGETHER == 0:
                    results.commit()
        cell.note_arrays()
        _copy_shifts(cell, slug, parts)
    return failed


def _copy_input(run: RunDirectory, source: RunDirectory, case: str) -> None:
    """Nothing where the shard has none, as of a case that cannot be read."""
    with suppress(RunError):
        run.read_input(case)
        return
    with suppress(RunError):
        run.hold_input(case, *source.read_sample(case))


def _copy_case(cell: Together, source: CellDirectory, record: dict[str, Any]) -> None:
    if record["status"] == "ok":
        arrays = source.read_arrays(record["case_id"], record["arrays_sha256"])
        record = {**record, "arrays_sha256": cell.write_arrays(record["case_id"], *arrays)}
    cell.append_case(record)


def _copy_shifts(cell: CellDirectory, slug: str, parts: Sequence[Part]) -> None:
    """The lines of cases under shifts, in the order in which one process would have written them."""
    there = {digest(line) for line in cell.read_shifts()}
    shifts = [UNSHIFTED.label.replace(" ", "="), *(parts[0].manifest["config"].get("shift") or ())]
    lines = [
        (shifts.index(f"{line['shift']}={line['value']:g}"), part.places[line["case_id"]], line)
        for part in parts
        for line in part.run.cell(slug).read_shifts()
        if line["case_id"] in part.places and f"{line['shift']}={line['value']:g}" in shifts
    ]
    for _, _, line in sorted(lines, key=lambda entry: entry[:2]):
        if digest(line) not in there:
            cell.append_shift(line)


def _score(
    run: RunDirectory,
    manifest: Mapping[str, Any],
    parts: Sequence[Part],
    stop: Callable[[], None],
) -> None:
    config, slugs = manifest["config"], list(manifest["cells"])
    order, seed = [case for case, _ in in_order(parts)], config["seed"][0]
    for slug in slugs:
        stop()
        score_cell(run, slug, order, seed, config["n_boot"])
    run.write_paired(compare_rows(run, slugs, order, seed, stop))
