"""What the pages of VAE, DISYRE and REFLECT say of their networks is what the cards say."""

from __future__ import annotations

import json

import pytest
from support.pages import page
from support.places import ROOT

from uadbench.engine.training.restoring import BEND, CHANGED, WEIGHT_CHANGED

DAE = json.loads((ROOT / "models/dae-unet.json").read_text())["sha256"]


@pytest.mark.parametrize(
    ("name", "network", "level", "start"),
    [("disyre", "cold-unet", 50, DAE), ("reflect", "flow-unet", 100, DAE), ("vae", "vae", 1, "")],
)
def test_the_trend_and_the_start_are_those_of_the_card(
    name: str, network: str, level: int, start: str | None
) -> None:
    card = json.loads((ROOT / f"models/{network}.json").read_text())
    text = " ".join(page(f"methods/{name}.md").split())
    assert (card["steps"], card["of_steps"], card["images_seen"]) == (3000, 3000, 48_000)
    assert "of 3000 steps of 16 images" in text
    t1w, flair = (
        f"{100 * card['one_call_dice'][data][str(level)]:.1f}" for data in ("ixi-stroke", "soop-flair")
    )
    assert f"was {t1w} on `ixi-stroke` and {flair} on `soop-flair`" in text
    assert card["training"]["initial"] == start


def test_the_norm_is_that_of_the_code() -> None:
    text = page("methods/disyre.md")
    assert (BEND, CHANGED, WEIGHT_CHANGED) == (0.2, 0.03, 10.0)
    assert "(1 + 9c)\\; h_{0.2}" in text
    assert "by more than 0.03" in text
    assert "(1 + 9c)\\; h_{0.2}" in page("methods/reflect.md")
