"""The leaderboard for a terminal and for GitHub."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pandas as pd
import pytest
from rich.console import Console
from support.files import edit
from support.runs import CELLS, make_run

from uadbench.reports.identity import variant_of
from uadbench.reports.leaderboard import rows, terminal_table, write_reports
from uadbench.reports.rows import rows_of
from uadbench.reports.runs import load_run
from uadbench.reports.store import RunDirectory
from uadbench.reports.text import markdown


def test_cases_of_another_fingerprint_get_their_own_table(run: Path, tmp_path: Path) -> None:
    """Two runs of one data set over different cases never share a best value."""
    other = make_run(tmp_path / "b", run_id="b", n_lesion=3, n_healthy=1, dataset={"fingerprint": "00" * 32})
    loaded = [load_run(run), load_run(other)]
    text = markdown(loaded, rows_of(loaded))
    assert text.count("| method | back end |") == 2


@pytest.mark.parametrize("made", ["semi-synthetic", "synthetic", ""])
def test_made_data_is_called_so(tmp_path: Path, made: str) -> None:
    """The origin in the run's record stands beside the figures; real data have none."""
    dataset = {"title": "Slices", "origin": made}
    path = make_run(tmp_path / "run", cells=CELLS[:1], dataset=dataset, n_lesion=2, n_healthy=1)
    loaded = [load_run(path)]
    assert f"## Slices{f' ({made})' if made else ''}\n" in markdown(loaded, rows_of(loaded))


def test_the_markdown_carries_origin_caveats_floors_and_published_rows(tmp_path: Path) -> None:
    """What must stand beside the figures does."""
    caveats = ["Semi-synthetic: intensities are simulated."]
    dataset = {
        "name": "ixi-stroke",
        "title": "IXI with stroke shapes",
        "origin": "semi-synthetic",
        "caveats": caveats,
    }
    loaded = [load_run(make_run(tmp_path / "run", dataset=dataset, n_lesion=4, n_healthy=2))]
    text = markdown(loaded, rows_of(loaded))
    for part in (
        "## IXI with stroke shapes (semi-synthetic)",
        caveats[0],
        "floors: no network",
        "DDPM · gaussian · 25 steps ▼",
        "Not comparable",
        "29.74",
        "Test CPU",
        "brain-squeeze",
        "No speed-up for thor-gaussian-25-openvino-bf16: parity fail",
    ):
        assert part in text


def test_markdown_from_users_cannot_break_the_table_or_become_markup(tmp_path: Path) -> None:
    """Pipes, line ends, HTML and links in titles and method names stay text."""
    evil = "a|b\n<img src=x onerror=alert(1)> [x](http://example.org) `c`"
    dataset = {"title": evil, "caveats": [evil]}
    path = make_run(tmp_path / "run", dataset=dataset, n_lesion=3, n_healthy=1, cells=CELLS[:1])
    edit(path / "cells" / "thor-gaussian-25-torch-fp32" / "cell.json", title=evil)
    write_reports([path], tmp_path)
    lines = (tmp_path / "leaderboard.md").read_text().splitlines()
    row = next(line for line in lines if line.startswith("| a"))
    assert row.replace("\\|", "").count("|") == lines[lines.index(row) - 1].count("|")
    assert not any("<img" in line or "[x](" in line for line in lines)


@pytest.mark.parametrize(
    "cells",
    [
        pytest.param(CELLS, id="back ends"),
        pytest.param(CELLS[::2], id="fewer"),
        pytest.param(CELLS[:1] + CELLS[3:5] + CELLS[-4:], id="one back end"),
    ],
)
def test_the_terminal_table_fits_80_columns_without_cutting_figures(tmp_path: Path, cells: tuple) -> None:
    """No line is longer than 80 columns, no cell is cut to an ellipsis, markup in names stays text."""
    path = make_run(tmp_path / "run", cells=cells, dataset={"name": "[red]x[/red]"}, n_lesion=3, n_healthy=1)
    buffer = io.StringIO()
    Console(file=buffer, width=80, color_system=None).print(terminal_table(rows([path])))
    text = buffer.getvalue()
    assert max(map(len, text.splitlines())) <= 80
    assert "…" not in text
    assert "[red]x[/red]" in text
    assert len(re.findall(r"\d\.\d\d×", text)) == int(rows([path])["speedup"].notna().sum())
    assert "41.2" in text
    assert "37.7–44.7" in text
    assert "avg." in text
    assert "NFE" in text
    assert ("AUROC" in text) is (len({cell[3] for cell in cells}) == 1)


def test_the_markdown_tells_load_timed_batches_measures_and_failures(tmp_path: Path) -> None:
    """What the page says of the figures, the Markdown says too; a quiet machine is not accused."""
    path = make_run(tmp_path / "run", cells=CELLS[:3], n_lesion=3, n_healthy=1)
    quiet = markdown([load_run(path)], rows([path]))
    assert "Load reached" not in quiet
    edit(path / "cells" / "thor-gaussian-25-openvino-bf16" / "latency.json", load_max=2.5, n=7)
    text = markdown([load_run(path)], rows([path]))
    for part in (
        "* Load reached 2.5 with 2 threads: something else was running, do not trust the latencies of "
        "thor-gaussian-25-openvino-bf16.",
        "7 batches of 8 images (thor-gaussian-25-openvino-bf16); 4 batches of 8 images (",
        "* **Average Dice**: ",
        "above 570 px",
        "* failed: sub-001: image is constant",
        "* excluded: 2 cases: lesion of 3 px or fewer (all 3 cells)",
    ):
        assert part in text, part


