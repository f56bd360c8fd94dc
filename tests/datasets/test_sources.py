"""Where public data come from: addresses and steps that someone outside can follow."""

from __future__ import annotations

import re

import pytest

from uadbench.datasets.sources import SOURCES

LAYOUT = {
    "ixi-midaxial": ("ixi-midaxial/png/", "keep the skull"),
    "stroke-masks": ("stroke-masks/index.csv", "z = +20 mm"),
    "grazpedwri": ("dataset.csv", "folder_structure"),
    "soop-flair": ("images/", "masks/", "index.csv", "strip the skull", "z = +18 mm"),
}


@pytest.mark.parametrize("name", sorted(SOURCES))
def test_how_to_get_a_source_names_an_address_and_numbered_steps_to_its_layout(name: str) -> None:
    how = SOURCES[name].how
    assert re.search(r"https://[a-z0-9.-]+/\S+", how)
    assert re.findall(r"^    (\d)\. ", how, re.MULTILINE) == [str(k + 1) for k in range(how.count("\n"))]
    assert how.count("\n") >= 3
    for word in LAYOUT[name]:
        assert word in how
