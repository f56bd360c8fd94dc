"""A profile as CSV, times.json, Markdown and page."""

from __future__ import annotations

import csv
import io
import re
from typing import Any

import pytest
from support.profiled import made_profile, made_row

from uadbench.reports.page.profile import profile_page
from uadbench.reports.profile import banner, markdown, notes, table_rows
from uadbench.reports.profile_files import COLUMNS, csv_text, timings

SPEEDUP = {"value": 2.0, "lo": 1.9, "hi": 2.1}
ROWS = [
    made_row(),
    made_row(
        [5.0] * 12, backend="openvino", parity="pass", parity_error=4e-7, speedup=SPEEDUP, speedup_note=""
    ),
    made_row([40.0] * 12, batch=4, share_of_ceiling=1.25),
]
METHOD = made_row(
    [300.0] * 12,
    method="thor",
    label="THOR · <b>25 steps</b>",
    nfe=25,
    stages_ms={
        "network": 280.0,
        "update": 2.0,
        "noise": 3.0,
        "perceptual": 10.0,
        "morphology": 4.0,
        "other": 1.0,
    },
)


def test_the_csv_has_every_column_and_a_line_a_row() -> None:
    found = list(csv.DictReader(io.StringIO(csv_text(made_profile([*ROWS, METHOD])))))
    assert tuple(found[0]) == COLUMNS
    assert [(row["backend"], row["batch"], row["method"]) for row in found] == [
        ("torch", "1", "-"),
        ("openvino", "1", "-"),
        ("torch", "4", "-"),
        ("torch", "1", "thor"),
    ]
    assert (found[1]["speedup_vs_eager"], found[1]["speedup_lo"]) == ("2.0", "1.9")
    assert (found[2]["network_ms_p50"], found[2]["image_ms_p50"]) == ("40.0", "10.0")
    assert found[0]["image_ms_p90"] == ""  # 12 calls allow none
    assert found[0]["stability"] == "stable"


@pytest.mark.parametrize(
    "name",
    [
        "network",
        "method",
        "backend",
        "precision",
        "batch",
        "network_ms_p50",
        "image_ms_p50",
        "images_per_s",
        "speedup_vs_eager",
        "parity",
        "gflops",
        "share_of_ceiling",
        "gb_per_s",
        "share_of_copy",
        "first_call_ms",
        "peak_mib",
    ],
)
def test_the_csv_keeps_the_columns_that_others_script_against(name: str) -> None:
    assert name in COLUMNS


def test_times_are_a_record_a_call_in_the_order_they_were_taken() -> None:
    found = timings(made_profile(ROWS[:2]))
    assert len(found) == 24
    assert found[0]["startMs"] == 0.0
    starts = [record["startMs"] for record in found]
    assert starts == sorted(starts)
    assert all(record["endMs"] == pytest.approx(record["startMs"] + record["latencyMs"]) for record in found)
    assert {record["backend"] for record in found[:2]} == {"torch", "openvino"}


def test_a_share_above_the_ceiling_is_explained() -> None:
    assert not [note for note in notes(made_profile(ROWS[:2])) if "above 100 %" in note]
    assert [note for note in notes(made_profile(ROWS)) if "faster here than torch's" in note]


def test_what_makes_times_worthless_stands_above_them() -> None:
    assert banner(made_profile()) == []
    (text,) = banner(made_profile([made_row(under_load=True, load_max=3.25)]))
    assert "3.2 with 2 threads" in text
    (text,) = banner(made_profile(finished=None))
    assert text.startswith("Unfinished")


def test_a_failed_row_and_a_back_end_left_out_are_named_with_the_reason() -> None:
    failed = {**made_row(status="failed", reason="boom", backend="openvino"), "raw": []}
    found = notes(made_profile([made_row(), failed], left_out={"tensorrt fp32": "no driver"}))
    assert "unet-gaussian, openvino fp32, batch 1: failed: boom" in found
    assert "Left out: tensorrt fp32: no driver" in found


def test_threads_that_waited_are_named() -> None:
    assert [
        note for note in notes(made_profile([made_row(cpu_use=0.31), made_row()])) if "batch 1 (31%)" in note
    ]


def test_a_commit_with_changes_on_top_is_not_taken_for_the_commit() -> None:
    clean, dirty = (
        markdown(made_profile(git={"commit": "a" * 40, "dirty": dirty})) for dirty in (False, True)
    )
    assert "commit aaaaaaaaaaaa\n" in clean
    assert "commit aaaaaaaaaaaa with uncommitted changes\n" in dirty


def stream(**changes: Any) -> dict[str, Any]:
    place = {"network": "n", "backend": "openvino", "precision": "fp32", "device": "cpu", "batch": 1}
    return {**place, "streams": 2, "threads_each": 1, "under_load": False, **changes}


def test_the_better_number_of_callers_is_said() -> None:
    rates = {
        "one_images_per_s": 20.0,
        "images_per_s": 25.0,
        "ratio": 1.25,
        "ratios": [1.3, 0.9, 1.25],
        "worth": 1.05,
    }
    for better, words in (
        (2, "2 callers are better."),
        (1, "one caller is better."),
        (None, "not told apart (more than 1.05 times is asked for)."),
    ):
        (found,) = notes(made_profile(streams=[stream(**rates, better=better)]))
        assert "2 callers of 1 thread each against one: 25 against 20 images/s " in found
        assert found.endswith(f"(1.25 times, 0.90 to 1.30 by turn), {words}")
    (found,) = notes(made_profile(streams=[stream(reason="not measured: why")]))
    assert found.endswith("not measured: why.")


def test_every_row_of_the_table_is_in_the_markdown_escaped() -> None:
    text = markdown(made_profile([*ROWS, METHOD]))
    assert text.count("| unet-gaussian |") == 3
    assert "&lt;b&gt;25 steps" in text
    assert "2.00 (1.90" in text
    assert "| of ceiling | GB/s | of copy |" in text
    assert "| 50% | 1 | 10% |" in text
    nothing = markdown(made_profile([made_row(gb_per_s=None, share_of_copy=None)]))
    assert "| 50% | – | – |" in nothing


def test_the_page_shows_table_roofline_batches_and_stages_and_escapes_what_it_is_given() -> None:
    page = profile_page(made_profile([*ROWS, METHOD]))
    assert "<b>25 steps" not in page
    for title in ("Roofline", "Milliseconds an image by batch", "Time by stage"):
        assert f"<h3>{title}</h3>" in page
    assert page.count("<svg") == 3
    assert page.count('<th scope="row">') == 4
    assert not re.search(r'(?:src|href)="https?:', page)
    assert "<script" not in page
    assert "default-src 'none'" in page
    assert "script-src" not in page
    assert page == profile_page(made_profile([*ROWS, METHOD]))


def test_plots_that_have_nothing_to_show_are_left_out() -> None:
    page = profile_page(made_profile([made_row(gflops=None, intensity=None, share_of_ceiling=None)]))
    assert "<svg" not in page


def test_a_profile_without_a_row_still_makes_every_form() -> None:
    empty = made_profile([], finished=None, ceilings={})
    assert csv_text(empty).strip() == ",".join(COLUMNS)
    assert timings(empty) == []
    assert list(table_rows(empty)) == []
    assert "Unfinished" in markdown(empty)
    assert "Unfinished" in profile_page(empty)
