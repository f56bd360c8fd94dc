"""The page on back ends says which file each is given, and what a step's inputs are."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pandas as pd
import pytest
from result_tables import speedup_table
from support.pages import code, page, table
from support.places import ROOT
from support.published import RESULTS, board

from uadbench.bench.compare.exported import LEVEL
from uadbench.engine.backends import BACKENDS
from uadbench.engine.backends.form import ATTENTIONS, FORM_PRECISIONS, Form
from uadbench.engine.backends.openvino import HINTS
from uadbench.exporters.gates import GATES
from uadbench.exporters.graph import opset_of

TEXT = page("backends.md")
SIZE = 7  # of a run's batch


def given(name: str, precision: str, device: str) -> tuple[str, str, str, str]:
    """Precision, attention, layout and batch of the file that a back end is given."""
    if BACKENDS[name].source != "onnx":
        return "-", "-", "-", "-"
    form = BACKENDS[name].form(precision, SIZE, device)
    return form.precision, form.attention, form.layout, {None: "any", SIZE: "the run's"}[form.batch]


def test_every_arm_has_its_row_with_the_form_of_its_file() -> None:
    wanted = [
        (name, device, precision, known.source, *given(name, precision, device))
        for name, known in BACKENDS.items()
        for device, precisions in known.precisions.items()
        for precision in precisions
    ]
    assert [(code(row.pop("back end")), *row.values()) for row in table(TEXT, "forms")] == wanted


@pytest.mark.parametrize("precision", FORM_PRECISIONS)
@pytest.mark.parametrize("attention", ATTENTIONS)
def test_the_opset_of_a_form_is_that_of_the_page(precision: str, attention: str) -> None:
    half = "fp32 or int8" if precision in ("fp32", "int8") else "fp16 or bf16"
    row = re.search(rf"^\| {half}, {attention} \| [^|]+ \| ([^|]+) \|", TEXT, re.MULTILINE)
    assert row
    told = re.search(r"bf16: (\d+)", row[1]) if precision == "bf16" else None
    assert int((told or re.match(r"(\d+)", row[1]))[1]) == opset_of(Form(precision, attention))  # type: ignore[index]


def test_the_tolerances_of_an_export_are_those_of_the_code() -> None:
    told = re.sub(r"\s+", " ", TEXT)
    assert "at most 1e-5 in fp32 (perceptual net 1e-4), 3e-3 in fp16, 3e-2 in bf16 (the perceptual" in told
    assert f"noised to level {LEVEL}" in told
    step = {"fp32": 1e-5, "fp16": 3e-3, "bf16": 3e-2}
    net = step | {"fp32": 1e-4}
    for part, wanted in (("step", step), ("distance", net), ("features", {**net, "fp16": 3e-2, "bf16": 0.3})):
        assert {p: gate for p, gates in GATES.items() if (gate := getattr(gates, part)) is not None} == wanted


def test_every_back_end_has_a_row_on_what_has_been_tried_for_each_device() -> None:
    told = []
    for row in table(TEXT, "tried"):
        for name, device in re.findall(r"`([^`]+)`( cpu| cuda)?", row["back end"]):
            told += (
                [(name, device.strip())] if device else [(name, kind) for kind in BACKENDS[name].precisions]
            )
    assert sorted(told) == sorted(
        (name, kind) for name, known in BACKENDS.items() for kind in known.precisions
    )


CHAINS = ("thor", "ddpm", "autoddpm")


def test_what_compiled_torch_gains_is_what_the_committed_run_says() -> None:
    words = " ".join(TEXT.split())
    rows = board("backends-phantom").set_index(["backend", "precision"])["speedup"].sort_index()

    def span(backend: str, precision: str) -> str:
        found = rows.loc[(backend, precision)]
        return f"{found.min():.2f} to {found.max():.2f}"

    compiled, lower, eager = (
        span("torch-compile", "fp32"),
        span("torch-compile", "bf16"),
        span("torch", "bf16"),
    )
    assert f"they are {compiled} times as fast as eager fp32, in bf16 {lower} times" in words
    assert f"where eager bf16 is {eager} times" in words
    records = json.loads((RESULTS / "backends-phantom" / "manifest.json").read_text())["backends"]
    seconds = [
        max(records[f"torch-compile {precision} unet-gaussian"]["compile_seconds"].values())
        for precision in ("fp32", "bf16")
    ]
    assert f"Opening took {seconds[0]:.0f} s in fp32 and {seconds[1]:.0f} s in bf16" in words


def test_parity_of_the_committed_run_is_what_pages_say() -> None:
    verdicts = json.loads((RESULTS / "backends-phantom" / "parity.json").read_text())
    assert {one["verdict"] for one in verdicts.values()} == {"pass", "reference"}
    words = " ".join(TEXT.split())
    dice, auprc, calls = [], [], {}
    for cell, one in verdicts.items():
        if found := re.search(r"off by (\S+) a call .*max Dice (\S+), AUPRC (\S+) points", one["reason"]):
            assert abs(float(found[2])) < 0.2
            calls[cell] = found[1]
    for name in CHAINS:
        (cell,) = (
            cell for cell in verdicts if cell.startswith(f"{name}-") and cell.endswith("openvino-int8")
        )
        found = re.search(r"max Dice (\S+), AUPRC (\S+) points", verdicts[cell]["reason"])
        assert found
        dice.append(found[1])
        auprc.append(found[2])
    assert f"max Dice differs by {dice[0]}, {dice[1]} and {dice[2]} points" in words
    assert f"AUPRC by {auprc[0]}, {auprc[1]} and {auprc[2]};" in words
    fp32, bf16 = (
        {told for cell, told in calls.items() if cell.endswith(f"torch-compile-{precision}")}
        for precision in ("fp32", "bf16")
    )
    assert f"off by {fp32.pop()} a call in fp32 and by {bf16.pop()} in bf16" in words
    assert not fp32 | bf16


def test_the_speed_ups_stand_an_arm_a_column(tmp_path: Path) -> None:
    names = ["method", "variant", "kind", "backend", "precision", "device", "noise", "steps", "speedup"]
    rows = [
        ("ddpm", "DDPM", "method", "torch", "fp32", "cpu", "gaussian", "25", None),
        ("ddpm", "DDPM", "method", "openvino", "bf16", "cpu", "gaussian", "25", 2.0),
        ("thor", "THOR", "method", "openvino", "bf16", "cpu", "gaussian", "25", None),
        ("blur", "blur", "floor", "torch", "fp32", "cpu", "none", "0", None),
    ]
    frame = pd.DataFrame(rows, columns=names)
    cells = [f"{row.method}-{row.backend}-{row.precision}" for row in frame.itertuples()]
    frame.assign(cell=cells, title=frame["variant"]).to_csv(tmp_path / "leaderboard.csv", index=False)
    assert speedup_table(tmp_path / "leaderboard.csv").splitlines() == [
        "| whole runs of | openvino bf16 |",
        "| --- | ---: |",
        "| **DDPM** | 2.00 |",
        "| **THOR** | – |",
    ]


def test_what_openvino_gains_is_what_its_table_says() -> None:
    words = " ".join(TEXT.split())
    rows = pd.read_csv(ROOT / "docs" / "results" / "openvino.csv")
    told = [f"{row.ratio:.2f} ({row.ratio_q1:.2f}–{row.ratio_q3:.2f})" for row in rows.itertuples()]
    assert [work.rpartition(" ")[2] for work in rows["work"]] == [*HINTS, "bf16", "int8-bf16"]
    assert list(rows["rival"]) == ["channels first"] * len(HINTS) + ["all threads between calls"] * 2
    fp32, bf16, int8, mixed, chain, mixed_chain = told
    assert (
        f"is {fp32} times as fast as with channels first in fp32, {bf16} in bf16, {int8} in int8 and" in words
    )
    assert f"and {mixed} in int8-bf16, in turns" in words
    assert f"is {chain} times as fast as with all threads in bf16 and {mixed_chain} in int8-bf16" in words
