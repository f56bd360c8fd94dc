"""What the README says of its result tables is what the committed runs and their paired differences say."""

from __future__ import annotations

import json

import pandas as pd
import pytest
from support.places import ROOT
from support.published import PAPERS, RESULTS, board, holm, lead, pair_of, paired, points

from uadbench.bench.score.paired import draws_for

DATA = ("soop-flair", "ixi-stroke")
README = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
BOARDS = {data: board(data) for data in DATA}
THOR = {net: f"thor-simplex-25-{net}" for net in ("lpips-squeeze", "brain-squeeze")}
MEND, DISYRE, CDDPM = "mend-none-0", "disyre-none-2", "cddpm-simplex-0"
DAE, REFLECT = "dae-none-0", "reflect-none-1"
FLOOR, FITTED = "asymmetry-intensity-none-0", "asymmetry-intensity-fitted-none-0"
TIE = ("soop-flair", "disyre")
CALL = ("unet-gaussian", "-", "openvino")
CHAIN_CALLS = 20  # from so many on, a method walks a chain


def ahead_of(data: str, method: str, others: pd.DataFrame) -> None:
    """Of each of the rows, in max Dice and after Holm's correction."""
    (name,) = BOARDS[data].loc[BOARDS[data]["method"] == method, "name"]
    assert len(others)
    for other in others["name"]:
        difference, _, _, p = pair_of(data, name, other)
        assert difference > 0, other
        assert p < 0.05, other


def test_floors_lead_the_papers_methods_by_what_is_said() -> None:
    scores = BOARDS["soop-flair"].set_index("method")["dice_max"]
    assert scores[scores.index.isin(PAPERS)].idxmax() == "cddpm"
    told = f"leads it by {lead('soop-flair', FLOOR, CDDPM)} at its fixed width"
    assert f"{told} and by {lead('soop-flair', FITTED, CDDPM)} fitted" in README
    rows, pair = BOARDS["ixi-stroke"], ("zscore-fitted-none-0", THOR["brain-squeeze"])
    best = rows[rows["method"].isin(PAPERS)].sort_values("dice_max").iloc[-1]
    assert (best["method"], best["noise"], best["perceptual"]) == ("thor", "simplex", "brain-squeeze")
    assert rows[rows["kind"] == "floor"].set_index("method")["dice_max"].idxmax() == "zscore-fitted"
    assert f"the fitted z-score ({lead('ixi-stroke', *pair)} for the floor)" in README
    assert holm("ixi-stroke", *pair) > 0.05


def test_all_pairs_of_a_table_allow_the_p_that_is_said() -> None:
    for data in DATA:
        n_pairs = len(BOARDS[data]) * (len(BOARDS[data]) - 1) // 2
        assert f"over all {n_pairs} pairs of a table" in README
        least = 2 * n_pairs / (draws_for(n_pairs) + 1)
        assert f"which is at least {least:.3f}" in README


def test_mend_is_ahead_of_every_floor_and_of_the_papers_methods() -> None:
    for data in DATA:
        ahead_of(data, "mend", BOARDS[data][BOARDS[data]["kind"] == "floor"])
    best = ("soop-flair", "asymmetry-intensity-fitted"), ("ixi-stroke", "zscore-fitted")
    flair, t1w = (lead(data, MEND, f"{floor}-none-0") for data, floor in best)
    assert f"of the best fitted one by {flair} on FLAIR and by {t1w} on T1w" in README
    flair, t1w = lead("soop-flair", MEND, CDDPM), lead("ixi-stroke", MEND, THOR["brain-squeeze"])
    assert f"of the papers' best method as published by {flair} and {t1w}." in README
    dae, disyre, reflect = (
        lead("soop-flair", MEND, DAE),
        lead("ixi-stroke", MEND, DISYRE),
        lead("ixi-stroke", MEND, REFLECT),
    )
    assert f"DAE comes next on FLAIR, {dae} behind; on T1w neither DISYRE ({disyre} for Mend)" in README
    p = holm("ixi-stroke", MEND, REFLECT)
    assert f"nor REFLECT ({reflect}, p {p:.0f}) is told apart" in README
    assert min(p, holm("ixi-stroke", MEND, DISYRE)) > 0.05
    assert f"average by {lead('ixi-stroke', DISYRE, MEND, 'dice_average')}." in README
    assert holm("ixi-stroke", DISYRE, MEND, "dice_average") < 0.05


