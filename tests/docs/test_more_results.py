"""What the page of further results says of its tables is what the committed runs say."""

from __future__ import annotations

import pandas as pd
from support.pages import page
from support.published import RESULTS, board, points

TEXT = " ".join(page("results.md").split())


def test_nothing_finds_the_lesions_of_mslubs_patient() -> None:
    volumes, rows = pd.read_csv(RESULTS / "mslub" / "volumes.csv"), board("mslub")
    ((lesions, pixels),) = volumes[["lesions", "lesion_voxels"]].drop_duplicates().to_numpy().tolist()
    assert f"{lesions} of them, {pixels} px in all at 128 x 128" in TEXT
    best = rows.loc[rows["dice_max"].idxmax()]
    assert best["method"] == "intensity"
    by_volume = volumes.set_index("variant")["dice"]
    assert by_volume.max() == by_volume["intensity"]
    network = rows[rows["kind"] != "floor"]["dice_max"].max()
    assert (
        f"has a Dice of {points(best['dice_max'])} over slices and of {points(by_volume.max())} by volume, the best "
        f"network {points(network)}." in TEXT
    )