def test_where_batches_ran_at_a_time_there_is_throughput_and_no_latency_or_speed_up(tmp_path: Path) -> None:
    path = make_run(tmp_path / "run", cells=CELLS[:3], n_lesion=3, n_healthy=1)
    usual = rows([path])
    assert not {"streams", "images_per_s"} & set(usual.columns)
    slug = "thor-gaussian-25-openvino-bf16"
    edit(path / "cells" / slug / "latency.json", streams=2, images_per_s=12.345)
    frame = rows([path]).set_index("cell")
    assert (frame.loc[slug, "streams"], frame.loc[slug, "images_per_s"]) == (2, 12.345)
    for name in ("latency_ms_p50", "latency_ms_p90", "network_ms_p50", "speedup", "timed_batches"):
        assert pd.isna(frame.loc[slug, name]), name
    assert frame.loc[slug, "speedup_note"] == "2 batches ran at a time: images_per_s says what that gave"
    edit(path / "cells" / slug / "latency.json", streams=2, images_per_s=None)
    assert f"no latency: {slug} not measured, too few batches." in markdown([load_run(path)], rows([path]))
    edit(path / "cells" / slug / "latency.json", streams=2, images_per_s=12.345)
    others = frame.drop(index=slug)
    assert (
        others["latency_ms_p50"].tolist()
        == usual.set_index("cell").loc[others.index, "latency_ms_p50"].tolist()
    )
    text = markdown([load_run(path)], rows([path]))
    assert (
        f"2 batches ran at a time, so there is throughput, in images a second, and no latency: {slug} 12.3"
        in text
    )


def test_a_part_of_the_test_split_is_said_above_the_figures(tmp_path: Path) -> None:
    dataset = {"n_test": 3, "n_test_all": 617}
    path = make_run(tmp_path / "run", cells=CELLS[:1], dataset=dataset, n_lesion=2, n_healthy=1)
    loaded = [load_run(path)]
    assert "**Subset: 3 of 617 test cases: figures of a part are no results.**" in markdown(
        loaded, rows_of(loaded)
    )
    buffer = io.StringIO()
    Console(file=buffer, width=80, color_system=None).print(terminal_table(rows_of(loaded)))
    assert "subset: 3 of 617 test cases" in " ".join(buffer.getvalue().split())


def test_what_does_not_apply_is_said_once_with_its_reason(tmp_path: Path) -> None:
    path = make_run(
        tmp_path / "run", cells=CELLS[-2:], n_lesion=2, n_healthy=1, not_applicable={"blur": "no median here"}
    )
    loaded = [load_run(path)]
    assert markdown(loaded, rows_of(loaded)).count("* Not applicable: blur: no median here.") == 1


def test_a_method_of_which_every_case_failed_is_a_row_of_dashes_and_the_others_are_whole(
    tmp_path: Path,
) -> None:
    path = make_run(tmp_path / "run", cells=CELLS[3:5], n_lesion=2, n_healthy=1, dead=("ddpm",))
    loaded = [load_run(path)]
    lines = markdown(loaded, rows_of(loaded)).splitlines()
    dead = next(line for line in lines if line.startswith("| DDPM"))
    assert dead.split(" | ")[2:8] == ["–"] * 6
    assert any(line.startswith("| THOR") and "44.1" in line for line in lines)


def test_what_validation_lesions_decided_is_said_in_both_reports(tmp_path: Path) -> None:
    path = make_run(tmp_path / "run", cells=CELLS[:2], n_lesion=2, n_healthy=1)
    cell = RunDirectory(path).cell("-".join(CELLS[0][:5]))
    record = {
        "threshold": 0.0887,
        "recall": 0.9,
        "share_of_image": 0.4876,
        "n_cases": 20,
        "arm": "torch fp32",
    }
    cell.write_info({**cell.info, "fitted": record})
    _, text, html = (file.read_text() for file in write_reports([path], path))
    label = variant_of(cell.info).label
    told = f"Fitted on 20 validation lesions: {label}: recall 0.9, share of image 0.488, threshold 0.0887."
    assert told in text
    assert told in html
    assert text.count("Fitted on") == html.count("Fitted on") == 1


def test_why_post_processed_cells_have_no_score_at_a_fitted_threshold_is_said_in_both_reports(
    tmp_path: Path,
) -> None:
    path = make_run(tmp_path / "run", cells=CELLS[:2], n_lesion=2, n_healthy=1)
    plain = [file.read_text() for file in write_reports([path], path)]
    assert not any("fitted threshold" in text for text in plain)
    cell = RunDirectory(path).cell("-".join(CELLS[0][:5]))
    why = "the data set has no validation lesion"
    cell.write_info({**cell.info, "post": "behrendt", "operating": {"fallback": why, "component_px": 7}})
    _, text, html = (file.read_text() for file in write_reports([path], path))
    for report in (text, html):
        assert f"No score at a fitted threshold: {why} ({cell.path.name})." in report
        assert "post behrendt" in report
