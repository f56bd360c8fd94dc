"""The page on back ends says which file each is given, and what a step's inputs are."""

from __future__ import annotations

import re

import pytest
from support.pages import code, page, table

from uadbench.bench.compare.exported import LEVEL
from uadbench.engine.backends import BACKENDS
from uadbench.engine.backends.form import ATTENTIONS, FORM_PRECISIONS, Form
from uadbench.exporters.gates import GATES
from uadbench.exporters.graph import opset_of

TEXT = page("backends.md")
SIZE = 7  # of a run's batch


def given(name: str, precision: str, device: str) -> tuple[str, str, str, str]:
    """Precision, attention, norms and batch of the file that a back end is given."""
    if BACKENDS[name].source != "onnx":
        return "-", "-", "-", "-"
    form = BACKENDS[name].form(precision, SIZE, device)
    return form.precision, form.attention, form.norms, {None: "any", SIZE: "the run's"}[form.batch]


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
