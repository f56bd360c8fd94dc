"""What the README says of its result tables is what the committed runs and their paired differences say."""

from __future__ import annotations

import json

import pandas as pd
import pytest
from support.places import ROOT
from support.published import PAPERS, RESULTS, board, holm, lead, paired

from uadbench.bench.score.paired import draws_for

DATA = ("soop-flair", "ixi-stroke")
README = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
BOARDS = {data: board(data) for data in DATA}
THOR = {net: f"thor-simplex-25-{net}" for net in ("lpips-squeeze", "brain-squeeze")}
CHAIN_CALLS = 20  # from so many on, a method walks a chain


def test_floors_lead_the_papers_methods_by_what_is_said() -> None:
    scores = BOARDS["soop-flair"].set_index("method")["dice_max"]
    assert scores[scores.index.isin(PAPERS)].idxmax() == "cddpm"
    floor, fitted, best = "asymmetry-intensity-none-0", "asymmetry-intensity-fitted-none-0", "cddpm-simplex-0"
    told = f"leads it by {lead('soop-flair', floor, best)} at its fixed width"
    assert f"{told} and by {lead('soop-flair', fitted, best)} fitted" in README
    thor, pair = THOR["lpips-squeeze"], ("zscore-none-0", "zscore-fitted-none-0")
    scores = BOARDS["ixi-stroke"].set_index("method")["dice_max"]
    assert scores["thor"].max() == scores[scores.index.isin(PAPERS)].max()
    assert f"not told apart ({lead('ixi-stroke', pair[0], thor)} for the floor)" in README
    p = holm("ixi-stroke", pair[1], thor)
    assert p > 0.05
    brain = THOR["brain-squeeze"]
    assert (
        f"leads THOR by {lead('ixi-stroke', pair[1], thor)} through LPIPS, which Holm's correction (p {p:.3f}) does "
        f"not confirm, and by {lead('ixi-stroke', pair[1], brain)} through `brain-squeeze`, which it does"
        in README
    )
    assert holm("ixi-stroke", pair[1], brain) < 0.05


def test_thor_leads_anoddpm_by_what_is_said() -> None:
    lpips, brain = (lead("ixi-stroke", THOR[net], "anoddpm-simplex-25") for net in THOR)
    assert f"{lpips} ahead through ImageNet's LPIPS and {brain} through `brain-squeeze`" in README
    ps = {f"{holm('ixi-stroke', thor, 'anoddpm-simplex-25'):.3f}" for thor in THOR.values()}
    assert ps == {"0.032"}
    n_pairs = len(board("ixi-stroke")) * (len(board("ixi-stroke")) - 1) // 2
    assert f"{2 * n_pairs / (draws_for(n_pairs) + 1):.3f}" == "0.032"
    assert f"(p 0.032 both, the smallest that {n_pairs} pairs allow)" in README
    lpips, brain = (
        lead("soop-flair", THOR[net], "anoddpm-simplex-25").replace("-0.0 ", "0.0 ") for net in THOR
    )
    average = lead("soop-flair", THOR["lpips-squeeze"], "anoddpm-simplex-25", "dice_average")
    assert f"none in max Dice ({lpips}; {brain}), and one of {average} in the papers' average" in README
    page = " ".join((ROOT / "docs/methods/thor.md").read_text(encoding="utf-8").split())
    lpips, brain = (lead("ixi-stroke", THOR[net], "anoddpm-simplex-25") for net in THOR)
    assert f"by {lpips} through `lpips-squeeze` and by {brain} through `brain-squeeze`" in page
    other = lead("ixi-stroke", "thor-gaussian-25-lpips-squeeze", "ddpm-gaussian-25")
    assert f"THOR leads DDPM on T1w by {other}" in README


def test_simplex_noise_leads_gaussian_noise_by_what_is_said() -> None:
    pairs = [
        (THOR[net], THOR[net].replace("simplex", "gaussian")) for net in ("lpips-squeeze", "brain-squeeze")
    ]
    assert f"for THOR on T1w ({lead('ixi-stroke', *pairs[0])} through LPIPS)" in README
    assert max(holm("ixi-stroke", *pair) for pair in pairs) < 0.05
    (lpips, brain), (p, q) = zip(
        *((lead("soop-flair", *x), holm("soop-flair", *x)) for x in pairs), strict=True
    )
    assert f"on FLAIR {lpips} and {brain} are not confirmed (p {p:.2f} and {q:.2f})" in README
    assert min(p, q) > 0.05


@pytest.mark.parametrize("data", DATA)
def test_no_chain_is_on_the_pareto_front_and_one_or_two_calls_are_ahead(data: str) -> None:
    rows = BOARDS[data]
    chains = rows[rows["nfe"] >= CHAIN_CALLS]
    assert len(chains) == 8
    assert "yes" not in set(chains["pareto"])
    few = rows[rows["method"].isin(["mend", "dae"])]
    assert set(few["nfe"]) == {1, 2}
    assert few["dice_max"].min() > chains["dice_max"].max()
    thor = chains[chains["method"] == "thor"].set_index(["noise", "perceptual"])["dice_max"]
    assert thor["simplex"].min() > thor["gaussian"].max()


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ("soop-flair", "300 of 717 test cases, 258 with a lesion"),
        ("ixi-stroke", "all 220 test cases, 176 with a lesion, of 44 subjects"),
    ],
)
def test_the_cases_are_those_of_the_record(data: str, words: str) -> None:
    (counts,) = BOARDS[data][["n_cases", "n_lesion"]].drop_duplicates().to_numpy().tolist()
    assert all(str(int(count)) in words.split() for count in counts)
    subjects = set(paired(data)["n_subjects"])
    assert data != "ixi-stroke" or subjects == {44}
    assert words in README
    seeds = json.loads((RESULTS / data / "manifest.json").read_text())["seed"]
    assert seeds in (0, [0])


def test_the_images_seen_are_those_of_the_trainings() -> None:
    cards = [json.loads((ROOT / f"models/unet-{n}.json").read_text()) for n in ("simplex", "gaussian")]
    assert {card["images_seen_in_all_is"] for card in cards} == {"exact"}
    simplex, gaussian = (f"{card['images_seen_in_all']:,}" for card in cards)
    assert (
        f"the simplex network has seen {simplex} images, the Gaussian one {gaussian}, the papers'" in README
    )


def test_the_speed_ups_of_the_sentences_are_those_of_the_profile() -> None:
    rows = pd.read_csv(RESULTS / "profile" / "profile.csv").set_index(
        ["network", "method", "backend", "precision", "batch"]
    )

    def told(precision: str, batch: int) -> str:
        row = rows.loc[("unet-gaussian", "-", "openvino", precision, batch)]
        return f"{row['speedup_vs_eager']:.2f} ({row['speedup_lo']:.2f}–{row['speedup_hi']:.2f})"

    page = " ".join((ROOT / "docs/backends.md").read_text(encoding="utf-8").split())
    assert f"bf16 is {told('bf16', 1)} times torch fp32 on one image and {told('bf16', 4)} on four" in page
    assert f"int8 {told('int8', 1)} and {told('int8', 4)}" in page
    assert f"misses it with {told('bf16', 1)} for one call on one image" in README
    used = json.loads((RESULTS / "profile" / "profile.json").read_text())
    shas = {json.loads(card.read_text())["sha256"] for card in (ROOT / "models").glob("*.json")}
    assert {network["sha256"] for network in used["networks"].values()} <= shas
