"""What a model card says of the trainings before its own, whose weights its training started from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from graphlib import CycleError, TopologicalSorter
from typing import Any, TypeGuard

__all__ = ["ancestors_told", "before", "lineage", "own_images", "starts_of", "told"]

Card = Mapping[str, Any]

LOG_ROWS = 50  # of a longer log the last row alone is carried on


def told(card: Card) -> dict[str, Any]:
    """What is carried on of the card of an earlier training, as an entry of an ancestry; what it lacks is None.

    batch_size : images a step, of all batches
    log : its rows, the last alone where there are more than ``LOG_ROWS``; log_rows says how many there were
    """
    log, data = _list(card.get("log")), _list(card.get("data"))
    keys = ("sha256", "name", "kind", "objective", "noise", "steps", "command", "loss", "versions")
    sources = ("name", "sha256", "slices", "weight")
    return {
        **{key: card.get(key) for key in keys},
        "images_seen": own_images(card),
        "batch_size": _images_a_step(card),
        "initial": "+".join(starts_of(card)),
        "data": [{key: one.get(key) for key in sources} for one in data if isinstance(one, Mapping)],
        "log": log if len(log) <= LOG_ROWS else log[-1:],
        "log_rows": len(log),
    }


def own_images(card: Card) -> int | None:
    """Images that the last training saw, None where the card tells of none, as one of imported weights."""
    images, steps, each = card.get("images_seen"), card.get("steps"), _images_a_step(card)
    if _is_count(images):
        return images
    return steps * each if _is_count(steps) and each is not None else None  # as cards of the first version


def starts_of(card: Card) -> list[str]:
    """The hashes of the checkpoints that a card's training, or that of an entry, started from."""
    hashes = card.get("initial", _training(card).get("initial", ""))
    return [one for one in hashes.split("+") if one] if isinstance(hashes, str) else []


def lineage(starts: Iterable[str], known: Mapping[str, Card]) -> list[dict[str, Any]]:
    """Every training that weights come from, once, each before those that started from it.

    starts : sha256 of the checkpoints that the last training started from
    known : sha256 -> entry; a hash that is not among them stands alone, its images_seen None, and ends its line
    Raises ValueError where a training would come from itself.
    """
    graph: dict[str, list[str]] = {}
    left = list(starts)
    while left:
        sha = left.pop(0)
        if sha not in graph:
            graph[sha] = starts_of(known.get(sha, {}))
            left += graph[sha]
    try:
        order = list(TopologicalSorter(graph).static_order())
    except CycleError as error:
        raise ValueError("its card's ancestry goes round in a circle") from error
    return [dict(known.get(sha, {"sha256": sha, "images_seen": None})) for sha in order]


def ancestors_told(initial: Sequence[Card]) -> list[dict[str, Any]]:
    """The ancestry of a training that starts from the checkpoints with these cards: theirs and themselves.

    Raises ValueError where a card's own ancestry is damaged.
    """
    known: dict[str, Card] = {}
    for card in initial:
        known |= {entry["sha256"]: entry for entry in _carried(card) if "initial" in entry}
        known[card["sha256"]] = told(card)
    return lineage([card["sha256"] for card in initial], known)


def before(images: int | None, ancestry: Sequence[Card]) -> dict[str, Any]:
    """The keys of a card that tell of earlier trainings; images : that its own training saw, None if unknown."""
    seen = [images, *(entry["images_seen"] for entry in ancestry)]
    return {
        "ancestry": list(ancestry),
        "images_seen_in_all": sum(one for one in seen if one is not None),
        "images_seen_in_all_is": "at least" if None in seen else "exact",
    }


def _carried(card: Card) -> list[Card]:
    """A card's own ancestry; none in cards of earlier versions."""
    found = card.get("ancestry", [])
    if not isinstance(found, list) or not all(_is_entry(entry) for entry in found):
        raise ValueError("its card's ancestry is damaged")
    return found


def _is_entry(entry: object) -> bool:
    if not isinstance(entry, Mapping) or not isinstance(entry.get("sha256"), str):
        return False
    images = entry.get("images_seen")
    return isinstance(entry.get("initial", ""), str) and (images is None or _is_count(images))


def _training(card: Card) -> Card:
    found = card.get("training")
    return found if isinstance(found, Mapping) else {}


def _images_a_step(card: Card) -> int | None:
    settings = _training(card)
    size, batches = settings.get("batch_size"), settings.get("accumulate", 1)
    return size * batches if _is_count(size) and _is_count(batches) else None


def _is_count(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []
