"""Files are whole or absent, and a damaged one is a sentence, never a traceback."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from uadbench.reports import atomic
from uadbench.reports.atomic import (
    PARTIAL,
    RunError,
    append_text,
    read_json,
    read_npz,
    remove,
    write_json,
    write_npz,
)


def test_json_is_sorted_and_ends_with_a_newline(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"b": 1, "a": "ä"})
    assert (tmp_path / "a.json").read_bytes() == '{\n "a": "ä",\n "b": 1\n}\n'.encode()
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def test_a_failed_write_leaves_the_old_file_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_json(path, {"a": 1})
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(path, {"a": float("nan")})
    assert read_json(path) == {"a": 1}
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.json"]


def test_a_full_disk_names_the_file_and_leaves_no_litter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(number: int) -> None:
        raise OSError(28, "No space left on device")

    write_json(tmp_path / "a.json", {"a": 1})
    monkeypatch.setattr(atomic.os, "fsync", full)
    with pytest.raises(OSError, match="No space left") as caught:
        write_json(tmp_path / "a.json", {"a": 2})
    assert caught.value.filename == str(tmp_path / "a.json")
    with pytest.raises(OSError, match="No space left") as caught:
        append_text(tmp_path / "b.jsonl", "{}")
    assert caught.value.filename == str(tmp_path / "b.jsonl")
    assert read_json(tmp_path / "a.json") == {"a": 1}
    assert not [entry.name for entry in tmp_path.iterdir() if entry.name.startswith(".")]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(b"{", "is not JSON", id="torn"),
        pytest.param(b"[1]", "holds a list", id="not an object"),
        pytest.param(b"\xff\xfe", "is not JSON", id="not text"),
        pytest.param(b"[" * 100_000, "is not JSON", id="nested too deep"),
    ],
)
def test_bad_json_is_one_clear_line(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(RunError, match=message) as caught:
        read_json(tmp_path / "a.json")
    assert "\n" not in str(caught.value)


def test_arrays_come_back_bit_identical_and_the_same_arrays_are_the_same_bytes(tmp_path: Path) -> None:
    image = np.random.default_rng(0).random((8, 8), dtype=np.float32)
    for name in ("a.npz", "b.npz"):
        write_npz(tmp_path / name, image=image)
    np.testing.assert_array_equal(read_npz(tmp_path / "a.npz", ("image",))["image"], image)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 torn", b"text", b"\x93NUMPY\x01\x00v\x00{'descr'"])
def test_a_damaged_array_file_is_one_clear_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(RunError, match=r"a\.npz: damaged .*run the same `bench run` command again"):
        read_npz(tmp_path / "a.npz", ("image",))


def test_a_file_without_the_array_or_no_file_is_one_clear_line(tmp_path: Path) -> None:
    write_npz(tmp_path / "a.npz", image=np.zeros(3))
    with pytest.raises(RunError, match=r"damaged \(KeyError"):
        read_npz(tmp_path / "a.npz", ("mask",))
    with pytest.raises(RunError, match="missing; run the same"):
        read_npz(tmp_path / "b.npz", ("mask",))


def test_objects_in_an_array_file_are_never_unpickled(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", image=np.array([{"a": 1}], dtype=object))
    with pytest.raises(RunError, match="damaged"):
        read_npz(tmp_path / "a.npz", ("image",))


def test_flipped_bytes_are_an_error_of_ours_and_never_another(tmp_path: Path) -> None:
    """200 random flips of one to four bytes: read as before, or refused."""
    rng, path = np.random.default_rng(1), tmp_path / "a.npz"
    image = rng.random((16, 16)).astype(np.float32)
    write_npz(path, image=image, mask=image > 0.5)
    whole, refused = path.read_bytes(), 0
    for _ in range(200):
        data = bytearray(whole)
        for place in rng.integers(len(data), size=rng.integers(1, 5)):
            data[place] ^= int(rng.integers(1, 256))
        path.write_bytes(data)
        with suppress(RunError):
            read_npz(path, ("image", "mask"))
            continue
        refused += 1
    assert refused > 50


def test_a_folder_is_removed_all_or_not_and_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "a").write_text("mine")
    (tmp_path / "link").symlink_to(tmp_path / "theirs")
    remove(tmp_path / "link")
    remove(tmp_path / "nothing")
    assert (tmp_path / "theirs" / "a").read_text() == "mine"
    remove(tmp_path / "theirs")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "ours"),
    [(".a.json.77.tmp", True), (".inputs.1.tmp", True), (".x.tmp", False), ("a.77.tmp", False)],
)
def test_what_is_half_written_is_known_by_its_name(name: str, ours: bool) -> None:
    assert bool(PARTIAL.fullmatch(name)) is ours
