"""What pages say of switches, seeds, steps and levels is what the committed sweeps and comparisons say."""

from __future__ import annotations

import json
from typing import Any

import pandas as pd
from support.pages import page
from support.places import ROOT
from support.published import RESULTS, board, holm, lead, pair_of, points, with_interval

THOR, MEND, MORE, PROTOCOL = (
    " ".join(page(name).split())
    for name in ("methods/thor.md", "methods/mend.md", "results.md", "protocol.md")
)
README = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())


def one(data: str, method: str, **settings: Any) -> str:
    """The cell, as paired.csv names it, whose settings differ from the method's own in these and no others."""
    rows = board(data)
    rows = rows[rows["method"] == method]
    (name,) = rows.loc[[json.loads(text) == settings for text in rows["settings"]], "name"]
    return str(name)


def signed(told: str) -> str:
    return told if told.startswith("-") else f"+{told}"


SWITCHES = {"map_at": "every-50", "perceptual_norm": "twice", "renoise": "t"}


def test_each_switch_of_thor_has_its_effect_on_validation_lesions() -> None:
    data = "sweep-switches-ixi"
    plain = one(data, "thor")
    for name, value in SWITCHES.items():
        pair = data, one(data, "thor", **{name: value}), plain
        doubt = f", p {holm(*pair):.2g}" if holm(*pair) > 0.05 else ""
        assert f'| `{name} = "{value}"` | {signed(lead(*pair))}{doubt} |' in THOR
    (lesions,), (subjects,) = set(board(data)["n_lesion"]), {int(pair_of(*pair, "dice_max")[0]["n_subjects"])}
    assert f"`ixi-stroke`, {lesions} lesions of {subjects} subjects" in THOR


def test_what_the_switches_do_together() -> None:
    data = "sweep-switches-ixi"
    plain = one(data, "thor")
    both, every = one(data, "thor", map_at="every-50", perceptual_norm="twice"), one(data, "thor", **SWITCHES)
    assert f"help together ({lead(data, both, plain)})" in THOR
    assert holm(data, both, plain) < 0.05
    assert f"in the authors' code gain {lead(data, every, plain)}, not confirmed" in THOR
    assert holm(data, every, plain) > 0.05
    scores = board(data).set_index("name")["dice_max"]
    for others in (
        {},
        {"map_at": "every-50"},
        {"perceptual_norm": "twice"},
        {k: SWITCHES[k] for k in list(SWITCHES)[:2]},
    ):
        assert scores[one(data, "thor", **others, renoise="t")] < scores[one(data, "thor", **others)]
    flair = "sweep-switches-soop"
    rows = board(flair)
    names = rows.loc[rows["method"] == "thor", "name"]
    first = one(flair, "thor")
    assert all(holm(flair, name, first) > 0.05 for name in names if name != first)


def test_seeds_move_the_rows_by_what_is_told() -> None:
    rows = board("sweep-seeds")
    rows = rows[rows["n_seeds"] > 1]
    assert set(rows["n_seeds"]) == {3}
    span = rows.groupby("method")["dice_max"].agg(["min", "max"])
    moved = {name: points(row["max"] - row["min"]) for name, row in span.iterrows()}
    low, high = (points(span.loc["thor", end]) for end in ("min", "max"))
    assert (
        f"{moved['thor']} points with THOR ({low} to {high}), {moved['anoddpm']} with AnoDDPM, "
        f"{moved['cddpm']} with cDDPM and {moved['pddpm']} with pDDPM" in MORE
    )
    assert f"three seeds of THOR gave {low} to {high} on the same {rows['n_lesion'].iloc[0]} lesions" in THOR
    assert f"moved max Dice by up to {max(moved.values(), key=float)} points" in PROTOCOL


def test_no_number_of_calls_is_told_apart() -> None:
    data = "sweep-steps"
    rows = board(data)
    rows = rows[rows["kind"] == "method"]
    score = {(row.method, row.noise, row.steps): points(row.dice_max) for row in rows.itertuples()}

    def few_and_many(method: str, noise: str) -> str:
        return f"{score[method, noise, '5']} and {score[method, noise, '50']}"

    simplex = f"THOR has {few_and_many('thor', 'simplex')}, AnoDDPM {few_and_many('anoddpm', 'simplex')}"
    assert f"noise {simplex}; with Gaussian noise THOR has {few_and_many('thor', 'gaussian')}" in MORE
    assert f", DDPM {few_and_many('ddpm', 'gaussian')}. The tables keep 25" in MORE
    for _, of_method in rows.groupby(["method", "noise"]):
        names = list(of_method["name"])
        assert len(names) == 4
        assert all(holm(data, a, b) > 0.05 for i, a in enumerate(names) for b in names[:i])


