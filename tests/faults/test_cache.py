"""Damaged, altered and foreign entries of the cache of exported networks: each is made again, none is loaded."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support import tiny_network as tiny
from support.places import python_path

from uadbench.engine.backends import BackendError
from uadbench.engine.backends.artifacts import ArtifactError, manifest_path, read_artifact, write_artifact
from uadbench.engine.backends.form import Form
from uadbench.engine.sealed import read_key, seal
from uadbench.exporters.cache import PARTS, cache_folder, cached_artifact

posix = pytest.mark.skipif(os.name != "posix", reason="needs owners and modes")
root = pytest.mark.skipif(os.name != "posix" or os.getuid() != 0, reason="only root can give files away")


@pytest.fixture
def exports(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Replaces the export, which takes seconds, by a few bytes; one item an export."""
    calls: list[str] = []

    def export(model: Any, card: dict[str, Any], path: Path, form: Form) -> dict[str, Any]:
        calls.append(card["sha256"])
        return write_artifact(path, b"onnx", tiny.manifest(card["sha256"], form.batch))

    monkeypatch.setattr("uadbench.exporters.onnx.export_unet", export)
    return calls


def altered_together(path: Path) -> None:
    """Another network under a manifest that matches it: what a hash alone cannot find."""
    manifest = json.loads(manifest_path(path).read_text())
    data = b"evil"
    path.write_bytes(data)
    changed = manifest | {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
    manifest_path(path).write_text(json.dumps(changed))


def resealed(path: Path) -> None:
    """Altered, and sealed by someone who does not know the key."""
    altered_together(path)
    (path.parent / "seal").write_text(seal(b"guess" * 8, path.parent.name, content(path)))


def from_elsewhere(path: Path) -> None:
    """A whole entry of this user's, under the name of another network."""
    altered_together(path)
    key = read_key(path.parent.parent)
    assert key is not None
    (path.parent / "seal").write_text(seal(key, "0" * 32, content(path)))


def content(path: Path) -> dict[str, bytes]:
    """What a seal covers."""
    return {part: (path.parent / part).read_bytes() for part in PARTS}


def linked(path: Path) -> None:
    """A link to a file that whoever owns it can change after the check."""
    elsewhere = path.parents[2] / "elsewhere.onnx"
    shutil.move(path, elsewhere)
    path.symlink_to(elsewhere)


def replace_by_file(path: Path) -> None:
    shutil.rmtree(path.parent)
    path.parent.write_text("a file")


def make_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(truncate, id="network truncated"),
        pytest.param(Path.unlink, id="network missing"),
        pytest.param(make_folder, id="network a folder"),
        pytest.param(lambda path: manifest_path(path).unlink(), id="manifest missing"),
        pytest.param(lambda path: manifest_path(path).write_text("[" * 100_000), id="manifest nested deep"),
        pytest.param(lambda path: truncate(manifest_path(path)), id="manifest truncated"),
        pytest.param(lambda path: (path.parent / "seal").unlink(), id="seal missing"),
        pytest.param(lambda path: (path.parent / "seal").write_bytes(b"\xff\0"), id="seal garbage"),
        pytest.param(altered_together, id="network and manifest altered together"),
        pytest.param(resealed, id="altered and sealed by another key"),
        pytest.param(from_elsewhere, id="entry of another name"),
        pytest.param(linked, id="network a link", marks=posix),
        pytest.param(replace_by_file, id="entry a file"),
        pytest.param(lambda path: shutil.rmtree(path.parent), id="entry missing"),
        pytest.param(lambda path: path.chmod(0o666), id="network open to others", marks=posix),
        pytest.param(lambda path: path.parent.chmod(0o755), id="entry open to others", marks=posix),
        pytest.param(lambda path: os.chown(path, 4242, 4242), id="network another user's", marks=root),
        pytest.param(lambda path: os.chown(path.parent, 4242, 4242), id="entry another user's", marks=root),
        pytest.param(lambda path: (path.parents[1] / "key").unlink(), id="key missing"),
        pytest.param(lambda path: truncate(path.parents[1] / "key"), id="key truncated"),
        pytest.param(lambda path: (path.parents[1] / "key").chmod(0o644), id="key readable", marks=posix),
        pytest.param(
            lambda path: os.chown(path.parents[1] / "key", 4242, 4242), id="key another user's", marks=root
        ),
        pytest.param(lambda path: make_folder(path.parents[1] / "key"), id="key a folder"),
    ],
)
def test_an_entry_that_is_not_as_this_user_left_it_is_made_again(
    tmp_path: Path, exports: list[str], damage: Callable[[Path], None]
) -> None:
    checkpoint, cache = tiny.make_checkpoint(tmp_path), tmp_path / "cache"
    path = cached_artifact(checkpoint, cache)
    damage(path)
    assert cached_artifact(checkpoint, cache) == path
    assert len(exports) == 2
    assert read_artifact(path).data == b"onnx"
    assert cached_artifact(checkpoint, cache) == path
    assert len(exports) == 2, "once it is made again it is kept"
    assert not list(cache.glob(".partial-*"))


