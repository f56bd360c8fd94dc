"""Downloads: kept only when they are what was asked for, and explained when they fail."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import pytest

from uadbench.bench.fetch import fetch_lpips_squeeze
from uadbench.engine.perceptual import weights as perceptual_weights
from uadbench.engine.perceptual.weights import LPIPS_FILE, PerceptualError, lpips_squeeze_places


@pytest.fixture
def empty_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user data folder and a torch cache that hold nothing; returns the former."""
    monkeypatch.setattr(perceptual_weights, "user_data_path", lambda name: tmp_path / "data" / name)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    return tmp_path / "data" / "uadbench"


def test_fetch_stores_what_has_the_right_checksum_and_keeps_it(tmp_path: Path, empty_places: Path) -> None:
    """The file lands in the user data folder; a second call needs no source; force reads it again."""
    source = tmp_path / "source.pth"
    source.write_bytes(b"weights")
    checksum = hashlib.sha256(b"weights").hexdigest()
    path = fetch_lpips_squeeze(url=source.as_uri(), sha256=checksum)
    assert path == empty_places / "weights" / LPIPS_FILE
    assert path.read_bytes() == b"weights"
    source.unlink()
    assert fetch_lpips_squeeze(url=source.as_uri(), sha256=checksum) == path
    with pytest.raises(PerceptualError, match="could not download"):
        fetch_lpips_squeeze(force=True, url=source.as_uri(), sha256=checksum)
    assert path.read_bytes() == b"weights"


def test_fetch_refuses_a_wrong_checksum_and_leaves_nothing_behind(tmp_path: Path, empty_places: Path) -> None:
    """A download that is not what was promised is not kept, and a damaged file that was there is not trusted."""
    source = tmp_path / "source.pth"
    source.write_bytes(b"other")
    with pytest.raises(PerceptualError, match=r"sha256 of the download is .* expected b8a52dc0"):
        fetch_lpips_squeeze(url=source.as_uri())
    assert not (empty_places / "weights").exists()
    target = lpips_squeeze_places()[0]
    target.parent.mkdir(parents=True)
    target.write_bytes(b"damaged")
    assert fetch_lpips_squeeze(url=source.as_uri(), sha256=hashlib.sha256(b"other").hexdigest()) == target
    assert target.read_bytes() == b"other"
    assert [file.name for file in target.parent.iterdir()] == [LPIPS_FILE]
    blocked = empty_places.parent / "uadbench"
    shutil.rmtree(blocked)
    blocked.write_text("a file where the folder should be")
    with pytest.raises(PerceptualError, match="cannot write"):
        fetch_lpips_squeeze(url=source.as_uri(), sha256=hashlib.sha256(b"other").hexdigest())


def test_fetch_without_network_says_what_to_do(tmp_path: Path, empty_places: Path) -> None:
    """One line: what could not be had, why, and where to put it by hand."""
    with pytest.raises(PerceptualError) as error:
        fetch_lpips_squeeze(url=(tmp_path / "nowhere.pth").as_uri())
    assert "could not download" in str(error.value)
    assert str(lpips_squeeze_places()[0]) in str(error.value)
    assert "\n" not in str(error.value)
