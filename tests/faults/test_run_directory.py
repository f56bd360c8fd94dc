"""A run directory that was damaged, cut off or shared with other files: mended to the same bytes, or left alone."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.cells import BLUR, SLUG, Recording, cell_of, compute, make_dataset, results, score
from support.faults import invoke, make_slices

from uadbench.bench.run.inputs import Loader
from uadbench.bench.run.tasks import finished
from uadbench.datasets.case import Sample
from uadbench.reports import atomic
from uadbench.reports.atomic import read_json
from uadbench.reports.store import RunDirectory

CELL = f"cells/{SLUG}"


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("undisturbed")
    finish(run)
    return run


@pytest.fixture
def run(undisturbed: Path, tmp_path: Path) -> Path:
    """A finished run to be damaged."""
    return shutil.copytree(undisturbed, tmp_path / "run")


def finish(run: Path, **more: Any) -> None:
    """Compute and score whatever is missing."""
    compute(run, **more)
    score(run)


def assert_mended(run: Path, undisturbed: Path) -> None:
    """The same results and scores as of the run that nobody touched."""
    for slug in (SLUG, BLUR.slug):
        assert results(run, slug) == results(undisturbed, slug)
        name = f"cells/{slug}/metrics.json"
        assert (run / name).read_bytes() == (undisturbed / name).read_bytes()
        assert cell_of(run, slug).latency is not None


def overwrite(name: str, content: bytes) -> Callable[[Path], object]:
    return lambda run: (run / name).write_bytes(content)


def swap(run: Path) -> None:
    """Another case's arrays in place, which are whole and of the right shape."""
    shutil.copy(run / CELL / "arrays" / "case3.npz", run / CELL / "arrays" / "case2.npz")


def lines(change: Callable[[list[bytes]], list[bytes]]) -> Callable[[Path], object]:
    def damage(run: Path) -> None:
        path = run / CELL / "cases.jsonl"
        path.write_bytes(b"".join(change(path.read_bytes().splitlines(keepends=True))))

    return damage


@pytest.mark.parametrize(
    ("damage", "recomputed"),
    [
        pytest.param(overwrite(f"{CELL}/arrays/case2.npz", b""), True, id="empty arrays"),
        pytest.param(overwrite(f"{CELL}/arrays/case2.npz", b"PK\x03\x04 torn"), True, id="torn arrays"),
        pytest.param(swap, True, id="another case's arrays in place"),
        pytest.param(lambda run: (run / CELL / "arrays/case2.npz").unlink(), True, id="no arrays"),
        pytest.param(lines(lambda all: [*all[:4], b"\x00garbage\n", *all[5:]]), True, id="garbage line"),
        pytest.param(lines(lambda all: [*all[:4], b"[]\n", *all[5:]]), True, id="a list for a line"),
        pytest.param(
            lines(lambda all: [*all, b'{"case_id": "case2", "status": "ok"}\n']),
            True,
            id="line without a hash",
        ),
        pytest.param(
            lines(lambda all: [*all, b'{"case_id": "case2", "status": "skipped"}\n']), True, id="bare skip"
        ),
        pytest.param(lines(lambda all: [*all[:9], all[9][:40]]), True, id="torn last line"),
        pytest.param(lines(lambda all: []), True, id="no lines"),
        pytest.param(overwrite(f"{CELL}/metrics.json", b"{}"), False, id="empty metrics"),
        pytest.param(overwrite(f"{CELL}/metrics.json", b'{"n_cases": 7, "dic'), False, id="half metrics"),
        pytest.param(overwrite(f"{CELL}/latency.json", b"[]"), False, id="latency a list"),
        pytest.param(overwrite(f"{CELL}/latency.json", b"[" * 100_000), False, id="latency nested deep"),
        pytest.param(lambda run: (run / CELL / "metrics.json").unlink(), False, id="no metrics"),
        pytest.param(overwrite(f"{CELL}/warmup.json", b'{"warm'), False, id="half warmup"),
    ],
)
def test_a_damaged_file_of_a_run_is_made_again_to_the_same_bytes(
    run: Path, undisturbed: Path, damage: Callable[[Path], object], recomputed: bool
) -> None:
    damage(run)
    network = Recording()
    finish(run, networks={SLUG: network})
    assert bool(network.log) is recomputed
    assert_mended(run, undisturbed)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 torn", b"text"])
def test_a_damaged_input_is_read_again_from_the_data_set(
    run: Path, undisturbed: Path, content: bytes
) -> None:
    (run / "inputs" / "case2.npz").write_bytes(content)
    (run / CELL / "arrays" / "case2.npz").unlink()
    finish(run)
    assert_mended(run, undisturbed)


def flipped(whole: bytes, rng: np.random.Generator) -> bytes:
    data = bytearray(whole)
    for place in rng.integers(len(data), size=rng.integers(1, 4)):
        data[place] ^= int(rng.integers(1, 256))
    return bytes(data)


def test_flipped_bytes_in_arrays_are_always_seen_and_never_a_traceback(run: Path) -> None:
    path, rng, cell = run / CELL / "arrays" / "case2.npz", np.random.default_rng(2), cell_of(run)
    whole, every = path.read_bytes(), finished(cell)
    for _ in range(200):
        path.write_bytes(flipped(whole, rng))
        assert finished(cell) == (every if path.read_bytes() == whole else every - {"case2"})


def test_flipped_bytes_in_an_input_never_change_what_is_read(run: Path) -> None:
    path, rng, dataset = run / "inputs" / "case2.npz", np.random.default_rng(3), make_dataset()
    case = next(case for case in dataset.cases if case.case_id == "case2")
    whole, wanted = path.read_bytes(), dataset.load(case)
    for _ in range(200):
        path.write_bytes(flipped(whole, rng))
        found = Loader(RunDirectory(run), dataset).read(case)
        assert isinstance(found, Sample)
        np.testing.assert_array_equal(found.image, wanted.image)
        np.testing.assert_array_equal(found.mask, wanted.mask)


class Killed(BaseException):
    pass


@pytest.mark.parametrize(
    ("call", "moment"),
    [
        *(("fsync", moment) for moment in (0, 2, 13, 17, 18, 29, 41, 55)),
        *(("replace", moment) for moment in (0, 2, 13, 17, 24, 37)),
    ],
)
def test_a_kill_at_any_write_is_taken_up_to_the_same_bytes(
    undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, moment: int
) -> None:
    """A file is written, flushed to disk and put in its place; the process ends before the second or the third."""
    counted, whole = 0, getattr(os, call)

    def killed(*arguments: Any) -> Any:
        nonlocal counted
        counted += 1
        if counted > moment:
            raise Killed
        return whole(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(os, call, killed)
        patch.setattr(atomic, "_drop", lambda partial: None)  # nobody clears up after a kill
        with pytest.raises(Killed):
            finish(tmp_path)
    RunDirectory(tmp_path).clear_partial()
    finish(tmp_path)
    assert_mended(tmp_path, undisturbed)
    assert not list(tmp_path.rglob(".*.tmp"))


RUN = (
    "run",
    "--methods",
    "blur",
    "--dataset",
    "folder",
    "--no-progress",
    "--threads",
    "1",
    "--set",
    "n_boot=10",
)


@pytest.fixture(scope="module")
def slices(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_slices(tmp_path_factory.mktemp("data") / "slices", {"train": 3, "test": 4})


def test_overwrite_in_a_folder_with_a_manifest_of_another_kind_deletes_nothing(
    slices: Path, tmp_path: Path
) -> None:
    mine = {
        "manifest.json": '{"name": "my app"}',
        "inputs/a.npz": "a",
        "cells/b": "b",
        ".x.tmp": "c",
        ".lock": "d",
    }
    for name, content in mine.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content)
    result = invoke(*RUN, "--data-root", str(slices), "--output", str(tmp_path), "--overwrite")
    assert result.exit_code == 2
    assert "its manifest.json is not a run's; give another --output" in result.output
    assert {str(p.relative_to(tmp_path)): p.read_text() for p in tmp_path.rglob("*") if p.is_file()} == mine


def test_what_others_left_in_a_run_is_untouched_by_resuming_and_overwriting(
    slices: Path, tmp_path: Path
) -> None:
    arguments = (*RUN, "--data-root", str(slices), "--output", str(tmp_path / "run"))
    assert invoke(*arguments).exit_code == 0
    mine = (".lock", ".x.tmp", "notes.txt", "photos/.y.77.tmp")
    for name in mine:
        (tmp_path / "run" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "run" / name).write_text("mine")
    (tmp_path / "run" / ".manifest.json.77.tmp").write_text("half")
    for more in ((), ("--overwrite",)):
        assert invoke(*arguments, *more).exit_code == 0
        assert [(tmp_path / "run" / name).read_text() for name in mine] == ["mine"] * 4
    assert not (tmp_path / "run" / ".manifest.json.77.tmp").exists()


def test_broken_training_cases_are_counted_and_named_in_the_record(slices: Path, tmp_path: Path) -> None:
    data = shutil.copytree(slices, tmp_path / "data")
    (data / "train1.npy").write_bytes(b"no array")
    result = invoke(*RUN, "--data-root", str(data), "--output", str(tmp_path / "run"))
    assert result.exit_code == 0, result.output
    assert "1 healthy slices cannot be read and are left out of the floors' median" in result.output
    (session,) = read_json(tmp_path / "run" / "manifest.json")["sessions"]
    assert (session["prior"]["split"], session["prior"]["n"]) == ("train", 2)
    (failed,) = session["prior"]["failed"]
    assert failed["case_id"] == "train1"
    assert failed["reason"].startswith("train1.npy: ")


def test_without_a_healthy_slice_a_floor_does_not_apply_and_the_run_is_no_failure(tmp_path: Path) -> None:
    data = make_slices(tmp_path / "data", {"test": 4})
    result = invoke(*RUN, "--data-root", str(data), "--output", str(tmp_path / "run"))
    assert result.exit_code == 0, result.output
    cells = {
        name: tmp_path / "run" / "cells" / f"{name}-none-0-torch-fp32" for name in ("residual-median", "blur")
    }
    reason = read_json(cells["residual-median"] / "cell.json")["not_applicable"]
    assert reason == "the data set has no healthy training or validation slice to take a median of"
    assert not (cells["residual-median"] / "cases.jsonl").exists()
    assert len((cells["blur"] / "cases.jsonl").read_text().splitlines()) == 4
    text = (tmp_path / "run" / "leaderboard.md").read_text()
    assert text.count("Not applicable: residual-median: ") == 1
    again = invoke(*RUN, "--data-root", str(data), "--output", str(tmp_path / "run"))
    assert again.exit_code == 0, again.output


def test_a_run_whose_cell_json_is_half_written_is_taken_up(slices: Path, tmp_path: Path) -> None:
    arguments = (*RUN, "--data-root", str(slices), "--output", str(tmp_path / "run"))
    assert invoke(*arguments).exit_code == 0
    cell = tmp_path / "run" / "cells" / "blur-none-0-torch-fp32"
    whole = json.loads((cell / "cell.json").read_text())
    for content in ('{"method": "bl', "{}", "[]"):
        (cell / "cell.json").write_text(content)
        result = invoke(*arguments)
        assert result.exit_code == 0, result.output
        assert json.loads((cell / "cell.json").read_text()) == whole
