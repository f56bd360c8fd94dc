"""What the page of further results says of its tables is what the committed runs say."""

from __future__ import annotations

import pandas as pd
from support.pages import page
from support.places import ROOT
from support.published import RESULTS, board, holm, lead, paired, points

TEXT = " ".join(page("results.md").split())
README = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())


def test_nothing_finds_the_lesions_of_mslubs_patient() -> None:
    volumes, rows = pd.read_csv(RESULTS / "mslub" / "volumes.csv"), board("mslub")
    ((lesions, pixels),) = volumes[["lesions", "lesion_voxels"]].drop_duplicates().to_numpy().tolist()
    assert f"{lesions} of them, {pixels} px in all at 128 x 128" in TEXT
    best = rows.loc[rows["dice_max"].idxmax()]
    assert best["method"] == "intensity"
    by_volume = volumes.set_index("variant")["dice"]
    assert by_volume.max() == by_volume["intensity"]
    network = rows[rows["kind"] != "floor"]["dice_max"].max()
    of_volume = by_volume[volumes.set_index("variant")["kind"] != "floor"].max()
    assert (
        f"has a Dice of {points(best['dice_max'])} over slices and of {points(by_volume.max())} by volume, the best "
        f"network {points(network)} and {points(of_volume)}." in TEXT
    )
    assert f"| **Mend** | {points(network)} | " in page("results.md")  # one patient has no interval


def levels(data: str, method: str, noise: str, name: str) -> pd.DataFrame:
    """Of a sweep: what was varied, max Dice and the cell as paired.csv names it, in the order of levels."""
    rows = pd.read_csv(RESULTS / data / "sweep.csv", dtype={name: str}).merge(
        board(data)[["variant", "cell", "noise"]], on="variant", suffixes=("_varied", "")
    )
    rows = rows[rows["method"].eq(method) & rows["noise"].eq(noise)]
    cells = rows["cell"].str.removesuffix("-openvino-bf16")
    return rows.assign(cell=cells).set_index(name)[["dice_max", "cell"]]


def test_a_plain_chain_of_simplex_noise_and_thor_over_their_levels() -> None:
    data = "sweep-fig4"
    plain, thor = (levels(data, method, "simplex", "t_start") for method in ("ddpm", "thor"))
    low, published = (points(plain.loc[level, "dice_max"]) for level in ("50", "250"))
    assert f"{low} from level 50, {published} from the 250 of AnoDDPM" in TEXT
    own = points(thor.loc["250", "dice_max"])
    levels_told = f"has {low} from level 50 and {published} from the 250 of AnoDDPM, THOR's {own} from there"
    assert levels_told in README
    order = plain.sort_index(key=lambda index: index.astype(int))["dice_max"]
    assert order.is_monotonic_decreasing
    kept = thor.loc[["100", "150", "200", "250", "300", "350"], "dice_max"]
    assert f"THOR has {points(kept.min())} to {points(kept.max())} from 100 to 350" in TEXT
    harmonized, chain = thor.loc["250", "cell"], plain.loc["250", "cell"]
    assert f"at 250 {lead(data, harmonized, chain)} more than the plain chain" in TEXT
    low_chain = plain.loc["50", "cell"]
    assert f"({lead(data, low_chain, harmonized)} for the chain)" in TEXT
    assert holm(data, low_chain, harmonized) > 0.05
    n_pairs = len(board(data)) * (len(board(data)) - 1) // 2
    (subjects,) = set(paired(data)["n_subjects"])
    assert (
        f"with {n_pairs} pairs and {subjects} subjects no p is below {paired(data)['p_holm'].min():.3f}"
        in TEXT
    )
    spans = (levels(data, method, "gaussian", "t_start")["dice_max"] for method in ("thor", "ddpm"))
    with_thor, without = (f"{points(span.min())} to {points(span.max())}" for span in spans)
    assert f"no level helps: {with_thor} with THOR, {without} without" in TEXT


def test_cddpm_at_a_low_level_leads_its_published_mean_of_three() -> None:
    told = []
    for data in ("sweep-fig5-ixi", "sweep-fig5-soop"):
        rows = levels(data, "cddpm", "simplex", "t_test")
        single = rows.drop(index="250,500,750")["dice_max"]
        assert single.idxmax() == "100"
        pair = data, rows.loc["100", "cell"], rows.loc["250,500,750", "cell"]
        told.append(lead(*pair))
        assert f"{holm(*pair):.3f}" == "0.020"
    assert f"by {told[0]} on `ixi-stroke` and by {told[1]} on `soop-flair`" in TEXT
    assert f"published mean of three by {told[1]}." in README
    assert {tuple(row) for row in board("sweep-fig4")[["n_cases", "n_lesion"]].to_numpy().tolist()} == {
        (49, 42)
    }


def test_what_is_said_of_phantoms_is_what_the_pairs_say() -> None:
    data, mend, thor = "phantom", "mend-none-0", "thor-simplex-25-brain-squeeze"
    reflect, disyre = (lead(data, name, mend) for name in ("reflect-none-1", "disyre-none-2"))
    assert f"ahead of Mend, by {reflect} and {disyre}." in TEXT
    assert max(holm(data, name, mend) for name in ("reflect-none-1", "disyre-none-2")) < 0.05
    few, rival = "thor-simplex-25-lpips-squeeze", "anoddpm-simplex-25"
    assert f"leads AnoDDPM by {lead(data, thor, rival)} through `brain-squeeze`" in TEXT
    assert (
        f"through LPIPS {lead(data, few, rival)} are not confirmed (p {holm(data, few, rival):.2f})" in TEXT
    )
    rows = board(data)
    assert rows[rows["kind"].eq("floor")].set_index("method")["dice_max"].idxmax() == "asymmetry-fitted"
    assert f"not told apart ({lead(data, thor, 'asymmetry-fitted-none-0')})" in TEXT
    assert holm(data, few, rival) > 0.05 > holm(data, thor, rival)
