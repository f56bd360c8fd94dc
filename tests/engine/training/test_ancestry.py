"""What a card carries on of earlier trainings: each once, oldest first, and what is not known said to be so."""

from __future__ import annotations

from typing import Any

import pytest

from uadbench.engine.training.ancestry import LOG_ROWS, ancestors_told, before, lineage, own_images, told

DATA = {"name": "phantom", "sha256": "d", "slices": 600, "weight": 1.0, "title": "generated slices"}
Card = dict[str, Any]


def card(sha: str, *initial: str, images: int = 8, **more: Any) -> Card:
    """As ``bench train`` writes it, of one step."""
    return {
        "sha256": sha,
        "name": f"net-{sha}",
        "kind": "unet",
        "objective": "the noise",
        "noise": "gaussian",
        "steps": 1,
        "images_seen": images,
        "training": {"batch_size": images, "accumulate": 1, "initial": "+".join(initial)},
        "data": [DATA],
        "command": "bench train",
        "loss": 0.5,
        "log": [{"step": 1}],
        "versions": {"torch": "2"},
        **more,
    }


def child(sha: str, *parents: Card, **more: Any) -> Card:
    """The card of a training that starts from the checkpoints with these cards."""
    own = card(sha, *(parent["sha256"] for parent in parents), **more)
    return own | before(own_images(own), ancestors_told(parents))


def shas(found: Card) -> list[str]:
    return [entry["sha256"] for entry in found["ancestry"]]


def test_a_training_from_random_weights_has_no_ancestors_and_saw_its_own_images_alone() -> None:
    assert before(48, []) == {"ancestry": [], "images_seen_in_all": 48, "images_seen_in_all_is": "exact"}


def test_an_entry_is_what_the_card_said() -> None:
    assert told(card("a", "b", "c", images=16)) == {
        "sha256": "a",
        "name": "net-a",
        "kind": "unet",
        "objective": "the noise",
        "noise": "gaussian",
        "steps": 1,
        "images_seen": 16,
        "batch_size": 16,
        "initial": "b+c",
        "data": [{key: DATA[key] for key in ("name", "sha256", "slices", "weight")}],
        "command": "bench train",
        "loss": 0.5,
        "log": [{"step": 1}],
        "log_rows": 1,
        "versions": {"torch": "2"},
    }


@pytest.mark.parametrize(("rows", "kept"), [(LOG_ROWS, LOG_ROWS), (LOG_ROWS + 1, 1)])
def test_of_a_long_log_the_last_row_alone_is_carried_on_and_said_to_be_the_last(rows: int, kept: int) -> None:
    log = [{"step": step} for step in range(rows)]
    entry = told(card("a", log=log))
    assert (entry["log"], entry["log_rows"]) == (log[-kept:], rows)


def test_the_ancestry_of_the_start_is_carried_on_and_then_the_start_itself() -> None:
    first = child("first", images=100)
    second = child("second", first, images=20)
    third = child("third", second, images=3)
    assert shas(third) == ["first", "second"]
    assert third["ancestry"] == [told(first), told(second)]
    assert (third["images_seen_in_all"], third["images_seen_in_all_is"]) == (123, "exact")


def test_a_network_of_several_starts_counts_what_they_share_once_and_before_them() -> None:
    root = child("root", images=1000)
    denoiser, encoder = child("denoiser", root, images=100), child("encoder", root, images=10)
    both = child("both", denoiser, encoder, images=1)
    assert shas(both) == ["root", "denoiser", "encoder"]
    assert both["images_seen_in_all"] == 1111


def test_where_one_start_knows_an_ancestor_and_another_its_hash_alone_the_knowledge_counts() -> None:
    root = card("root", images=1000)
    knows, does_not = child("knows", root, images=100), card("does not", "root", images=10)
    for parents in ((knows, does_not), (does_not, knows)):
        found = child("both", *parents, images=1)
        assert shas(found)[0] == "root"
        assert (found["images_seen_in_all"], found["images_seen_in_all_is"]) == (1111, "exact")


def test_of_a_start_with_an_older_card_the_ancestors_are_their_hashes_and_the_sum_is_a_lower_bound() -> None:
    found = child("new", card("old", "lost", "gone", images=10), images=1)
    assert found["ancestry"][:2] == [{"sha256": sha, "images_seen": None} for sha in ("lost", "gone")]
    assert shas(found)[2:] == ["old"]
    assert (found["images_seen_in_all"], found["images_seen_in_all_is"]) == (11, "at least")
    later = child("later", found, images=2)
    assert later["ancestry"][:3] == found["ancestry"]
    assert (later["images_seen_in_all"], later["images_seen_in_all_is"]) == (13, "at least")


@pytest.mark.parametrize(
    ("given", "images"),
    [
        pytest.param(card("a", images=3), 3, id="told"),
        pytest.param({"steps": 5, "training": {"batch_size": 8}}, 40, id="first version"),
        pytest.param({"steps": 5, "training": {"batch_size": 8, "accumulate": 2}}, 80, id="accumulated"),
        pytest.param({"source": {"file": "model.pt"}}, None, id="imported"),
        pytest.param({"steps": "5", "training": []}, None, id="nonsense"),
    ],
)
def test_the_images_are_told_or_follow_from_the_steps_or_are_unknown(given: Card, images: int | None) -> None:
    assert own_images(given) == images


@pytest.mark.parametrize(
    "ancestry",
    [
        pytest.param("none", id="text"),
        pytest.param([1], id="no entry"),
        pytest.param([{"images_seen": 1}], id="no hash"),
        pytest.param([{"sha256": "a", "images_seen": -1}], id="images"),
        pytest.param([{"sha256": "a", "images_seen": None, "initial": 3}], id="start"),
    ],
)
def test_a_damaged_ancestry_is_refused(ancestry: Any) -> None:
    with pytest.raises(ValueError, match="its card's ancestry is damaged"):
        ancestors_told([card("b", ancestry=ancestry)])


def test_a_training_that_comes_from_itself_is_refused() -> None:
    known = {"a": told(card("a", "b")), "b": told(card("b", "a"))}
    with pytest.raises(ValueError, match="goes round in a circle"):
        lineage(["a"], known)
