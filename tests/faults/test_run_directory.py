"""A run directory that was damaged or cut off: mended to the same bytes."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from support.cells import BLUR, SLUG, Recording, cell_of, compute, make_dataset, results, score
from support.stored import change_blob, change_lines, drop_blob, sealed

from uadbench.bench.run import keeping
from uadbench.bench.run.inputs import Loader
from uadbench.bench.run.tasks import finished
from uadbench.datasets.case import Sample
from uadbench.reports import atomic
from uadbench.reports import cell as cell_store
from uadbench.reports import lines as lines_of_store
from uadbench.reports.shards import Shards
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


def blob(change: Callable[[bytes], bytes]) -> Callable[[Path], object]:
    """Other bytes in the place of a case's arrays."""
    return lambda run: change_blob(run / CELL / "arrays", "case2", change)


def swap(run: Path) -> None:
    """Another case's arrays in place, which are whole and of the right shape."""
    places = Shards(run / CELL / "arrays").places
    other = msgspec.to_builtins(places["case3"])

    def changed(line: dict[str, Any]) -> dict[str, Any]:
        return {**other, "key": "case2"} if line["key"] == "case2" else line

    change_lines(run / CELL / "arrays" / "index.jsonl", changed)


def shard(change: Callable[[bytes], bytes]) -> Callable[[Path], object]:
    def damage(run: Path) -> None:
        path = run / CELL / "arrays" / "0000.bin"
        path.write_bytes(change(path.read_bytes()))

    return damage


def lines(
    change: Callable[[list[bytes]], list[bytes]], name: str = "cases.jsonl"
) -> Callable[[Path], object]:
    def damage(run: Path) -> None:
        path = run / CELL / name
        path.write_bytes(b"".join(change(path.read_bytes().splitlines(keepends=True))))

    return damage


