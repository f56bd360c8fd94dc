"""Cards of earlier versions get their ancestry from the git history, and the shipped ones have theirs."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from card_ancestry import main
from support.places import ROOT

from uadbench.engine.training.ancestry import before, own_images, starts_of

CARDS = {
    path.stem: card
    for path in sorted((ROOT / "models").glob("*.json"))
    if {"training", "steps"} <= set(card := json.loads(path.read_text()))
}
LOST = {"01e9851cbf213146f874b44f5f92f5c601cc06f2cb8e98b999224ec7d2e336f4"}  # cDDPM's encoder as it began


def git(folder: Path, *arguments: str) -> None:
    who = ("-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false")
    subprocess.run(["git", "-C", str(folder), *who, *arguments], check=True, capture_output=True)


def commit(folder: Path, file: str, sha: str, initial: str, **more: Any) -> None:
    """A card of a training of ten images that starts from ``initial``."""
    card = {"sha256": sha, "images_seen": 10, "training": {"batch_size": 1, "initial": initial}, **more}
    (folder / file).write_text(json.dumps(card, indent=1, sort_keys=True) + "\n")
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "-m", sha)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A card that was corrected once and then replaced, and one of another folder that was taken away."""
    git(tmp_path, "init", "-q", "-b", "main")
    for folder in ("models", "results"):
        (tmp_path / folder).mkdir()
    (tmp_path / "models" / "net.safetensors").write_bytes(b"weights")
    commit(tmp_path, "models/net.json", "first", "", name="told wrongly")
    commit(tmp_path, "models/net.json", "first", "", name="told rightly")
    commit(tmp_path, "results/other.json", "second", "first+lost")
    (tmp_path / "results" / "other.json").unlink()
    commit(tmp_path, "models/net.json", "third", "second")
    return tmp_path


def test_a_card_gets_all_that_the_history_has_and_the_hash_of_what_it_has_not(
    repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = repository / "models" / "net.json"
    assert main([str(path)]) == 0
    card = json.loads(path.read_text())
    first, lost, second = card["ancestry"]
    assert (first["sha256"], first["name"]) == ("first", "told rightly")
    assert lost == {"sha256": "lost", "images_seen": None}
    assert (second["sha256"], second["initial"]) == ("second", "first+lost")
    assert (card["images_seen_in_all"], card["images_seen_in_all_is"]) == (30, "at least")
    told = f"{path}: earlier trainings: 2; at least 30 images in all; no card of lost\n"
    assert capsys.readouterr().out == told
    assert (repository / "models" / "net.safetensors").read_bytes() == b"weights"


def test_what_is_known_stays_known_and_a_second_time_changes_nothing(repository: Path) -> None:
    path = repository / "models" / "net.json"
    found = {"sha256": "lost", "images_seen": 5, "initial": "", "name": "told by the card alone"}
    card = json.loads(path.read_text()) | {"ancestry": [found]}
    path.write_text(json.dumps(card))
    assert main([str(path)]) == 0
    once = path.read_bytes()
    card = json.loads(once)
    assert found in card["ancestry"]
    assert (card["images_seen_in_all"], card["images_seen_in_all_is"]) == (35, "exact")
    assert main([str(path)]) == 0
    assert path.read_bytes() == once


def test_what_is_no_card_of_a_training_is_left_as_it_is(repository: Path) -> None:
    other = repository / "models" / "heads.json"
    for text in (
        '{"sha256": "a"}',
        '{"sha256": "a", "training": {"steps": 3, "batch_size": 2}}',
    ):
        other.write_text(text)
        assert main([str(other)]) == 0
        assert other.read_text() == text


def test_wrong_use_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert main([str(tmp_path / "net.json")]) == 1  # no repository
    assert [line[:6] for line in capsys.readouterr().err.splitlines()] == ["usage:", "error:"]


@pytest.mark.parametrize("name", CARDS)
def test_a_shipped_card_tells_of_every_training_before_its_own_but_for_the_one_that_is_lost(
    name: str,
) -> None:
    card = CARDS[name]
    known: set[str] = set()
    for entry in card["ancestry"]:
        assert set(starts_of(entry)) <= known
        known.add(entry["sha256"])
        assert ("initial" in entry) != (entry["sha256"] in LOST)
    assert set(starts_of(card)) <= known
    told = before(own_images(card), card["ancestry"])
    assert {key: card[key] for key in told} == told
