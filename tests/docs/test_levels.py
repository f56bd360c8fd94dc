"""What pages say of chosen levels, of every level and of longer training is what the committed runs say."""

from __future__ import annotations

import pandas as pd
from support.pages import page
from support.places import ROOT
from support.published import RESULTS, board, holm, lead, one, points, with_interval

MEND, MORE = (" ".join(page(name).split()) for name in ("methods/mend.md", "results.md"))
README = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
LOW = {
    "level-soop-cddpm": ("cddpm", {"t_test": [100]}),
    "level-ixi-cddpm": ("cddpm", {"t_test": [100]}),
    "level-ixi-anoddpm": ("anoddpm", {"t_start": 50}),
}
CHAINS = {
    "thor-gaussian": "-lpips-squeeze",
    "ddpm-gaussian": "",
    "autoddpm-gaussian": "-lpips-squeeze",
    "thor-simplex": "-lpips-squeeze",
    "anoddpm-simplex": "",
}
BEFORE = ("ixi-stroke-simplex", "ixi-stroke-gaussian", "soop-flair-simplex", "soop-flair-gaussian")


def low_and_published(data: str) -> tuple[str, str]:
    method, settings = LOW[data]
    return one(data, method, **settings), one(data, method)


def test_what_a_level_chosen_on_validation_lesions_gains() -> None:
    gained = [lead(data, *low_and_published(data)) for data in LOW]
    assert f"cDDPM gains {gained[0]} on FLAIR and {gained[1]} on T1w, AnoDDPM {gained[2]} on T1w" in MORE
    assert all(holm(data, *low_and_published(data)) < 0.05 for data in LOW)
    scores = [with_interval(board(data).set_index("name").loc[low_and_published(data)[0]]) for data in LOW]
    assert f"cDDPM has {scores[0]} on FLAIR and {scores[1]} on T1w, AnoDDPM {scores[2]} on T1w: " in README
    assert f"on T1w: {gained[0]}, {gained[1]} and {gained[2]} more." in README
    assert f"cDDPM has {scores[0].split()[0]} there, more than all of these but Mend" in README
    others = board("soop-flair").set_index("method").loc[["disyre", "reflect", "dae"], "dice_max"]
    assert float(scores[0].split()[0]) > 100 * others.max()


def test_lower_levels_of_cddpm_were_much_alike() -> None:
    spans = []
    for data in ("sweep-low-ixi-cddpm", "sweep-low-soop-cddpm"):
        rows = board(data)
        few = rows[rows["settings"].isin([f'{{"t_test": [{level}]}}' for level in (25, 50, 75, 100)])][
            "dice_max"
        ]
        assert len(few) == 4
        spans.append(f"{points(few.min())} to {points(few.max())}")
    assert f"{spans[0]}, and {spans[1]}." in MORE


def test_low_levels_against_the_best_floors_of_fixed_width() -> None:
    best = {"level-soop-cddpm": "asymmetry-intensity-none-0"} | dict.fromkeys(list(LOW)[1:], "zscore-none-0")
    for data, floor in best.items():
        rows = board(data).set_index("name")
        assert rows[rows["kind"] == "floor"]["dice_max"].idxmax() == floor
    flair, t1w, anoddpm = ((data, floor, low_and_published(data)[0]) for data, floor in best.items())
    told = f"asymmetry x intensity on FLAIR ({lead(*flair)} for the floor), z-score on T1w ({lead(*t1w)});"
    assert told in MORE
    assert min(holm(*flair), holm(*t1w)) > 0.05
    intensity = flair[0], "intensity-none-0", flair[2]
    behind = [lead(*pair, "dice_average") for pair in (t1w, intensity)]
    assert f"behind the z-score there by {behind[0]}, and on FLAIR behind intensity by {behind[1]}." in MORE
    assert max(holm(*pair, "dice_average") for pair in (t1w, intensity)) < 0.05
    data, floor, low = anoddpm
    ahead, average = lead(data, low, floor), lead(data, low, floor, "dice_average")
    assert f"AnoDDPM is ahead of the z-score by {ahead}, in the average not ({average})." in MORE
    assert holm(*anoddpm) < 0.05


def against_thor(name: str, measure: str) -> pd.Series:
    return pd.read_csv(RESULTS / "level-ixi-anoddpm" / f"{name}.csv").set_index("measure").loc[measure]


def turned(row: pd.Series) -> str:
    return f"{points(-row['difference'])} [{points(-row['hi'])}, {points(-row['lo'])}]"


