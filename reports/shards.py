"""Many blobs in few files: appended, found by key, checked by hash when they are read.

A folder holds ``0000.bin``, ``0001.bin``, ... with blobs end to end, and ``index.jsonl`` with a line a blob: key,
shard, offset, length, sha256. Files only grow. A blob's line is written after its bytes are on disk, so a line always
stands for a whole blob; bytes without a line are a write that was cut off, and are cut off in turn when the store is
taken up. The last line of a key counts. One process writes at a time (the run's lock), any number read.
"""

from __future__ import annotations

import hashlib
import os
from collections import defaultdict
from collections.abc import Iterator
from contextlib import suppress
from io import FileIO
from pathlib import Path

import msgspec

from uadbench.reports.atomic import RunError, read_json, write_json
from uadbench.reports.lines import append_records, mend_end, unseal

__all__ = ["SHARD_BYTES", "Place", "Shards"]

SHARD_BYTES = 256 * 2**20
CHECKED = "checked.json"
AGAIN = "run the same `bench run` command again"


class Place(msgspec.Struct, frozen=True):
    """Where a blob lies."""

    key: str
    shard: int
    offset: int
    length: int
    sha256: str


class Shards:
    """The store in ``folder``, which need not exist before something is put into it."""

    def __init__(self, folder: Path, shard_bytes: int = SHARD_BYTES) -> None:
        self.folder = folder
        self._limit = shard_bytes
        self._places: dict[str, Place] = {}
        self._read_to = 0  # bytes of the index that are in _places
        self._file: tuple[int, FileIO] | None = None  # the shard that is open for appending
        self._pending: list[Place] = []

    @property
    def places(self) -> dict[str, Place]:
        """Key -> where its blob lies; what other processes have appended since is read when it is looked at."""
        try:
            size = self._index.stat().st_size
        except FileNotFoundError:
            size = 0
        if size < self._read_to:  # another file than was read
            self._places, self._read_to = {place.key: place for place in self._pending}, 0
        if size > self._read_to:
            with open(self._index, "rb") as file:
                file.seek(self._read_to)
                data = file.read(size - self._read_to)
            whole = data[: data.rfind(b"\n") + 1]
            self._read_to += len(whole)
            for line in whole.split(b"\n"):
                with suppress(ValueError, RecursionError):
                    place = msgspec.json.decode(unseal(line) or b"", type=Place)
                    self._places[place.key] = place
        return self._places

    def read(self, key: str, sha256: str | None = None) -> bytes:
        """A blob, that with this hash where one is given; RunError where it is missing, damaged or another."""
        place = self.places.get(key)
        if place is None:
            raise RunError(f"{self.folder}: holds no {key}; {AGAIN}")
        if sha256 is not None and sha256 != place.sha256:
            raise RunError(f"{self.folder}: {key} is not what was written with its record; {AGAIN}")
        path = self._shard(place.shard)
        try:
            with open(path, "rb") as file:
                file.seek(place.offset)
                data = file.read(place.length)
        except FileNotFoundError as error:
            raise RunError(f"{path}: missing; {AGAIN}") from error
        except (OSError, OverflowError, ValueError, MemoryError) as error:
            raise RunError(f"{path}: {key} cannot be read ({error}); {AGAIN}") from error
        if hashlib.sha256(data).hexdigest() != place.sha256:
            raise RunError(f"{path}: {key} is damaged (its hash differs); {AGAIN}")
        return data

    def put(self, key: str, data: bytes) -> str:
        """Append a blob; returns its sha256. It can be read at once here, and is kept for good by ``commit``."""
        shard, file = self._open(len(data))
        offset = os.fstat(file.fileno()).st_size
        try:
            view = memoryview(data)
            while view:
                view = view[file.write(view) :]
        except OSError as error:
            raise OSError(error.errno, error.strerror or str(error), str(file.name)) from error
        place = Place(key, shard, offset, len(data), hashlib.sha256(data).hexdigest())
        places = self.places  # read first, so that what is put stands last
        places[key] = place
        self._pending.append(place)
        return place.sha256

    def commit(self) -> None:
        """Put what was appended on disk: bytes first, then their lines, each in one go."""
        if self._pending:
            self._sync()
            append_records(self._index, [msgspec.to_builtins(place) for place in self._pending])
            self._pending.clear()

    def close(self) -> None:
        """Close the shard that is open for appending; what was not committed is lost."""
        if self._file is not None:
            self._file[1].close()
        self._file = None
        for place in self._pending:
            self._places.pop(place.key, None)
        if self._pending:
            self._pending.clear()
            self._places, self._read_to = {}, 0

    def mend(self) -> None:
        """Cut off what a killed process left behind the last blob that has a line. Only for the one that writes."""
        mend_end(self._index)
        ends: dict[int, int] = defaultdict(int)
        for place in self._every():
            ends[place.shard] = max(ends[place.shard], place.offset + place.length)
        for path in self._shards():
            end = ends[int(path.stem)]
            if path.stat().st_size > end:
                os.truncate(path, end)

    def whole(self) -> dict[str, str]:
        """Key -> sha256 of the blobs that are all there.

        A shard that has not changed since it was last found whole (``note``: size, times of change) is not read again,
        so a run of hundreds of gigabytes is taken up in seconds; one that was copied or touched is read through.
        """
        return self._read_through()[0]

    def check(self) -> None:
        """Read through what is not known to be whole, and note what is, so that ``whole`` need not. Only for the one
        that writes."""
        if read := self._read_through()[1]:
            write_json(self.folder / CHECKED, {**self._noted(), **read})

    def _read_through(self) -> tuple[dict[str, str], dict[str, list[int]]]:
        """(key -> sha256 of the blobs that are all there, name -> stamp of the shards that were read and are whole)."""
        noted = self._noted()
        by_shard: dict[int, list[Place]] = defaultdict(list)
        for place in self.places.values():
            by_shard[place.shard].append(place)
        found: dict[str, str] = {}
        read: dict[str, list[int]] = {}
        for shard, places in by_shard.items():
            path = self._shard(shard)
            stamp = _stamp(path) if path.is_file() else [0]  # before it is read
            known = noted.get(path.name) == stamp
            size = stamp[0]
            there = [
                place
                for place in sorted(places, key=lambda place: place.offset)
                if (place.offset + place.length <= size if known else self._is_whole(place))
            ]
            found |= {place.key: place.sha256 for place in there}
            if not known and len(there) == len(places):
                read[path.name] = stamp
        return found, read

    def note(self) -> None:
        """Note that all shards are whole as they are now: whoever calls has written or read them."""
        if self._shards():
            write_json(self.folder / CHECKED, {path.name: _stamp(path) for path in self._shards()})

    @property
    def _index(self) -> Path:
        return self.folder / "index.jsonl"

    def _shard(self, number: int) -> Path:
        return self.folder / f"{number:04d}.bin"

    def _shards(self) -> list[Path]:
        return sorted(path for path in self.folder.glob("*.bin") if path.stem.isdigit())

    def _every(self) -> Iterator[Place]:
        """Each line of the index, those that no longer count too."""
        if self._index.exists():
            with open(self._index, "rb") as file:
                for line in file:
                    with suppress(ValueError, RecursionError):
                        yield msgspec.json.decode(unseal(line.rstrip(b"\n")) or b"", type=Place)

    def _is_whole(self, place: Place) -> bool:
        try:
            self.read(place.key, place.sha256)
        except RunError:
            return False
        return True

    def _noted(self) -> dict[str, object]:
        try:
            return read_json(self.folder / CHECKED)
        except RunError:
            return {}

    def _open(self, length: int) -> tuple[int, FileIO]:
        """The shard to append to; a new one where the last is full."""
        if self._file is None:
            last = max((int(path.stem) for path in self._shards()), default=0)
            self._file = last, self._appending(last)
        shard, file = self._file
        size = os.fstat(file.fileno()).st_size
        if size and size + length > self._limit:
            self._sync()
            file.close()
            path = self._shard(shard)  # it grows no more
            write_json(self.folder / CHECKED, {**self._noted(), path.name: _stamp(path)})
            self._file = shard + 1, self._appending(shard + 1)
        return self._file

    def _appending(self, shard: int) -> FileIO:
        self.folder.mkdir(parents=True, exist_ok=True)
        return FileIO(self._shard(shard), "ab")

    def _sync(self) -> None:
        if self._file is not None:
            file = self._file[1]
            try:
                os.fsync(file.fileno())
            except OSError as error:
                raise OSError(error.errno, error.strerror or str(error), str(file.name)) from error


def _stamp(path: Path) -> list[int]:
    """What changes when a file does: size, and times of change of its content and of the file itself, in ns."""
    found = path.stat()
    return [found.st_size, found.st_mtime_ns, found.st_ctime_ns]
