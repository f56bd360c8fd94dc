"""What pages say of switches, seeds, calls, variances and shifts is what the committed sweeps and comparisons say."""

from __future__ import annotations

import pandas as pd
from method_tables import told_lead
from support.pages import page
from support.published import RESULTS, board, holm, lead, one, pair_of, paired, points

THOR, MORE, PROTOCOL, DDPM, CDDPM = (
    " ".join(page(name).split())
    for name in ("methods/thor.md", "results.md", "protocol.md", "methods/ddpm.md", "methods/cddpm.md")
)
SWITCHES = {"map_at": "every-50", "perceptual_norm": "twice", "renoise": "t"}


def test_each_switch_of_thor_has_its_effect_on_validation_lesions() -> None:
    data = "sweep-switches-ixi"
    plain = one(data, "thor")
    for name, value in SWITCHES.items():
        told = told_lead(pair_of(data, one(data, "thor", **{name: value}), plain))
        end = ", where it is 10 levels |" if name == "renoise" else " |"
        assert f'| `{name} = "{value}"` | {told}{end}' in THOR
    (lesions,), (subjects,) = set(board(data)["n_lesion"]), set(paired(data)["n_subjects"])
    assert f"`ixi-stroke`, {lesions} lesions of {subjects} subjects" in THOR


def test_what_the_switches_do_together() -> None:
    data = "sweep-switches-ixi"
    plain, both = one(data, "thor"), one(data, "thor", map_at="every-50", perceptual_norm="twice")
    assert f"help together ({lead(data, both, plain)})" in THOR
    assert holm(data, both, plain) < 0.05
    maps, norm = {"map_at": "every-50"}, {"perceptual_norm": "twice"}
    pairs = [
        (data, one(data, "thor", **others), one(data, "thor", **others, renoise="t"))
        for others in ({}, maps, norm, maps | norm)
    ]
    costs = [lead(*pair).split()[0] for pair in pairs]
    assert f'`renoise = "t"` costs {min(costs)} to {max(costs)} in every combination, all confirmed' in THOR
    assert all(holm(*pair) < 0.05 for pair in pairs)


def test_on_flair_no_switch_is_told_apart() -> None:
    data = "sweep-switches-soop"
    rows, first = board(data), one(data, "thor")
    names = rows.loc[rows["method"] == "thor", "name"]
    assert all(holm(data, name, first) > 0.05 for name in names if name != first)


def test_two_details_of_the_authors_are_confirmed_on_test_lesions() -> None:
    data, floor = "practice-ixi", "zscore-none-0"
    plain, both = one(data, "thor"), one(data, "thor", map_at="every-50", perceptual_norm="twice")
    changed = [both, one(data, "thor", map_at="every-50"), one(data, "thor", perceptual_norm="twice")]
    assert all(holm(data, name, plain) < 0.05 for name in changed)
    rows = board(data).set_index("name")
    (lesions,) = set(rows["n_lesion"])
    assert (
        f"On the {lesions} test lesions of `ixi-stroke` the further maps and the doubled normalization are"
        in THOR
    )
    ahead, average = lead(data, both, floor), lead(data, both, floor, "dice_average")
    assert (
        f"THOR gains {lead(data, both, plain)} and is ahead of the z-score, the best floor of fixed" in THOR
    )
    assert f"width, by {ahead} in max Dice and by {average} in the papers' average" in THOR
    assert holm(data, both, floor) < 0.05 < holm(data, plain, floor)
    assert rows[rows["kind"] == "floor"]["dice_max"].idxmax() == floor


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
    (lesions,) = set(rows["n_lesion"])
    assert f"with simplex noise gave {low} to {high} on the {lesions} validation lesions" in THOR
    assert (
        f"moved max Dice by up to {max(moved.values(), key=float)} points on {lesions} validation" in PROTOCOL
    )
    data = "sweep-switches-ixi"
    smaller = lead(data, one(data, "thor"), one(data, "thor", renoise="t")).split()[0]
    assert (
        f"are smaller ({smaller} of `renoise`, {loss('AnoDDPM · simplex · 25 steps').split()[0]} of the"
        in MORE
    )
    assert float(smaller) < float(moved["thor"])


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
    (subjects,) = set(paired(data)["n_subjects"])
    assert f"though with {subjects} subjects differences of some points could hide" in MORE
    for _, of_method in rows.groupby(["method", "noise"]):
        names = list(of_method["name"])
        assert len(names) == 4
        assert all(holm(data, a, b) > 0.05 for i, a in enumerate(names) for b in names[:i])


def compared(name: str) -> pd.DataFrame:
    return pd.read_csv(RESULTS / name / "compared.csv").set_index(["variant_a", "measure"])


def loss(variant: str) -> str:
    """What the exact variance costs in max Dice; confirmed."""
    row = compared("chain-exact").loc[(variant, "dice_max")]
    assert row["p_holm"] < 0.05
    return f"{points(-row['difference'])} [{points(-row['hi'])}, {points(-row['lo'])}]"


def test_what_eta_and_the_exact_variance_do() -> None:
    without = compared("chain-eta-0")
    dice, auprc = (without.loc[("AnoDDPM · simplex · 25 steps", name)] for name in ("dice_max", "auprc"))
    gains = [f"{points(r['difference'])} [{points(r['lo'])}, {points(r['hi'])}]" for r in (auprc, dice)]
    assert f"AnoDDPM gains AUPRC ({gains[0]}); in max Dice {gains[1]} are not confirmed" in MORE
    assert auprc["p_holm"] < 0.05 < dice["p_holm"]
    assert without.loc["DDPM · gaussian · 25 steps", "p_holm"].gt(0.05).all()
    anoddpm, ddpm = (loss(f"{name} · 25 steps") for name in ("AnoDDPM · simplex", "DDPM · gaussian"))
    assert f"both lose, AnoDDPM {anoddpm} and DDPM {ddpm}: putting back" in MORE
    assert f"AnoDDPM {anoddpm} points of max Dice and DDPM {ddpm}." in DDPM


def test_cddpm_moves_least_under_shifts_and_starts_higher() -> None:
    rows = pd.read_csv(RESULTS / "shift" / "shifts.csv")
    rows = rows[rows["kind"] == "method"]
    assert f"On {set(rows['n']).pop()} healthy phantoms" in CDDPM
    wide = rows.pivot_table(index=["shift", "value"], columns="variant", values="kld_unclipped")
    told = [
        f"between {wide[name].min():.3f} and {wide[name].max():.3f}, {wide.loc[('gain', 1.0), name]:.3f} unshifted"
        for name in ("cDDPM · simplex", "DDPM · gaussian · 25 steps")
    ]
    assert f"cDDPM's lies {told[0]}, DDPM's {told[1]}." in CDDPM
    assert (wide.max() - wide.min()).idxmin() == "cDDPM · simplex"
    own = wide.pop("cDDPM · simplex")
    nearer, farther = own.lt(wide.min(axis=1)), own.gt(wide.max(axis=1))
    assert list(own[nearer].index) == [("contrast", 0.6), ("contrast", 0.8), ("gain", 0.8)]
    assert farther.eq(~nearer).all()
    errors = rows.pivot_table(index=["shift", "value"], columns="variant", values="mae")
    assert errors["cDDPM · simplex"].lt(errors["DDPM · gaussian · 25 steps"]).all()