def test_what_eta_and_the_exact_variance_do() -> None:
    read = (pd.read_csv(RESULTS / name / "compared.csv") for name in ("chain-eta-0", "chain-exact"))
    without, exact = (rows[rows["measure"].eq("dice_max")].set_index("variant_a") for rows in read)
    name = "AnoDDPM · simplex · 25 steps"
    row = without.loc[name]
    assert row["lo"] > 0
    assert f"not confirmed (p {row['p_holm']:.2f} over all rows" in MORE
    assert without.loc["DDPM · gaussian · 25 steps", "p_holm"] > 0.05 < row["p_holm"]
    row = exact.loc[name]
    lost = (
        f"{points(-row['difference'])} [{points(-row['hi'])}, {points(-row['lo'])}] (p {row['p_holm']:.3f})"
    )
    assert f"with the exact variance it loses {lost}" in MORE


def test_cddpm_is_nearer_under_darker_shifts_alone() -> None:
    rows = pd.read_csv(RESULTS / "shift" / "shifts.csv")
    rows = rows[rows["kind"] == "method"]
    told = " ".join(page("methods/cddpm.md").split())
    assert f"On {set(rows['n']).pop()} healthy phantoms" in told
    wide = rows.pivot_table(index=["shift", "value"], columns="variant", values="kld_unclipped")
    own = wide.pop("cDDPM · simplex")
    nearer, farther = own.lt(wide.min(axis=1)), own.gt(wide.max(axis=1))
    assert list(own[nearer].index) == [("contrast", 0.6), ("contrast", 0.8), ("gain", 0.8)]
    assert farther.eq(~nearer).all()
    assert "nearer than both for contrasts of 0.6 and 0.8 and a gain of 0.8" in told


BEFORE = ("ixi-stroke-simplex", "ixi-stroke-gaussian", "soop-flair-simplex", "soop-flair-gaussian")


def trained_longer(name: str, method: str) -> tuple[str, str, str]:
    """The run, the cell of the present network and that of the first."""
    noise, data = name.rpartition("-")[2], f"before-{name}"
    present, first = (one(data, method, checkpoint=f"unet-{noise}{end}") for end in ("", "-first"))
    return data, present, first


def test_what_longer_training_changed() -> None:
    pairs = {
        (name, method): trained_longer(name, method)
        for name in BEFORE
        for method in ("thor", "anoddpm" if name.endswith("simplex") else "ddpm")
    }
    simplex, anoddpm, gaussian, ddpm, *flair = (lead(*pair) for pair in pairs.values())
    t1w = f"{simplex} points of max Dice for THOR with simplex noise, {anoddpm} for AnoDDPM, {gaussian} and {ddpm} for"
    assert t1w in MORE
    assert all(holm(*pair) < 0.05 for (name, _), pair in pairs.items() if name.startswith("ixi"))
    assert f"of which DDPM's {flair[-1]} alone are confirmed" in MORE
    assert [holm(*pair) < 0.05 for (name, _), pair in pairs.items() if name.startswith("soop")] == [
        False,
        False,
        False,
        True,
    ]
    moved = {}
    for measure in ("dice_max", "dice_average"):
        values = [lead(*pair, measure).split()[0] for (n, _), pair in pairs.items() if n.startswith("soop")]
        moved[measure] = (min(values, key=float), max(values, key=float))
    (low, high), (low_average, high_average) = moved["dice_max"], moved["dice_average"]
    assert (
        f"the averages rise by {low_average} to {high_average}, all confirmed, max Dice by {low} to {high}"
        in MORE
    )
    assert (
        f"THOR with simplex noise gains {simplex} points on T1w, AnoDDPM {anoddpm}; on FLAIR neither gains"
        in README
    )
    thor, plain = (
        lead(*pairs[BEFORE[2], method], "dice_average").split()[0] for method in ("thor", "anoddpm")
    )
    assert f"in max Dice ({flair[0]} and {flair[1]}), {thor} and {plain} in the papers' average." in README
    soop = [pair for (name, _), pair in pairs.items() if name.startswith("soop")]
    assert all(holm(*pair, "dice_average") < 0.05 for pair in soop)


