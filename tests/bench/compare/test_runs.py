"""``bench compare`` on small run directories whose differences are known."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from uadbench.bench.commands.compare import _KEYS, _MEASURES, command
from uadbench.bench.compare.gates import parse_gate, verdicts
from uadbench.bench.compare.runs import KEYS, MEASURES, CompareError, compare_runs
from uadbench.reports.store import append_case, load_run

N = 24


def put(path: Path, value: Any) -> None:
    """Plain files: the store's own writers wait for the disk at each."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))


def write_run(
    path: Path,
    dice: Any = None,
    latency: Any = None,
    methods: tuple[str, ...] = ("thor",),
    backend: str = "torch",
    batch: int = 1,
    failed: tuple[int, ...] = (),
    ids: range = range(N),
    **manifest: Any,
) -> Path:
    """A run in which case i has dice[i] and latency[i] (its batch's share) in every cell; 2 cases a subject."""
    rng = np.random.default_rng(0)
    dice = 0.3 + 0.1 * rng.random(N) if dice is None else dice
    latency = 100 + rng.random(N) if latency is None else latency
    slugs = [f"{method}-gaussian-25-{backend}-fp32" for method in methods]
    put(
        path / "manifest.json",
        {"cells": slugs, "seed": 0, "dataset": {"name": "phantom", "fingerprint": "f"}} | manifest,
    )
    for slug, method in zip(slugs, methods, strict=True):
        cell = path / "cells" / slug
        info = {"method": method, "noise": "gaussian", "steps": "25", "backend": backend, "precision": "fp32"}
        put(cell / "cell.json", info)
        records: list[dict[str, Any]] = []
        for i in ids:
            record = {
                "case_id": f"c{i}",
                "subject": f"s{i // 2}",
                "split": "test",
                "status": "failed" if i in failed else "ok",
                "latency_ms": float(latency[i]),
                "stages_ms": {"network": float(latency[i]) / 2},
                "batch_size": batch,
                "first_call": False,
            }
            records.append(record)
        # validation cases share the file and must stay out
        records.append({"case_id": "v0", "subject": "v0", "split": "val", "status": "ok", "latency_ms": 9e9})
        (cell / "cases.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
        per_case = {
            f"c{i}": {"dice": None if dice[i] is None else float(dice[i])} for i in ids if i not in failed
        }
        put(cell / "metrics.json", {"per_case": per_case})
    return path


def values(seed: int = 0) -> np.ndarray:
    return 0.3 + 0.2 * np.random.default_rng(seed).random(N)


def compare(a: Path, b: Path, **options: Any) -> Any:
    return compare_runs(load_run(a), load_run(b), **options)


def run(*args: Any) -> Result:
    return CliRunner().invoke(command, [str(arg) for arg in args])


def test_a_run_against_itself_changes_nothing_and_passes(tmp_path: Path) -> None:
    a = write_run(tmp_path / "a", methods=("thor", "ddpm"))
    result = compare(a, a)
    assert len(result.rows) == 4
    for row in result.rows:
        assert (row.change.value, row.change.lo, row.change.hi, row.p_holm) == (0.0, 0.0, 0.0, 1.0)
        assert row.change.n_cases == N
    assert result.notes == ()
    outcome = run(a, a, "--fail-on", "dice=0", "--fail-on", "latency=+0%")
    assert outcome.exit_code == 0
    assert "ok: dice=0, latency=+0%" in outcome.stderr


def test_differences_are_b_minus_a_by_case_with_subjects_as_units(tmp_path: Path) -> None:
    a = write_run(tmp_path / "a", dice=values(), latency=np.full(N, 100.0))
    b = write_run(tmp_path / "b", dice=values() + 0.05, latency=np.full(N, 80.0))
    dice, latency = compare(a, b).rows
    assert dice.cell == ("thor", "gaussian", "25", "torch", "fp32")
    assert (dice.change.value, dice.change.lo, dice.change.hi) == pytest.approx((0.05, 0.05, 0.05))
    assert (dice.change.n_cases, dice.change.n_subjects) == (N, N // 2)
    assert dice.change.p == pytest.approx(2 / 2 ** (N // 2))
    assert latency.change.value == pytest.approx(-20.0)
    assert latency.relative == pytest.approx(-0.2)
    assert latency.change.n_subjects == N  # single images: each is its own measurement


def test_cases_are_matched_by_id_and_not_by_order(tmp_path: Path) -> None:
    a = write_run(tmp_path / "a", dice=values())
    b = write_run(tmp_path / "b", dice=values(), ids=range(N - 1, -1, -1))
    assert compare(a, b, measures=["dice"]).rows[0].change.value == 0.0


def test_p_values_are_holm_corrected_over_all_rows(tmp_path: Path) -> None:
    a = write_run(tmp_path / "a", dice=values(), methods=("thor", "ddpm"))
    b = write_run(tmp_path / "b", dice=values() + 0.01, methods=("thor", "ddpm"))
    rows = compare(a, b).rows
    raw = 2 / 2 ** (N // 2)
    assert [row.p_holm for row in rows if row.measure == "dice"] == pytest.approx([4 * raw, 4 * raw])
    assert [row.p_holm for row in rows if row.measure == "latency"] == [1.0, 1.0]


def test_cases_of_one_batch_are_one_measurement_of_time(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    first, second = np.repeat(rng.random((2, N // 4)), 4, axis=1) + 10
    a = write_run(tmp_path / "a", latency=first, batch=4)
    b = write_run(tmp_path / "b", latency=second, batch=4)
    change = compare(a, b, measures=["latency"]).rows[0].change
    assert (change.n_cases, change.n_subjects) == (N, N // 4)
    shifted = np.concatenate([second[2:], second[:2]])  # other batch borders in B chain A's batches together
    chained = write_run(tmp_path / "c", latency=shifted, batch=4)
    assert compare(a, chained, measures=["latency"]).rows[0].change.n_subjects == 1


def test_other_batch_sizes_are_noted(tmp_path: Path) -> None:
    a, b = write_run(tmp_path / "a"), write_run(tmp_path / "b", batch=8)
    assert compare(a, b).notes == (
        "thor/gaussian/25/torch/fp32: batch size 1 in A, 8 in B, which changes times",
    )


def test_first_calls_are_left_out_of_latency(tmp_path: Path) -> None:
    a, b = write_run(tmp_path / "a"), write_run(tmp_path / "b")
    cell = b / "cells" / "thor-gaussian-25-torch-fp32"
    slow = next(case for case in load_run(b).cells[0].cases if case["case_id"] == "c0")
    append_case(cell, slow | {"latency_ms": 1e6, "first_call": True})
    change = compare(a, b, measures=["latency"]).rows[0].change
    assert (change.value, change.n_cases) == (0.0, N - 1)


@pytest.mark.parametrize(
    ("limit", "loss", "slower", "code"),
    [
        pytest.param("dice=-0.02", 0.03, 0.0, 1, id="loss beyond the limit"),
        pytest.param("dice=-0.02", 0.01, 0.0, 0, id="loss within the limit"),
        pytest.param("dice=-0.02", -0.03, 0.0, 0, id="gain"),
        pytest.param("dice=0", 0.001, 0.0, 1, id="any sure loss"),
        pytest.param("dice=-5%", 0.03, 0.0, 1, id="relative loss beyond"),
        pytest.param("dice=-20%", 0.03, 0.0, 0, id="relative loss within"),
        pytest.param("latency=+10%", 0.0, 0.2, 1, id="slower beyond"),
        pytest.param("latency=10%", 0.0, 0.05, 0, id="slower within"),
        pytest.param("latency=+10%", 0.0, -0.5, 0, id="faster"),
        pytest.param("latency=+5", 0.0, 0.2, 1, id="milliseconds"),
        pytest.param("network=+10%", 0.0, 0.2, 1, id="a measure that is not in the table by default"),
    ],
)
def test_the_exit_code_tells_whether_a_limit_is_broken(
    tmp_path: Path, limit: str, loss: float, slower: float, code: int
) -> None:
    a = write_run(tmp_path / "a", dice=values(), latency=np.linspace(90, 110, N))
    b = write_run(tmp_path / "b", dice=values() - loss, latency=np.linspace(90, 110, N) * (1 + slower))
    outcome = run(a, b, "--fail-on", limit)
    assert outcome.exit_code == code, outcome.stderr
    assert ("FAIL thor/gaussian/25/torch/fp32" in outcome.stderr) == bool(code)


def test_a_loss_that_chance_explains_does_not_fail(tmp_path: Path) -> None:
    noise = np.repeat(np.random.default_rng(3).normal(0, 0.3, N // 2), 2)
    noise += -0.03 - noise.mean()
    a, b = write_run(tmp_path / "a", dice=values()), write_run(tmp_path / "b", dice=values() + noise)
    row = compare(a, b, measures=["dice"]).rows[0]
    assert row.change.value == pytest.approx(-0.03)
    assert row.change.lo < 0 < row.change.hi
    assert run(a, b, "--fail-on", "dice=-0.02").exit_code == 0


def test_a_case_that_only_a_finished_fails_every_gate(tmp_path: Path) -> None:
    a, b = write_run(tmp_path / "a"), write_run(tmp_path / "b", failed=(3, 4))
    assert run(a, b).exit_code == 0
    outcome = run(a, b, "--fail-on", "latency=+50%")
    assert outcome.exit_code == 1
    assert "2 case(s) have a value in A but not in B" in outcome.stderr
    assert "2 case(s) finished only in A" in outcome.stderr


def test_cases_that_b_never_tried_are_noted_and_do_not_fail(tmp_path: Path) -> None:
    a, b = write_run(tmp_path / "a"), write_run(tmp_path / "b", ids=range(10))
    outcome = run(a, b, "--fail-on", "dice=-0.5")
    assert outcome.exit_code == 0
    assert "14 case(s) finished only in A, not compared" in outcome.stderr


def test_a_measure_that_is_missing_cannot_pass_its_gate(tmp_path: Path) -> None:
    a, b = write_run(tmp_path / "a"), write_run(tmp_path / "b", dice=[None] * N)
    comparison = compare(a, b)
    assert [row.measure for row in comparison.rows] == ["latency"]
    assert verdicts(comparison, [parse_gate("dice=-0.02")])[0].endswith("so dice=-0.02 cannot be judged")
    assert verdicts(comparison, [parse_gate("latency=+10%")]) == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("dice", "MEASURE=LIMIT", id="no limit"),
        pytest.param("dice=abc", "MEASURE=LIMIT", id="no number"),
        pytest.param("dice=-0.02;rm", "MEASURE=LIMIT", id="rubbish after it"),
        pytest.param("speed=+1", "choose from dice, latency, network", id="unknown measure"),
        pytest.param("dice=+0.02", "such as dice=-0.02", id="dice limit for the better"),
        pytest.param(
            "latency=-10%",
            r"above 0 .* such as latency=\+10%",
            id="latency limit for the better",
        ),
    ],
)
def test_a_gate_that_cannot_be_read_says_what_is_allowed(text: str, message: str) -> None:
    with pytest.raises(CompareError, match=message):
        parse_gate(text)


def test_too_few_subjects_for_a_verdict_are_an_error(tmp_path: Path) -> None:
    a = write_run(tmp_path / "a", ids=range(2))
    outcome = run(a, a, "--fail-on", "dice=-0.02")
    assert outcome.exit_code == 2
    assert "1 independent unit" in outcome.stderr


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param({"dataset": {"fingerprint": "other"}}, "differ in data", id="data"),
        pytest.param({"seed": 1}, "differ in seed: A 0, B 1", id="seed"),
    ],
)
def test_runs_on_other_data_or_seeds_are_refused_unless_forced(
    tmp_path: Path, change: dict, message: str
) -> None:
    a, b = write_run(tmp_path / "a"), write_run(tmp_path / "b", **change)
    outcome = run(a, b)
    assert outcome.exit_code == 2
    assert message in outcome.stderr
    forced = run(a, b, "--force")
    assert forced.exit_code == 0
    assert message in forced.stderr


def test_other_weights_or_processors_are_noted(tmp_path: Path) -> None:
    a = write_run(tmp_path / "a", checkpoints={"unet": {"sha256": "1"}}, environment={"cpu": "x"})
    b = write_run(tmp_path / "b", checkpoints={"unet": {"sha256": "2"}}, environment={"cpu": "y"})
    notes = "\n".join(compare(a, b).notes)
    assert "checkpoints: A unet 1, B unet 2" in notes
    assert "processor; times are not comparable: A x, B y" in notes


def test_runs_without_a_shared_cell_are_refused_and_across_matches_back_ends(tmp_path: Path) -> None:
    a, b = write_run(tmp_path / "a"), write_run(tmp_path / "b", backend="onnxruntime")
    outcome = run(a, b)
    assert outcome.exit_code == 2
    assert "thor-gaussian-25-torch-fp32" in outcome.stderr
    assert "thor-gaussian-25-onnxruntime-fp32" in outcome.stderr
    assert run(a, b, "--across", "backend").exit_code == 0
    two = write_run(tmp_path / "two", methods=("thor", "ddpm"))
    ambiguous = run(two, a, "--across", "method")
    assert ambiguous.exit_code == 2
    assert "both match" in ambiguous.stderr


def test_cells_of_one_run_only_are_noted(tmp_path: Path) -> None:
    a, b = write_run(tmp_path / "a", methods=("thor", "ddpm")), write_run(tmp_path / "b")
    comparison = compare(a, b)
    assert {row.cell[0] for row in comparison.rows} == {"thor"}
    assert comparison.notes == ("only in A: ddpm/gaussian/25/torch/fp32",)


def test_runs_without_a_shared_case_are_refused(tmp_path: Path) -> None:
    a, b = write_run(tmp_path / "a", ids=range(5)), write_run(tmp_path / "b", ids=range(5, 10))
    outcome = run(a, b)
    assert outcome.exit_code == 2
    assert "share no finished test case" in outcome.stderr


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    outcome = run(tmp_path, tmp_path)
    assert outcome.exit_code == 2
    assert "manifest.json" in outcome.stderr


def test_the_table_goes_to_stdout_whole_and_in_percent(tmp_path: Path) -> None:
    a = write_run(tmp_path / "a", dice=values(), latency=np.full(N, 100.0))
    b = write_run(tmp_path / "b", dice=values() + 0.05, latency=np.full(N, 112.5))
    outcome = run(a, b)
    assert "thor/gaussian/25/torch/fp32" in outcome.stdout
    assert "+5.00 .. +5.00" in outcome.stdout
    assert "+12.5%" in outcome.stdout
    assert "better" in outcome.stdout
    assert "worse" in outcome.stdout
    assert "…" not in outcome.stdout
    assert outcome.stderr == ""


def test_the_choices_of_the_command_are_those_of_the_comparison() -> None:
    assert tuple(MEASURES) == _MEASURES
    assert KEYS == _KEYS


def test_a_cell_without_shared_cases_is_noted_and_cannot_pass_a_gate(tmp_path: Path) -> None:
    a, b = (write_run(tmp_path / name, methods=("thor", "ddpm")) for name in "ab")
    (b / "cells" / "ddpm-gaussian-25-torch-fp32" / "cases.jsonl").unlink()
    comparison = compare(a, b)
    assert {row.cell[0] for row in comparison.rows} == {"thor"}
    assert "ddpm/gaussian/25/torch/fp32: no case has dice in both runs" in comparison.notes
    assert len(verdicts(comparison, [parse_gate("dice=-0.02")])) == 1