@pytest.mark.parametrize("data", DATA)
def test_networks_that_undo_anomalies_are_ahead_of_the_papers_and_chains_not_on_the_front(data: str) -> None:
    rows = BOARDS[data]
    papers = rows[rows["method"].isin(PAPERS)]
    for method in ("mend", "disyre", "reflect", "dae"):
        told_apart = papers[papers["method"] != "cddpm"] if (data, method) == TIE else papers
        ahead_of(data, method, told_apart)
    assert holm("soop-flair", DISYRE, CDDPM) > 0.05
    behind = {name: lead("soop-flair", FLOOR, name) for name in (DAE, REFLECT, DISYRE)}
    assert max(holm("soop-flair", FLOOR, name) for name in behind) < 0.05
    assert f"by {behind[DAE]} (DAE) to {behind[DISYRE]} (DISYRE)" in README
    points_of = {name: float(words.split()[0]) for name, words in behind.items()}
    assert points_of[DAE] < points_of[REFLECT] < points_of[DISYRE]
    assert set(rows[rows["method"].isin(["mend", "disyre", "reflect", "dae"])]["nfe"]) == {4, 8, 1}
    chains = rows[rows["nfe"] >= CHAIN_CALLS]
    assert len(chains) == 8
    assert "yes" not in set(chains["pareto"])


def test_two_kinds_of_dice_rank_two_methods_differently() -> None:
    rows = BOARDS["soop-flair"]
    rows = rows[rows["noise"].eq("simplex")].set_index(["method", "perceptual"])
    thor, rival = rows.loc[("thor", "lpips-squeeze")], rows.loc["anoddpm"].iloc[0]
    one, other = ((points(thor[score]), points(rival[score])) for score in ("dice_max", "dice_average"))
    text = " ".join((ROOT / "docs/protocol.md").read_text(encoding="utf-8").split())
    assert (
        f"told apart by `dice_max`, {one[0]} and {one[1]}, and by `dice_average` THOR leads, {other[0]} to {other[1]}"
        in text
    )
    pair = "soop-flair", THOR["lpips-squeeze"], "anoddpm-simplex-25"
    assert holm(*pair) > 0.05 > holm(*pair, "dice_average")


def test_what_is_found_at_a_threshold_from_healthy_slices() -> None:
    flair, t1w = (BOARDS[data].set_index("method")["dice_healthy_fpr5"] for data in DATA)
    floor = flair[BOARDS["soop-flair"].set_index("method")["kind"] == "floor"].max()
    mend, best, papers = points(flair["mend"]), points(floor), points(flair["cddpm"])
    told = f"Mend has {mend} on FLAIR, the best floor {best}, cDDPM {papers}; "
    own = BOARDS["ixi-stroke"]
    thor = own[own["method"].eq("thor") & own["noise"].eq("simplex")]["dice_healthy_fpr5"].max()
    assert f"{told}on T1w Mend has {points(t1w['mend'])}, THOR with simplex noise {points(thor)}." in README