@root
def test_entries_of_another_user_in_a_folder_open_to_all_are_not_used(
    tmp_path: Path, exports: list[str]
) -> None:
    """They lay there before the folder was closed, so closing it proves nothing about them."""
    checkpoint, cache = tiny.make_checkpoint(tmp_path), tmp_path / "cache"
    path = cached_artifact(checkpoint, cache)
    for part in (path.parent, *path.parent.iterdir(), cache / "key"):
        os.chown(part, 4242, 4242)
    cache.chmod(0o777)
    cached_artifact(checkpoint, cache)
    assert len(exports) == 2
    assert cache.stat().st_mode & 0o777 == 0o700
    assert {part.stat().st_uid for part in (cache / "key", path.parent, *path.parent.iterdir())} == {0}


@root
def test_a_cache_of_another_user_is_refused(tmp_path: Path) -> None:
    (tmp_path / "cache").mkdir()
    os.chown(tmp_path / "cache", 4242, 4242)
    with pytest.raises(BackendError, match="belongs to another user; remove it or set XDG_CACHE_HOME"):
        cache_folder(tmp_path / "cache")


def test_processes_that_start_at_once_share_one_export_and_one_key(tmp_path: Path) -> None:
    """Each waits for the first, and all end with an entry that each of them trusts."""
    checkpoint = tiny.make_checkpoint(tmp_path)
    code = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from support import tiny_network as tiny\n"
        "from uadbench.engine.backends.artifacts import write_artifact\n"
        "from uadbench.exporters import onnx\n"
        "from uadbench.exporters.cache import cached_artifact\n"
        "def export(model, card, path, form):\n"
        "    print('exported')\n"
        "    time.sleep(1)\n"
        "    return write_artifact(path, b'onnx', tiny.manifest(card['sha256'], form.batch))\n"
        "onnx.export_unet = export\n"
        "here = Path(sys.argv[2])\n"
        "print(cached_artifact(Path(sys.argv[1]), here))\n"
    )
    support = {**os.environ, "PYTHONPATH": python_path(Path(__file__).resolve().parents[1])}
    command = [sys.executable, "-c", code, str(checkpoint), str(tmp_path / "cache")]
    started = [
        subprocess.Popen(command, env=support, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    done = [child.communicate(timeout=120) for child in started]
    assert [child.returncode for child in started] == [0, 0, 0], done
    assert sum(out.count("exported") for out, _ in done) == 1
    assert len({out.splitlines()[-1] for out, _ in done}) == 1


def without(key: str) -> Callable[[dict[str, Any]], Any]:
    return lambda manifest: {name: value for name, value in manifest.items() if name != key}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        pytest.param(without("batch"), "no usable 'batch'", id="no batch"),
        pytest.param(without("source"), "no usable 'source'", id="no source"),
        pytest.param(without("opset"), "no usable 'opset'", id="no opset"),
        pytest.param(without("inputs"), "no usable 'inputs'", id="no inputs"),
        pytest.param(without("outputs"), "no usable 'outputs'", id="no outputs"),
        pytest.param(without("kind"), "kind None", id="no kind"),
        pytest.param(lambda m: m | {"batch": "many"}, "no usable 'batch'", id="batch a word"),
        pytest.param(lambda m: m | {"batch": -1}, "no usable 'batch'", id="negative batch"),
        pytest.param(lambda m: m | {"inputs": []}, "no usable 'inputs'", id="inputs empty"),
        pytest.param(lambda m: m | {"inputs": [3]}, "no usable 'inputs'", id="inputs numbers"),
        pytest.param(lambda m: m | {"source": "abc"}, "no usable 'source'", id="source a word"),
        pytest.param(lambda m: [m], "is no manifest of layout", id="list"),
        pytest.param(lambda m: None, "is no manifest of layout", id="null"),
    ],
)
def test_a_manifest_that_lacks_what_is_relied_on_is_refused_in_one_line(
    tmp_path: Path, change: Callable[[dict[str, Any]], Any], reason: str
) -> None:
    path = tmp_path / "unet.onnx"
    manifest = write_artifact(path, b"onnx", tiny.manifest("0" * 64, None))
    manifest_path(path).write_text(json.dumps(change(manifest)))
    refused(path, reason)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        pytest.param("[" * 100_000, "is no manifest", id="nested deep"),
        pytest.param('{"a":' * 100_000, "is no manifest", id="objects nested deep"),
        pytest.param("", "is no manifest", id="empty"),
        pytest.param("\ud800", "is no manifest", id="no text"),
        pytest.param("9" * 5000, "is no manifest", id="5000 digits"),
    ],
)
def test_a_manifest_that_is_none_is_refused_in_one_line(tmp_path: Path, text: str, reason: str) -> None:
    path = tmp_path / "unet.onnx"
    path.write_bytes(b"onnx")
    manifest_path(path).write_bytes(text.encode("utf-8", "surrogatepass"))
    refused(path, reason)


@posix
def test_a_pipe_in_the_place_of_a_network_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "unet.onnx")
    refused(tmp_path / "unet.onnx", "not a file")


def test_a_write_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "unet.onnx").mkdir()
    with pytest.raises(OSError, match=r"unet\.onnx"):
        write_artifact(tmp_path / "unet.onnx", b"onnx", {})
    assert [path.name for path in tmp_path.iterdir()] == ["unet.onnx"]


def refused(path: Path, reason: str) -> None:
    with pytest.raises(ArtifactError) as error:
        read_artifact(path)
    assert reason in str(error.value)
    assert "\n" not in str(error.value)
    assert ";" in str(error.value), "the remedy follows a semicolon"
