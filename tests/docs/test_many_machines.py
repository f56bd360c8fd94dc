"""The page on many machines: its estimates are written by its script, from measured rows alone."""

from __future__ import annotations

import pytest
from cluster_estimates import CASES, cells, fill, table
from support.pages import fenced, page
from support.published import RESULTS

from uadbench.bench.plan.estimate import Row, read_profile

ROW = Row("unet-gaussian", "-", "-", "torch", "fp32", "cpu", 4, 2, 36.0, True)


def test_a_method_that_was_measured_has_hours_and_one_that_was_not_has_none() -> None:
    lines = {
        line.split(" | ")[0].removeprefix("| "): line for line in table([ROW], "torch:fp32").splitlines()
    }
    assert len(lines) == 2 + len(cells("torch:fp32")) + 2
    # 25 calls of 36 ms, 0.9 s an image: 20327 radiographs take 5.08 h
    assert (
        "| 25 | 900 | 0.164 h | 30.9 h | 48.5 h | 5.08 h | unet-gaussian"
        in lines["DDPM · gaussian · 25 steps"]
    )
    assert "taken under load" in lines["DDPM · gaussian · 25 steps"]
    assert lines["AnoDDPM · simplex · 25 steps"].count("–") == 1 + len(CASES)
    assert "not measured" in lines["AnoDDPM · simplex · 25 steps"]


def test_the_pages_table_is_of_the_published_profile() -> None:
    text = page("many-machines.md")
    assert fill(text, table(read_profile(RESULTS / "profile-methods"), "torch:fp32")) == text
    assert "| not measured |" not in text


def test_the_table_takes_the_place_between_its_marks() -> None:
    filled = fill(page("many-machines.md"), "| a |\n")
    assert "<!-- estimates -->\n| a |\n<!-- /estimates -->" in filled
    with pytest.raises(ValueError, match="has no <!-- estimates -->"):
        fill("nothing", "")


def test_the_array_of_the_page_gives_each_task_its_shard_and_folder() -> None:
    script = next(block for block in fenced(page("many-machines.md"), "bash") if "#SBATCH" in block)
    assert '--shard "$SLURM_ARRAY_TASK_ID/$SLURM_ARRAY_TASK_COUNT"' in script
    assert "--array=1-16" in script