def best_of(data: str) -> float:
    rows = board(data)
    return float(rows.loc[rows["kind"] == "method", "dice_max"].max())


def test_the_authors_practice_is_confirmed_on_test_lesions() -> None:
    data = "practice-ixi"
    plain, every = one(data, "thor"), one(data, "thor", map_at="every-50", perceptual_norm="twice")
    changed = [every, one(data, "thor", map_at="every-50"), one(data, "thor", perceptual_norm="twice")]
    assert all(holm(data, name, plain) < 0.05 for name in changed)
    (lesions,) = set(board(data)["n_lesion"])
    assert f"On the {lesions} test lesions of `ixi-stroke` both are confirmed" in THOR
    floor = "zscore-none-0"
    ahead = (
        f"gains {lead(data, every, plain)} and is ahead of the z-score, the best floor of fixed width, by "
    )
    assert ahead + lead(data, every, floor) in THOR
    assert holm(data, every, floor) < 0.05 < holm(data, plain, floor)
    rows = board(data).set_index("name")
    assert rows[rows["kind"] == "floor"]["dice_max"].idxmax() == floor
    assert f"has {with_interval(rows.loc[every])} there. Mend has" in README
    best = {
        "soop-flair": best_of("level-soop-cddpm"),
        "ixi-stroke": max(map(best_of, ("level-ixi-cddpm", "level-ixi-anoddpm", data))),
    }
    mend = {name: board(name).set_index("method").loc["mend", "dice_max"] for name in best}
    flair, t1w = (f"{mend[name] / best[name]:.2f}" for name in best)
    assert f"Mend has {flair} and {t1w} times the best of these." in README
    assert f"Mend has {flair} and {t1w} times the max Dice of their best on the two sets" in MEND


def test_what_a_level_chosen_on_validation_lesions_changes() -> None:
    cddpm = {
        data: (f"level-{data}-cddpm", one(f"level-{data}-cddpm", "cddpm", t_test=[100]))
        for data in ("soop", "ixi")
    }
    plain = "level-ixi-anoddpm"
    low = one(plain, "anoddpm", t_start=50)
    soop, ixi = (lead(*low_level, one(low_level[0], "cddpm")) for low_level in cddpm.values())
    gained = f"cDDPM gains {soop} on FLAIR and {ixi} on T1w, AnoDDPM {lead(plain, low, one(plain, 'anoddpm'))} on T1w."
    assert gained in MORE
    of_cddpm = [with_interval(board(run).set_index("name").loc[name]) for run, name in cddpm.values()]
    of_low = with_interval(board(plain).set_index("name").loc[low])
    told = f"cDDPM has {of_cddpm[0]} on FLAIR and {of_cddpm[1]} on T1w, AnoDDPM {of_low} on T1w, ahead of THOR by its"
    assert told in README
    best = {"soop": "asymmetry-intensity-none-0", "ixi": "zscore-none-0"}
    for data, floor in best.items():
        run, name = cddpm[data]
        rows = board(run)
        assert rows[rows["kind"] == "floor"].set_index("name")["dice_max"].idxmax() == floor
        assert f"({lead(run, floor, name)}" in MORE
        assert holm(run, floor, name) > 0.05
    assert f"AnoDDPM is ahead of the z-score by {lead(plain, low, 'zscore-none-0')}." in MORE
    assert holm(plain, low, "zscore-none-0") < 0.05


def test_thor_beside_anoddpm_from_a_low_level() -> None:
    rows = {}
    for name in ("thor", "thor-practice"):
        frame = pd.read_csv(RESULTS / "level-ixi-anoddpm" / f"{name}.csv").set_index("measure")
        rows[name] = frame.loc["dice_max"]
    behind, even = rows["thor"], rows["thor-practice"]
    told = f"{points(-behind['difference'])} [{points(-behind['hi'])}, {points(-behind['lo'])}] on T1w, through LPIPS"
    assert told in MORE
    assert behind["p_holm"] < 0.05 < even["p_holm"]
    assert f"({points(even['difference'])} [{points(even['lo'])}, {points(even['hi'])}] for THOR;" in MORE