@pytest.mark.parametrize(
    ("damage", "recomputed"),
    [
        pytest.param(blob(lambda whole: b""), True, id="arrays zeroed"),
        pytest.param(blob(lambda whole: whole[:50]), True, id="torn arrays"),
        pytest.param(swap, True, id="another case's arrays in place"),
        pytest.param(lambda run: drop_blob(run / CELL / "arrays", "case2"), True, id="no arrays"),
        pytest.param(shard(lambda whole: whole[:-7]), True, id="torn shard"),
        pytest.param(shard(lambda whole: whole + b"half a blob"), False, id="a tail without a line"),
        pytest.param(lambda run: (run / CELL / "arrays" / "0000.bin").unlink(), True, id="no shard"),
        pytest.param(lambda run: (run / CELL / "arrays" / "index.jsonl").unlink(), True, id="no index"),
        pytest.param(lines(lambda all: [*all[:9], all[9][:40]], "arrays/index.jsonl"), True, id="torn index"),
        pytest.param(
            lines(
                lambda all: [*all[:3], all[3].replace(b'"offset": ', b'"offset": 1'), *all[4:]],
                "arrays/index.jsonl",
            ),
            True,
            id="an offset changed",
        ),
        pytest.param(overwrite(f"{CELL}/arrays/checked.json", b"{"), False, id="half a note"),
        pytest.param(
            lines(lambda all: [*all[:4], all[4].replace(b'"nfe": 3', b'"nfe": 4'), *all[5:]]),
            True,
            id="a number changed inside a line",
        ),
        pytest.param(lines(lambda all: [*all[:4], b"\x00garbage\n", *all[5:]]), True, id="garbage line"),
        pytest.param(lines(lambda all: [*all[:4], b"[]\n", *all[5:]]), True, id="a list for a line"),
        pytest.param(
            lines(lambda all: [*all, sealed(b'{"case_id": "case2", "status": "ok"}')]),
            True,
            id="line without a hash",
        ),
        pytest.param(
            lines(lambda all: [*all, sealed(b'{"case_id": "case2", "status": "skipped"}')]),
            True,
            id="bare skip",
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


@pytest.mark.parametrize("content", [b"", b"{} torn", b"text"])
def test_a_damaged_input_is_read_again_from_the_data_set(
    run: Path, undisturbed: Path, content: bytes
) -> None:
    change_blob(run / "inputs", "case2", lambda whole: content)
    drop_blob(run / CELL / "arrays", "case2")
    finish(run)
    assert_mended(run, undisturbed)


def flipped(whole: bytes, rng: np.random.Generator) -> bytes:
    data = bytearray(whole)
    for place in rng.integers(len(data), size=rng.integers(1, 4)):
        data[place] ^= int(rng.integers(1, 256))
    return bytes(data)


def test_flipped_bytes_in_arrays_are_always_seen_and_never_a_traceback(run: Path) -> None:
    folder, rng = run / CELL / "arrays", np.random.default_rng(2)
    every, place = finished(cell_of(run)), Shards(folder).places["case2"]
    whole = (folder / "0000.bin").read_bytes()
    before, after = whole[: place.offset], whole[place.offset + place.length :]
    for _ in range(200):
        blob = flipped(whole[place.offset : place.offset + place.length], rng)
        (folder / "0000.bin").write_bytes(before + blob + after)
        same = (folder / "0000.bin").read_bytes() == whole
        assert finished(cell_of(run)) == (every if same else every - {"case2"})


def test_flipped_bytes_in_an_index_cost_their_cases_and_no_other(run: Path) -> None:
    path, rng, every = run / CELL / "arrays" / "index.jsonl", np.random.default_rng(4), finished(cell_of(run))
    whole = path.read_bytes()
    for _ in range(200):
        path.write_bytes(flipped(whole, rng))
        assert len(every) - 6 <= len(finished(cell_of(run))) <= len(every)  # 3 flips, each may join two lines
        assert finished(cell_of(run)) <= every


def test_flipped_bytes_in_an_input_never_change_what_is_read(run: Path) -> None:
    folder, rng, dataset = run / "inputs", np.random.default_rng(3), make_dataset()
    case = next(case for case in dataset.cases if case.case_id == "case2")
    wanted, kept = dataset.load(case), {path: path.read_bytes() for path in folder.iterdir()}
    for _ in range(200):
        change_blob(folder, "case2", lambda whole: flipped(whole, rng))
        found = Loader(RunDirectory(run), dataset).read(case)
        assert isinstance(found, Sample)
        np.testing.assert_array_equal(found.image, wanted.image)
        np.testing.assert_array_equal(found.mask, wanted.mask)
        for path, data in kept.items():
            path.write_bytes(data)


def test_a_shard_that_has_not_changed_is_not_read_again_and_one_that_was_copied_is(
    run: Path, undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = run / CELL / "arrays"
    cell_of(run).note_arrays()
    read: list[str] = []
    whole = Shards.read

    def counted(self: Shards, key: str, sha256: str | None = None) -> bytes:
        read.append(key)
        return whole(self, key, sha256)

    monkeypatch.setattr(Shards, "read", counted)
    every = finished(cell_of(run))
    assert (len(every), read) == (10, [])
    stamp = (folder / "0000.bin").stat()
    change_blob(folder, "case2", lambda blob: b"damaged")
    os.utime(folder / "0000.bin", ns=(stamp.st_atime_ns, stamp.st_mtime_ns))  # as a copy keeps times
    assert finished(cell_of(run)) == every - {"case2"}
    assert len(read) == 10


def test_two_cells_are_kept_together_and_a_kill_between_arrays_and_lines_costs_no_more_than_was_in_flight(
    undisturbed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The arrays of both cells' last batches are on disk, the lines of the second cell are not."""
    whole, lines_written = lines_of_store.append_records, 0

    def killed(path: Path, records: Any) -> None:
        nonlocal lines_written
        if path.name == "cases.jsonl":
            lines_written += 1
            if lines_written > 3:
                raise Killed
        whole(path, records)

    with monkeypatch.context() as patch:
        patch.setattr(keeping, "EVERY_S", 0.0)
        patch.setattr(cell_store, "append_records", killed)
        with pytest.raises(Killed):
            finish(tmp_path)
    for slug in (SLUG, BLUR.slug):
        there = cell_of(tmp_path, slug)
        assert len(there.whole_arrays()) >= len(there.read_cases())
    finish(tmp_path)
    assert_mended(tmp_path, undisturbed)


class Killed(BaseException):
    pass


@pytest.mark.parametrize(
    ("call", "moment"),
    [
        *(("fsync", moment) for moment in (0, 2, 5, 11, 12, 13, 14, 20, 29, 33)),
        *(("replace", moment) for moment in (0, 2, 4, 5, 7, 11)),
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
        patch.setattr(keeping, "EVERY_S", 0.0)  # each batch is put on disk by itself
        patch.setattr(os, call, killed)
        patch.setattr(atomic, "_drop", lambda partial: None)  # nobody clears up after a kill
        with pytest.raises(Killed):
            finish(tmp_path)
    RunDirectory(tmp_path).clear_partial()
    finish(tmp_path)
    assert_mended(tmp_path, undisturbed)
    assert not list(tmp_path.rglob(".*.tmp"))
