"""What the pages of DISYRE, REFLECT, VAE, one step, AutoDDPM and perceptual nets say of the committed runs."""

from __future__ import annotations

import json

import pytest
from support.pages import page
from support.published import RESULTS, board, holm, lead

FLAIR, T1W = "soop-flair", "ixi-stroke"
MEND, DAE, DISYRE, REFLECT = "mend-none-0", "dae-none-0", "disyre-none-2", "reflect-none-1"
BRAIN, LPIPS = "thor-simplex-25-brain-squeeze", "thor-simplex-25-lpips-squeeze"
ONE, DDPM, VAE, BLUR = "one-step-gaussian-0", "ddpm-gaussian-25", "vae-none-0", "blur-none-0"

# page, words round the difference, data, who leads, whom, measure, whether confirmed
SAID = [
    ("disyre", "by max Dice (Mend {})", T1W, MEND, DISYRE, "dice_max", False),
    ("disyre", "by AUPRC ({})", T1W, MEND, DISYRE, "auprc", False),
    ("disyre", "ahead in average Dice by {}:", T1W, DISYRE, MEND, "dice_average", True),
    ("disyre", "from cDDPM ({})", FLAIR, DISYRE, "cddpm-simplex-0", "dice_max", False),
    ("disyre", "length, by {}.", FLAIR, REFLECT, DISYRE, "dice_max", True),
    ("reflect", "scores (max Dice {})", FLAIR, REFLECT, DAE, "dice_max", False),
    ("reflect", "ahead of DAE by {}", T1W, REFLECT, DAE, "dice_max", True),
    ("reflect", "behind DISYRE by {},", T1W, DISYRE, REFLECT, "dice_max", True),
    ("vae", "({} points of max Dice on `soop-flair`", FLAIR, DDPM, VAE, "dice_max", True),
    ("vae", "{} on `ixi-stroke`)", T1W, DDPM, VAE, "dice_max", True),
    ("vae", "no more than {} and", FLAIR, VAE, BLUR, "dice_max", True),
    ("vae", "and {}, which", T1W, VAE, BLUR, "dice_max", True),
    ("one-step", "by {} points of max Dice on `soop-flair`", FLAIR, ONE, DDPM, "dice_max", True),
    ("one-step", "not told apart on `ixi-stroke` ({})", T1W, ONE, DDPM, "dice_max", False),
    ("one-step", "on both ({} and", FLAIR, ONE, DDPM, "dice_average", True),
    ("one-step", "and {}).", T1W, ONE, DDPM, "dice_average", True),
    ("perceptual", "noise finds {} points more", FLAIR, BRAIN, LPIPS, "dice_max", True),
    ("perceptual", "not told apart ({}).", T1W, BRAIN, LPIPS, "dice_max", False),
]


@pytest.mark.parametrize(("name", "words", "data", "first", "second", "measure", "confirmed"), SAID)
def test_a_sentence_is_that_of_the_paired_difference(
    name: str, words: str, data: str, first: str, second: str, measure: str, confirmed: bool
) -> None:
    text = " ".join(page(f"methods/{name}.md").split())
    assert words.format(lead(data, first, second, measure)) in text
    assert (holm(data, first, second, measure) < 0.05) == confirmed


def test_reflect_and_dae_are_told_apart_by_no_score_on_flair() -> None:
    measures = ("dice_max", "dice_average", "auprc")
    assert min(holm(FLAIR, REFLECT, DAE, measure) for measure in measures) > 0.05


def test_disyre_finds_more_of_the_small_lesions_than_mend() -> None:
    small = board(T1W).set_index("method")["dice_small"]
    assert small["disyre"] > small["mend"]


def test_what_autoddpms_recall_costs_on_flair_is_what_was_fitted() -> None:
    fitted = json.loads((RESULTS / FLAIR / "fitted.json").read_text())
    records = [fitted[f"autoddpm-gaussian-20-{net}"]["record"] for net in ("brain-squeeze", "lpips-squeeze")]
    brain, lpips = (f"{100 * record['share_of_image']:.0f} %" for record in records)
    text = " ".join(page("methods/autoddpm.md").split())
    assert f"recall of 0.9 costs {brain} of a slice through `brain-squeeze` and {lpips} through" in text
    assert all(record["recall"] >= 0.9 for record in records)
