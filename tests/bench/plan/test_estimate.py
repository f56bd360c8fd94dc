"""An estimate takes the row that was measured for an arm, says which, and has no figure for what was not."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.faults import invoke, refused

from uadbench.bench.plan.config import ConfigError
from uadbench.bench.plan.estimate import disk_bytes, find_row, read_profile
from uadbench.engine.methods import FLOORS
from uadbench.reports.identity import Arm, Variant
from uadbench.reports.profile_files import COLUMNS

DDPM = Variant("ddpm", "DDPM", "gaussian", "25")


def write(folder: Path, *rows: dict[str, object]) -> Path:
    usual = {"network": "unet-gaussian", "method": "-", "label": "-", "backend": "torch", "precision": "fp32"}
    usual |= {"device": "cpu", "batch": 4, "threads": 2, "status": "ok", "under_load": False}
    lines = [",".join(str({**usual, **row}.get(name, "")) for name in COLUMNS) for row in rows]
    folder.mkdir(exist_ok=True)
    (folder / "profile.csv").write_text("\n".join([",".join(COLUMNS), *lines]) + "\n")
    return folder


def test_a_row_of_the_whole_method_is_taken_before_one_of_its_network(tmp_path: Path) -> None:
    call = {"image_ms_p50": 40}
    whole = {"method": "ddpm", "label": DDPM.label, "image_ms_p50": 900, "under_load": True}
    rows = read_profile(write(tmp_path, call, whole))
    rate = find_row(rows, DDPM, "unet-gaussian", 25, Arm(), 4)
    assert rate is not None
    assert rate.image_ms == 900
    assert rate.row.words == "DDPM · gaussian · 25 steps, torch fp32, batch 4, 2 threads, taken under load"
    rate = find_row(rows[:1], DDPM, "unet-gaussian", 25, Arm(), 4)
    assert rate is not None
    assert rate.image_ms == 25 * 40
    assert rate.row.words == "unet-gaussian, torch fp32, batch 4, 2 threads"


@pytest.mark.parametrize(
    ("size", "taken"),
    [pytest.param(1, 2, id="below all"), pytest.param(5, 4, id="between"), pytest.param(8, 8, id="that")],
)
def test_of_several_batch_sizes_the_nearest_below_is_taken(tmp_path: Path, size: int, taken: int) -> None:
    rows = read_profile(write(tmp_path, *({"batch": n, "image_ms_p50": 10 * n} for n in (8, 2, 4))))
    rate = find_row(rows, DDPM, "unet-gaussian", 1, Arm(), size)
    assert rate is not None
    assert rate.row.batch == taken


@pytest.mark.parametrize(
    ("network", "arm"),
    [
        pytest.param("unet-simplex", Arm(), id="network"),
        pytest.param("unet-gaussian", Arm("openvino"), id="back end"),
        pytest.param("unet-gaussian", Arm("torch", "bf16"), id="precision"),
        pytest.param("unet-gaussian", Arm("torch", "fp32", "cuda"), id="device"),
    ],
)
def test_what_was_not_measured_has_no_rate(tmp_path: Path, network: str, arm: Arm) -> None:
    rows = read_profile(write(tmp_path, {"image_ms_p50": 1}, {"image_ms_p50": 2, "status": "failed"}))
    assert find_row(rows, DDPM, network, 25, arm, 4) is None


def test_a_gpu_of_any_number_is_of_one_kind(tmp_path: Path) -> None:
    rows = read_profile(write(tmp_path, {"image_ms_p50": 1, "device": "cuda:0", "threads": ""}))
    assert find_row(rows, DDPM, "unet-gaussian", 25, Arm("torch", "fp32", "cuda"), 4) is not None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        pytest.param("a,b\n1,2\n", "has no column 'network'", id="other columns"),
        pytest.param(",".join(COLUMNS) + "\n", "has no row that was measured", id="no row"),
    ],
)
def test_what_is_no_profile_is_refused(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "profile.csv").write_text(text)
    with pytest.raises(ConfigError, match=said):
        read_profile(tmp_path)
    with pytest.raises(ConfigError, match="cannot be read"):
        read_profile(tmp_path / "none")
    write(tmp_path, {"image_ms_p50": "fast"})
    with pytest.raises(ConfigError, match="a row is not what"):
        read_profile(tmp_path)


def test_disk_need_counts_an_input_and_two_arrays_a_cell() -> None:
    assert disk_bytes(10, 3, 128) == pytest.approx(10 * 7 * 128 * 128 * 4 * 0.6)


def test_a_dry_run_shares_measured_time_among_workers_and_names_what_was_not_measured(tmp_path: Path) -> None:
    profile = write(tmp_path / "profile", {"image_ms_p50": 400})
    words = ("run", "--methods", "ddpm,anoddpm", "--limit", "20", "--threads", "2", "--dry-run")
    words += ("--output", str(tmp_path / "run"))
    done = invoke(*words, "--profile", str(profile), "--workers", "6")
    assert done.exit_code == 0, done.stderr
    lines = {line.split()[0]: line for line in done.stdout.splitlines() if line.strip()}
    # 25 calls of 400 ms for each of 26 cases: 260 s
    assert lines["estimate"] == "estimate    43 s on 6 workers, 4 min in all; nothing was computed"
    assert "10000 ms an image, from unet-gaussian, torch fp32, batch 4, 2 threads" in done.stdout
    assert "not measured, so not in the estimate: anoddpm-simplex-25-torch-fp32" in done.stdout
    assert f"nor are {len(FLOORS)} floors, fits, shifts and scoring" in done.stdout
    rough = invoke(*words).stdout
    assert "very roughly; --profile has measured times in its place" in rough
    assert not (tmp_path / "run").exists()


def test_options_that_would_do_nothing_are_refused(tmp_path: Path) -> None:
    words = ("run", "--methods", "ddpm", "--limit", "2", "--output", str(tmp_path / "run"))
    assert "--dry-run; give that, too" in refused(invoke(*words, "--profile", str(tmp_path)))
    assert "give --executor ray, too" in refused(invoke(*words, "--workers", "2"))
    assert "K/N is needed" in refused(invoke(*words, "--shard", "7/3"))
    assert not (tmp_path / "run").exists()
