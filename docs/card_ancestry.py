"""Puts the trainings before a checkpoint's own into its card: ``python docs/card_ancestry.py models/*.json``.

For cards that ``bench train`` wrote before it did so itself. A card names what its training started from by hashes; the
cards with these hashes are looked for in the whole git history of the repository that it lies in. What is not there
stays a hash. The weights are not touched.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from uadbench.engine.training.ancestry import before, lineage, own_images, starts_of, told
from uadbench.reports.atomic import write_bytes

__all__ = ["completed", "history", "main"]

Card = dict[str, Any]


def history(folder: Path) -> dict[str, Card]:
    """sha256 of weights -> entry of an ancestry, of all cards ever committed; of one card's versions the newest."""
    changes = _git(folder, "log", "--all", "-m", "--raw", "--no-abbrev", "--format=", "--", ":/*.json")
    found: dict[str, Card] = {}
    for blob in dict.fromkeys(line.split()[3] for line in changes.splitlines() if line):
        if set(blob) != {"0"}:  # of a file that goes away
            for card in _cards(_git(folder, "cat-file", "blob", blob)):
                found.setdefault(card["sha256"], told(card))
    return found


def _cards(text: str) -> Iterator[Card]:
    """The card in a JSON file, if it is one of ``bench train``, which alone names what it starts from."""
    try:
        card = json.loads(text)
    except ValueError:
        return
    if not isinstance(card, dict) or not isinstance(card.get("sha256"), str):
        return
    if "training" in card and {"steps", "images_seen"} & set(card):  # not a perceptual net's
        yield card


def _git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(command, capture_output=True, check=True, text=True, encoding="utf-8").stdout


def completed(card: Card, known: Mapping[str, Card]) -> Card:
    """The card with its ancestry as far as it is known, by the given entries or by the card itself."""
    own = {entry["sha256"]: entry for entry in card.get("ancestry", ()) if "initial" in entry}
    return card | before(own_images(card), lineage(starts_of(card), own | known))


def _account(card: Card) -> str:
    """One line of what was found and what is lost."""
    lost = [entry["sha256"][:12] for entry in card["ancestry"] if "initial" not in entry]
    bound = "at least " if lost else ""
    known = f"earlier trainings: {len(card['ancestry']) - len(lost)}"
    images = f"{bound}{card['images_seen_in_all']:,} images in all"
    return "; ".join([known, images, *([f"no card of {', '.join(lost)}"] if lost else [])])


def main(arguments: list[str]) -> int:
    """Complete the given cards; returns the exit code."""
    if not arguments:
        print("usage: python docs/card_ancestry.py CARD.json ...", file=sys.stderr)
        return 2
    try:
        known = history(Path(arguments[0]).parent)
        for path in map(Path, arguments):
            text = path.read_text(encoding="utf-8")
            for card in _cards(text):
                card = completed(card, known)
                new = json.dumps(card, indent=1, sort_keys=True) + "\n"
                if new != text:
                    write_bytes(path, new.encode())
                print(f"{path}: {_account(card)}")
    except subprocess.CalledProcessError as error:
        print(f"error: {error.stderr.strip()}", file=sys.stderr)
        return 1
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