def test_thor_leads_anoddpm_by_what_is_said() -> None:
    rival = "anoddpm-simplex-25"
    brain, lpips = (lead("ixi-stroke", THOR[net], rival) for net in ("brain-squeeze", "lpips-squeeze"))
    assert f"({brain} through `brain-squeeze`, {lpips} through ImageNet's LPIPS)" in README
    assert max(holm("ixi-stroke", thor, rival) for thor in THOR.values()) < 0.05
    few, many = (lead("soop-flair", THOR[net], rival) for net in ("lpips-squeeze", "brain-squeeze"))
    p = holm("soop-flair", THOR["lpips-squeeze"], rival)
    average = lead("soop-flair", THOR["lpips-squeeze"], rival, "dice_average")
    assert f"on FLAIR by {many} through `brain-squeeze`; through LPIPS {few} are not" in README
    assert f"confirmed (p {p:.2f}), {average} in the papers' average are." in README
    assert p > 0.05 > holm("soop-flair", THOR["lpips-squeeze"], rival, "dice_average")
    nets = pair_of("soop-flair", THOR["brain-squeeze"], THOR["lpips-squeeze"])[0]
    leads = pair_of("soop-flair", THOR["brain-squeeze"], rival)[0]
    assert abs(nets) > abs(leads) / 2
    nets, leads = (
        pair_of("soop-flair", THOR["brain-squeeze"], other, "dice_average")[0]
        for other in (THOR["lpips-squeeze"], rival)
    )
    assert abs(nets) < abs(leads) / 2
    page = " ".join((ROOT / "docs/methods/thor.md").read_text(encoding="utf-8").split())
    assert f"by {lpips} through `lpips-squeeze` and by {brain} through `brain-squeeze`" in page
    assert f"it does: {few}, not confirmed, and {many} (" in page


def test_simplex_noise_leads_gaussian_noise_and_thor_ddpm_by_what_is_said() -> None:
    gaussian = {net: name.replace("simplex", "gaussian") for net, name in THOR.items()}
    assert max(holm(data, THOR[net], gaussian[net]) for data in DATA for net in THOR) < 0.05
    t1w, flair = (
        lead(data, THOR["lpips-squeeze"], gaussian["lpips-squeeze"]) for data in ("ixi-stroke", "soop-flair")
    )
    assert f"on both ({t1w} on T1w, {flair} on FLAIR, through LPIPS)" in README
    other = lead("ixi-stroke", gaussian["lpips-squeeze"], "ddpm-gaussian-25")
    brain, lpips = (lead("soop-flair", gaussian[net], "ddpm-gaussian-25") for net in reversed(THOR))
    assert f"THOR leads DDPM on T1w by {other}; on FLAIR by {brain} through `brain-squeeze`" in README
    assert f"not at all through LPIPS ({lpips})" in README
    assert holm("soop-flair", gaussian["brain-squeeze"], "ddpm-gaussian-25") < 0.05


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ("soop-flair", "all 717 test cases, 617 with a lesion"),
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
        row = rows.loc[(*CALL, precision, batch)]
        return f"{row['speedup_vs_eager']:.2f} ({row['speedup_lo']:.2f}–{row['speedup_hi']:.2f})"

    assert f"One call on one image has {told('bf16', 1)} on OpenVINO in bf16" in README
    eight = max(("int8", "int8-bf16"), key=lambda one: rows.loc[(*CALL, one, 1), "speedup_vs_eager"])
    assert f"and {told(eight, 1)} in {eight} (8 bits" in README
    runs = rows.xs(("thor", "openvino"), level=("method", "backend"))["speedup_vs_eager"].droplevel("network")
    one, four = (f"{runs['bf16', batch]:.2f} and {runs[eight, batch]:.2f}" for batch in (1, 4))
    assert f"whole runs of THOR have {one}, in batches of four {four} (" in README
    shas = {json.loads(card.read_text())["sha256"] for card in (ROOT / "models").glob("*.json")}
    for name in ("profile", "profile-methods", "profile-large", "profile-rest", "profile-compile"):
        used = json.loads((RESULTS / name / "profile.json").read_text())
        assert {network["sha256"] for network in used["networks"].values()} <= shas


def test_what_several_callers_gain_is_what_the_profile_says() -> None:
    entries = json.loads((RESULTS / "profile" / "profile.json").read_text())["streams"]
    assert {entry["better"] for entry in entries} == {2}
    ratios = {(entry["network"], entry["backend"], entry["precision"]): entry["ratio"] for entry in entries}
    told = (
        f"{min(ratios.values()):.2f} to {max(ratios.values()):.2f} times the images a second of one with two"
    )
    own = f"unet-gaussian on OpenVINO in int8-bf16 {ratios['unet-gaussian', 'openvino', 'int8-bf16']:.2f}"
    assert (
        f"Two callers with a thread each finish {told}, on every arm (`{own.replace(' on', '` on', 1)};"
        in README
    )
