"""``bench predict``: results on the input's own grid, what fails is recorded, nothing is lost or overwritten."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from PIL import Image
from support.faults import invoke, refused

import uadbench
from uadbench.bench.predict import predict, work
from uadbench.bench.run.interrupt import Interrupted
from uadbench.engine.post import without_small
from uadbench.reports.lines import append_records

AFFINE = np.array([[-2.0, 0, 0, 40], [0, 0, 1.5, -30], [0, 1.0, 0, -9], [0, 0, 0, 1]])  # L S A
RNG = np.random.default_rng(0)


def brain(rows: int, columns: int) -> np.ndarray:
    """An ellipse of texture on black, 0 to about 200."""
    y, x = np.mgrid[-1 : 1 : rows * 1j, -1 : 1 : columns * 1j]  # type: ignore[misc]
    return (np.hypot(y, x) < 0.8) * (120 + 40 * np.sin(9 * y) + 30 * RNG.random((rows, columns)))


def volume(path: Path) -> Path:
    """12 axial slices along the second array axis, the lowest three empty."""
    voxels = np.stack([brain(40, 50) * (z >= 3) for z in range(12)], axis=1).astype(np.int16)
    nibabel.Nifti1Image(voxels, AFFINE).to_filename(path)
    return path


def run(*words: str, code: int = 0, method: str = "blur") -> Any:
    done = invoke("predict", "--method", method, "--no-progress", *words)
    assert done.exit_code == code, done.output
    return done


def record(output: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((output / "predictions.json").read_text())
    return found


def written(output: Path) -> dict[str, bytes]:
    return {p.relative_to(output).as_posix(): p.read_bytes() for p in output.rglob("*_*") if p.is_file()}


def test_a_volume_comes_back_with_its_shape_affine_and_places(tmp_path: Path) -> None:
    source = nibabel.nifti1.load(volume(tmp_path / "sub-01_FLAIR.nii"))
    output = tmp_path / "out"
    run(
        "--input",
        str(tmp_path / "sub-01_FLAIR.nii"),
        "--output",
        str(output),
        "--slices",
        "1-5",
        "--threshold",
        "0.05",
    )
    for kind in ("anomaly", "reconstruction", "mask"):
        found = nibabel.nifti1.load(output / f"sub-01_FLAIR_{kind}.nii.gz")
        assert found.shape == source.shape
        np.testing.assert_array_equal(found.affine, source.affine)
        filled = np.asarray(found.dataobj).any(axis=(0, 2))
        assert np.flatnonzero(filled).tolist() == [3, 4, 5], "empty slices and those not asked for are 0"
    near = np.asarray(nibabel.nifti1.load(output / "sub-01_FLAIR_reconstruction.nii.gz").dataobj)[:, 4]
    assert np.corrcoef(near.ravel(), np.asarray(source.dataobj)[:, 4].ravel())[0, 1] > 0.95
    assert near.max() > 100, "in the file's own grey values"
    (entry,) = record(output)["files"]
    assert entry["skipped"] == [1, 2]
    assert [one["case_id"] for one in entry["slices"]] == [f"sub-01_FLAIR-z{z:03d}" for z in (3, 4, 5)]


def test_a_png_comes_back_as_png_and_its_map_in_proportion(tmp_path: Path) -> None:
    Image.fromarray(brain(60, 48).astype(np.uint8)).save(tmp_path / "eight.png")
    Image.fromarray((brain(60, 48) * 256).astype(np.uint16)).save(tmp_path / "sixteen.png")
    np.save(tmp_path / "plain.npy", brain(60, 48))
    words = ["--input", str(tmp_path), "--threshold", "0.1"]
    run(*words, "--output", str(tmp_path / "one"), "--map-white", "0.5")
    run(*words, "--output", str(tmp_path / "own"), "--map-white", "max")
    kinds = {
        "eight_anomaly": np.uint16,
        "eight_reconstruction": np.uint8,
        "sixteen_reconstruction": np.uint16,
    }
    for name, kind in kinds.items():
        found = np.asarray(Image.open(tmp_path / "one" / f"{name}.png"))
        assert (found.shape, found.dtype) == ((60, 48), kind)
    assert set(np.unique(np.asarray(Image.open(tmp_path / "one" / "eight_mask.png")))) == {0, 255}
    entries = {entry["case_id"]: entry for entry in record(tmp_path / "own")["files"]}
    white = entries["eight"]["white"]
    fixed, own = (np.asarray(Image.open(tmp_path / f / "eight_anomaly.png")) / 65535 for f in ("one", "own"))
    np.testing.assert_allclose(fixed * 0.5, np.minimum(own * white, 0.5), atol=1e-5)
    assert own.max() == 1
    plain = np.load(tmp_path / "one" / "plain_anomaly.npy")
    assert (plain.shape, plain.dtype) == ((60, 48), np.float32)


def test_a_bad_file_is_recorded_as_failed_the_rest_goes_on_and_the_exit_code_is_1(tmp_path: Path) -> None:
    data = tmp_path / "in"
    data.mkdir()
    (data / "a.png").write_bytes(b"no")
    np.save(data / "b.npy", np.zeros((20, 20)))
    np.save(data / "c.npy", brain(20, 20))
    volume(data / "d.nii")
    done = run("--input", str(data), "--output", str(tmp_path / "out"), "--slices", "12", code=1)
    states = {entry["input"]: entry["status"] for entry in record(tmp_path / "out")["files"]}
    assert states == {"a.png": "failed", "b.npy": "failed", "c.npy": "ok", "d.nii": "failed"}
    for text in ("failed: a.png: not a readable PNG", "constant", "d.nii: slice 12 is outside 0 to 11"):
        assert text in done.stderr
    assert str(tmp_path) not in json.dumps(record(tmp_path / "out")["files"])


@pytest.fixture
def two(tmp_path: Path) -> tuple[Path, Path]:
    data = tmp_path / "in"
    (data / "deep").mkdir(parents=True)
    np.save(data / "a.npy", brain(24, 20))
    np.save(data / "deep" / "b.npy", brain(24, 20))
    return data, tmp_path / "out"


def test_what_is_there_is_not_computed_again_and_what_is_gone_is(
    two: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    data, output = two
    words = ["--input", str(data), "--output", str(output)]
    run(*words)
    before, head = written(output), record(output)
    computed: list[str] = []
    run_batch = work.run_batch

    def counted(cell: Any, denoiser: Any, samples: Any, bench: Any) -> Any:
        computed.extend(sample.case.case_id for sample in samples)
        return run_batch(cell, denoiser, samples, bench)

    monkeypatch.setattr(work, "run_batch", counted)
    assert "2 of 2 files were there already" in run(*words).stderr
    assert not computed
    assert record(output) == head
    (output / "deep" / "b_anomaly.npy").unlink()
    run(*words, "--batch-size", "4")
    assert computed == ["a", "deep_b"], "the whole batch, to the same rounding"
    assert written(output) == before


def test_other_settings_a_changed_input_and_foreign_files_are_refused_and_nothing_is_touched(
    two: tuple[Path, Path],
) -> None:
    data, output = two
    words = ["--input", str(data), "--output", str(output)]
    invoked = ["predict", "--method", "blur", "--no-progress"]
    output.mkdir()
    (output / "a_anomaly.npy").write_text("mine")
    assert "a_anomaly.npy: is there and is none of these predictions" in refused(invoke(*invoked, *words))
    assert (output / "a_anomaly.npy").read_text() == "mine"
    run(*words, "--overwrite", "--threshold", "0.1")
    before = written(output)
    assert "other threshold" in refused(invoke(*invoked, *words))
    assert "other methods, cell" in refused(
        invoke("predict", "--method", "intensity", *words, "--threshold", "0.1")
    )
    np.save(data / "a.npy", brain(24, 20))
    assert "a.npy: is not the file that was predicted" in refused(
        invoke(*invoked, *words, "--threshold", "0.1")
    )
    assert written(output) == before
    run(*words, "--overwrite")
    assert not list(output.rglob("*_mask*")), "results of the settings before do not stay behind"


def test_an_interruption_keeps_what_is_done_and_the_same_command_finishes_to_the_same_bytes(
    two: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    data, output = two
    words = ["--input", str(data), "--batch-size", "1", "--output"]
    run(*words, str(output.with_name("whole")))
    calls: list[int] = []
    compute = predict.compute

    def stopping(*arguments: Any) -> Any:
        calls.append(1)
        if len(calls) == 2:
            raise Interrupted
        return compute(*arguments)

    monkeypatch.setattr(predict, "compute", stopping)
    monkeypatch.setattr("uadbench.bench.run.interrupt.ignore_signals", lambda: None)
    from click.testing import CliRunner

    from uadbench.bench.cli import cli

    done = CliRunner().invoke(cli, ["predict", "--method", "blur", "--no-progress", *words, str(output)])
    assert done.exit_code == 130
    assert "files that are done are kept" in done.stderr
    assert record(output)["finished"] is None
    assert [entry["case_id"] for entry in record(output)["files"]] == ["a"]
    monkeypatch.setattr(predict, "compute", compute)
    run(*words, str(output))
    assert written(output) == written(output.with_name("whole"))
    assert record(output)["finished"]


def test_what_a_kill_left_half_written_is_ours_and_replaced(two: tuple[Path, Path]) -> None:
    data, output = two
    words = ["--input", str(data), "--output", str(output)]
    run(*words)
    head = record(output)
    whole = written(output)
    entry = next(one for one in head["files"] if one["case_id"] == "a")
    head["files"].remove(entry)
    (output / "predictions.json").write_text(json.dumps(head))
    append_records(output / "predictions.jsonl", [{**entry, "status": "begun", "outputs": {}}])
    with (output / "predictions.jsonl").open("a") as journal:
        journal.write('{"torn')
    (output / "a_anomaly.npy").write_text("half")
    run(*words)
    assert written(output) == whole
    assert not (output / "predictions.jsonl").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        pytest.param(["--method", "residual-median"], "needs the median", id="median"),
        pytest.param(
            ["--method", "blur", "--set", "limit=3"], "limit is a setting of `bench run`", id="foreign"
        ),
        pytest.param(["--method", "blur,intensity"], "2 methods are given", id="two methods"),
        pytest.param(
            ["--method", "ddpm", "--steps", "2,3"], "2 variants; a prediction runs one", id="variants"
        ),
        pytest.param(["--method", "blur", "--checkpoint", "x"], "needs 0 networks", id="no network"),
        pytest.param(["--method", "blur", "--pattern", "*.jpg"], "no file matches '*.jpg'", id="no file"),
        pytest.param(["--method", "blur", "--map-white", "0"], "'0' is no number above 0", id="white"),
        pytest.param(["--method", "thro"], "did you mean 'thor'", id="method"),
        pytest.param(["--method", "blur", "--threshold-from", "."], "no manifest.json", id="no run"),
        pytest.param(["--method", "ddpm", "--variance", "exact"], "No such option", id="an option of run"),
        pytest.param(
            ["--method", "ddpm", "--set", "variance=exact"], "the exact variance is measured", id="exact"
        ),
    ],
)
def test_what_cannot_be_predicted_is_one_line(
    two: tuple[Path, Path], words: list[str], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, output = two
    monkeypatch.chdir(data)
    done = invoke("predict", *words, "--input", str(data), "--output", str(output))
    assert message in refused(done)
    assert "note: " not in done.stderr
    assert not output.exists()


def test_the_mask_is_what_exceeds_the_threshold_without_small_components_where_maps_are_post_processed(
    two: tuple[Path, Path],
) -> None:
    data, output = two
    np.save(data / "a.npy", brain(128, 128))
    words = ["--input", str(data / "a.npy"), "--output", str(output), "--threshold", "0.04"]
    run(*words, "--post", "behrendt", "--set", "component_px=9")
    anomaly, mask = (np.load(output / f"a_{kind}.npy") for kind in ("anomaly", "mask"))
    np.testing.assert_array_equal(mask, without_small(anomaly > np.float32(0.04), 9))
    assert mask.any()


def test_the_interface_gives_a_row_a_file(two: tuple[Path, Path]) -> None:
    data, output = two
    table = uadbench.predict(data, output, method="blur", threshold=0.1)
    assert table["status"].tolist() == ["ok", "ok"]
    assert all(path.is_file() for kind in ("anomaly", "mask") for path in table[kind])