def test_thor_beside_anoddpm_from_a_low_level() -> None:
    dice, average = (against_thor("thor", name) for name in ("dice_max", "dice_average"))
    assert f"{turned(dice)} on T1w in max Dice, in the average not told apart ({turned(average)})" in MORE
    assert dice["p_holm"] < 0.05 < average["p_holm"]
    assert f"at its published level, by {turned(dice)}." in README
    even = against_thor("thor-practice", "dice_max")
    assert even["p_holm"] > 0.05
    assert f"({points(even['difference'])} [{points(even['lo'])}, {points(even['hi'])}] for THOR;" in MORE
    rows = board("sweep-fig4")
    averages = rows[rows["method"].eq("thor") & rows["noise"].eq("simplex")].set_index("settings")[
        "dice_average"
    ]
    low, published = (points(averages[text]) for text in ('{"t_start": 100}', "{}"))
    assert f"its average is {low} from 100 and {published} from 250" in MORE


def test_mend_against_the_best_of_these() -> None:
    data = "practice-ixi"
    rows = board(data).set_index("name")
    plain, both = one(data, "thor"), one(data, "thor", map_at="every-50", perceptual_norm="twice")
    assert f"THOR gains {lead(data, both, plain)} there and has {with_interval(rows.loc[both])}." in README

    def best_of(*names: str) -> float:
        found = pd.concat(board(name) for name in names)
        return float(found.loc[found["kind"] == "method", "dice_max"].max())

    best = {
        "soop-flair": best_of("level-soop-cddpm"),
        "ixi-stroke": best_of("level-ixi-cddpm", "level-ixi-anoddpm", data),
    }
    mend = {name: board(name).set_index("method").loc["mend", "dice_max"] for name in best}
    flair, t1w = (mend[name] / best[name] for name in best)
    assert max(flair, t1w) < 2
    assert (
        f"Mend has {flair:.2f} times the max Dice on FLAIR, where cDDPM alone was tried, and {t1w:.2f}"
        in README
    )
    assert (
        f"Mend has {flair:.2f} times on `soop-flair`, where cDDPM alone was tried, and {t1w:.2f} times"
        in MEND
    )


def test_with_every_level_no_method_is_told_apart_from_its_25_calls() -> None:
    for data in ("soop-flair", "ixi-stroke", "phantom"):
        name = f"paper-{data}"
        rows = board(name)
        (cases,), (lesions,) = set(rows["n_cases"]), set(rows["n_lesion"])
        assert f"`{data}`, {lesions} lesions" in MORE
        assert f"the first {cases} test cases of each set" in MORE
        chains = rows[rows["steps"].isin(["25", "paper"]) & rows["kind"].eq("method")]
        pairs = [tuple(of["name"]) for _, of in chains.groupby(["method", "noise"])]
        assert len(pairs) == 5
        assert all(
            holm(name, a, b, measure) > 0.05 for a, b in pairs for measure in ("dice_max", "dice_average")
        )
    assert (
        "no method is told apart](docs/results.md#every-level-as-the-papers-do) from its 25 calls" in README
    )


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
    confirmed = [holm(*pair) < 0.05 for pair in pairs.values()]
    assert confirmed == [True, True, True, True, False, False, False, True]
    assert f"of which DDPM's {flair[-1]} alone are confirmed" in MORE
    on_flair = [pair for (name, _), pair in pairs.items() if name.startswith("soop")]
    spans = []
    for measure in ("dice_max", "dice_average"):
        values = [lead(*pair, measure).split()[0] for pair in on_flair]
        spans.append(f"{min(values, key=float)} to {max(values, key=float)}")
    assert f"the averages rise by {spans[1]}, all confirmed, max Dice by {spans[0]}, of which" in MORE
    assert all(holm(*pair, "dice_average") < 0.05 for pair in on_flair)
    assert f"THOR with simplex noise gains {simplex} points on T1w, AnoDDPM {anoddpm}; on FLAIR no" in README
    averages = [lead(*pair, "dice_average") for pair in on_flair[:2]]
    assert (
        f"({flair[0]} and {flair[1]}), {averages[0]} and {averages[1]} are in the papers' average." in README
    )
    lesions = [set(board(f"before-{name}")["n_lesion"]).pop() for name in (BEFORE[0], BEFORE[2])]
    assert f"({lesions[0]} and {lesions[1]} lesions)" in README
