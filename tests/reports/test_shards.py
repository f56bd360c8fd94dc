"""Blobs in shards come back as they were, whatever was cut off, damaged or written by a process that was killed."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from support.stored import change_blob, stored

from uadbench.reports import shards as module
from uadbench.reports.atomic import RunError
from uadbench.reports.blobs import pack, unpack
from uadbench.reports.shards import Shards

BLOBS = {f"case{number}": bytes([number]) * (30 + number) for number in range(20)}


def filled(folder: Path, shard_bytes: int = 200) -> Shards:
    shards = Shards(folder, shard_bytes)
    for key, blob in BLOBS.items():
        shards.put(key, blob)
    shards.commit()
    shards.close()
    return shards


def test_blobs_fill_shards_of_a_bounded_size_and_each_is_found_by_its_key(tmp_path: Path) -> None:
    filled(tmp_path)
    assert stored(tmp_path) == dict(sorted(BLOBS.items()))
    sizes = [path.stat().st_size for path in sorted(tmp_path.glob("*.bin"))]
    assert len(sizes) > 3
    assert max(sizes) <= 200
    assert sum(sizes) == sum(map(len, BLOBS.values()))
    assert set(Shards(tmp_path).whole()) == set(BLOBS)


def test_a_blob_larger_than_a_shard_has_one_to_itself(tmp_path: Path) -> None:
    shards = Shards(tmp_path, 10)
    for key in ("a", "b"):
        shards.put(key, b"x" * 50)
    shards.commit()
    assert [path.stat().st_size for path in sorted(tmp_path.glob("*.bin"))] == [50, 50]


def test_what_is_put_can_be_read_at_once_and_by_others_once_it_is_committed(tmp_path: Path) -> None:
    shards, others = Shards(tmp_path), Shards(tmp_path)
    sha256 = shards.put("a", b"first")
    assert shards.read("a", sha256) == b"first"
    with pytest.raises(RunError, match="holds no a; run the same"):
        others.read("a")
    shards.commit()
    assert others.read("a") == b"first"
    shards.put("a", b"second")
    shards.commit()
    assert others.read("a") == shards.read("a") == b"second"  # the last counts
    with pytest.raises(RunError, match="a is not what was written with its record"):
        others.read("a", sha256)


def test_what_was_not_committed_is_gone_and_cut_off_when_the_store_is_taken_up(tmp_path: Path) -> None:
    shards = filled(tmp_path)
    last = sorted(tmp_path.glob("*.bin"))[-1]
    size = last.stat().st_size
    shards.put("late", b"half")
    shards.close()
    with open(tmp_path / "index.jsonl", "ab") as file:
        file.write(b'{"key": "torn", "sha')
    assert last.stat().st_size > size
    again = Shards(tmp_path)
    again.mend()
    assert last.stat().st_size == size
    assert "late" not in again.places
    again.put("late", b"whole")
    again.commit()
    assert stored(tmp_path) == dict(sorted({**BLOBS, "late": b"whole"}.items()))


@pytest.mark.parametrize("what", ["fsync", "write"])
def test_a_kill_in_a_commit_leaves_all_that_was_committed_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """Before the bytes are on disk there is no line; a line that is there stands for bytes that are."""

    def killed(*arguments: object) -> None:
        raise KeyboardInterrupt

    shards = filled(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(*((os, "fsync", killed) if what == "fsync" else (module, "append_records", killed)))
        shards.put("late", b"x")
        with pytest.raises(KeyboardInterrupt):
            shards.commit()
    again = Shards(tmp_path)
    again.mend()
    assert stored(tmp_path) == dict(sorted(BLOBS.items()))


def test_a_full_disk_names_the_shard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(number: int) -> None:
        raise OSError(28, "No space left on device")

    shards = Shards(tmp_path)
    shards.put("a", b"x")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left") as caught:
        shards.commit()
    assert caught.value.filename == str(tmp_path / "0000.bin")


def test_damage_costs_its_blob_alone_and_is_one_clear_line(tmp_path: Path) -> None:
    filled(tmp_path)
    change_blob(tmp_path, "case3", lambda blob: b"other")
    with pytest.raises(
        RunError, match=r"0000\.bin: case3 is damaged .*run the same `bench run` command again"
    ):
        Shards(tmp_path).read("case3")
    assert set(Shards(tmp_path).whole()) == set(BLOBS) - {"case3"}
    (tmp_path / "0001.bin").unlink()
    lost = {key for key, place in Shards(tmp_path).places.items() if place.shard == 1}
    with pytest.raises(RunError, match=r"0001\.bin: missing"):
        Shards(tmp_path).read(min(lost))
    assert set(Shards(tmp_path).whole()) == set(BLOBS) - {"case3"} - lost


def test_an_index_that_was_replaced_by_a_shorter_one_is_read_anew(tmp_path: Path) -> None:
    shards = filled(tmp_path)
    assert len(shards.places) == 20
    lines = (tmp_path / "index.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "index.jsonl").write_text("".join(lines[:5]))
    assert list(shards.places) == list(BLOBS)[:5]


def test_only_shards_that_changed_since_they_were_noted_are_read_through(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled(tmp_path).note()
    read: list[str] = []
    whole = Shards.read

    def counted(self: Shards, key: str, sha256: str | None = None) -> bytes:
        read.append(key)
        return whole(self, key, sha256)

    monkeypatch.setattr(Shards, "read", counted)
    assert len(Shards(tmp_path).whole()) == 20
    assert read == []
    os.utime(tmp_path / "0001.bin")
    assert len(Shards(tmp_path).whole()) == 20
    assert set(read) == {key for key, place in Shards(tmp_path).places.items() if place.shard == 1}
    (tmp_path / "checked.json").write_text("[")
    read.clear()
    assert len(Shards(tmp_path).whole()) == len(read) == 20
    read.clear()
    Shards(tmp_path).check()
    assert len(Shards(tmp_path).whole()) == len(read) == 20, "what was checked is noted"


def test_a_shard_with_damage_is_not_noted_as_whole(tmp_path: Path) -> None:
    filled(tmp_path)
    change_blob(tmp_path, "case3", lambda blob: b"other")
    for _ in range(2):
        Shards(tmp_path).check()
        assert set(Shards(tmp_path).whole()) == set(BLOBS) - {"case3"}


def test_arrays_come_back_bit_identical_from_bytes(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    arrays = {"image": rng.random((7, 5), dtype=np.float32), "mask": rng.random((7, 5)) > 0.5}
    data = pack(**arrays)
    found = unpack(data, ("mask", "image"))
    for name, array in arrays.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)
    assert pack(**arrays) == data
    with pytest.raises(ValueError, match="holds no truth"):
        unpack(data, ("truth",))


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"[]\n", id="a list"),
        pytest.param(b'{"a": ["<f4", [3]]}\n', id="no body"),
        pytest.param(b'{"a": ["|O", [1]]}\n' + pack(x=np.zeros(8)).partition(b"\n")[2], id="objects"),
        pytest.param(
            b'{"a": ["<f4", [9, 9]]}\n' + pack(x=np.zeros(3)).partition(b"\n")[2], id="too few bytes"
        ),
        pytest.param(b'{"a": ["<q9", [1]]}\n' + pack(x=np.zeros(3)).partition(b"\n")[2], id="no such kind"),
    ],
)
def test_bytes_that_are_no_arrays_are_refused_and_nothing_is_unpickled(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"\S"):
        unpack(data, ("a",))
