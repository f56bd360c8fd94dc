"""``bench data``: what it prints, writes and returns."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image
from support.volumes import TREES, brats

from uadbench.bench.commands.data import command
from uadbench.datasets.wrist_anomalies import KINDS


def bench(*args: object) -> Result:
    return CliRunner().invoke(command, [str(arg) for arg in args])


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("UADBENCH_DATA", raising=False)
    path = tmp_path / "mine"
    path.mkdir()
    pixels = np.random.default_rng(0).integers(0, 255, (128, 128), dtype=np.uint8)
    Image.fromarray(pixels).save(path / "a.png")
    for name, side in (("tiny", 1), ("small", 5), ("large", 40)):
        mask = np.zeros((128, 128), dtype=np.uint8)
        mask[20 : 20 + side, 30 : 30 + side] = 255
        Image.fromarray(mask).save(path / f"{name}.png")
    lines = [
        "h,a.png,,test,s1",
        "t,a.png,tiny.png,test,s2",
        "s,a.png,small.png,test,s3",
        "l,a.png,large.png,val,s4",
    ]
    (path / "index.csv").write_text("\n".join(["case_id,image,mask,split,subject", *lines]) + "\n")
    return path


def test_list_says_what_is_here_and_the_remedy_for_what_is_not(folder: Path) -> None:
    result = bench("list", "--data-root", folder)
    assert result.exit_code == 0, result.output
    for name in ("phantom", "ixi-stroke", "soop-flair", "folder"):
        assert name in result.stdout
    assert "1 healthy + 2 lesion" in result.stdout
    notes = [line for line in result.stdout.splitlines() if line.startswith("ixi-stroke: ")]
    assert len(notes) == 1
    assert "--data-root" in notes[0]


def test_check_counts_by_split_and_size(folder: Path) -> None:
    result = bench("check", "folder", "--data-root", folder)
    assert result.exit_code == 0, result.output
    assert "test: 1 healthy, 1 tiny (3 px or fewer, not scored), 1 small" in result.stdout
    assert "val: 1 large" in result.stdout
    assert "all 4 cases can be read" in result.stdout


def test_check_lists_failures_and_exits_with_1(folder: Path) -> None:
    (folder / "small.png").write_text("no image")
    result = bench("check", "folder", "--data-root", folder)
    assert result.exit_code == 1
    assert "failed s (test): " in result.stdout
    assert "not a readable PNG" in result.stdout
    assert "1 of 4 cases" in result.stderr


def test_a_file_that_serves_many_cases_and_cannot_be_read_is_reported_once(folder: Path) -> None:
    (folder / "a.png").write_text("no image")
    result = bench("check", "folder", "--data-root", folder)
    assert result.exit_code == 1
    lines = [line for line in result.stdout.splitlines() if line.startswith("failed")]
    assert len(lines) == 1
    assert lines[0].startswith("failed h (test), t (test), s (test), l (val): ")


def test_check_of_a_broken_index_is_one_line(folder: Path) -> None:
    (folder / "index.csv").write_text("case_id\n")
    result = bench("check", "folder", "--data-root", folder)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert len(result.stderr.splitlines()) == 1
    assert "index.csv line 1" in result.stderr


@pytest.mark.parametrize("verb", ["check", "fetch", "preview"])
def test_an_unknown_name_gets_the_nearest_and_the_choices(verb: str, tmp_path: Path) -> None:
    extra = ["--output", tmp_path / "x.png"] if verb == "preview" else []
    result = bench(verb, "soop-flare", *extra)
    assert result.exit_code == 2
    assert "did you mean 'soop-flair'" in result.stderr
    assert "phantom" in result.stderr


def test_preview_writes_a_sheet_with_red_outlines_where_lesions_are(folder: Path, tmp_path: Path) -> None:
    target = tmp_path / "new" / "sheet.png"
    result = bench("preview", "folder", "--data-root", folder, "--output", target, "--count", 3)
    assert result.exit_code == 0, result.output
    pixels = np.asarray(Image.open(target).convert("RGB")).astype(int)
    red = (pixels[..., 0] > 200) & (pixels[..., 1] < 60) & (pixels[..., 2] < 60)
    assert red.sum() > 10
    lines = folder / "index.csv"
    lines.write_text("\n".join(lines.read_text().splitlines()[:2]) + "\n")
    assert bench("preview", "folder", "--data-root", folder, "--output", target).exit_code == 0
    pixels = np.asarray(Image.open(target).convert("RGB")).astype(int)
    assert not ((pixels[..., 0] > 200) & (pixels[..., 1] < 60)).any()


def test_preview_goes_on_past_a_bad_case_and_exits_with_1(folder: Path, tmp_path: Path) -> None:
    (folder / "small.png").write_text("no image")
    result = bench("preview", "folder", "--data-root", folder, "--output", tmp_path / "s.png")
    assert result.exit_code == 1
    assert (tmp_path / "s.png").exists()
    lines = result.stderr.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("failed s (test): ")


def test_preview_has_a_default_output_in_the_current_folder(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = bench("preview", "folder", "--data-root", folder, "--split", "val")
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("folder-val.png: 1 cases")
    assert (tmp_path / "folder-val.png").read_bytes().startswith(b"\x89PNG")


def test_a_preview_that_cannot_be_written_leaves_nothing_behind(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    (tmp_path / "out").mkdir()
    result = bench("preview", "folder", "--data-root", folder, "--output", tmp_path / "out" / "s.png")
    assert result.exit_code == 1
    assert result.stderr == f"error: {tmp_path / 'out' / 's.png'}: No space left on device\n"
    assert list((tmp_path / "out").iterdir()) == []


def test_preview_refuses_an_empty_split_and_another_format(folder: Path, tmp_path: Path) -> None:
    result = bench(
        "preview", "folder", "--data-root", folder, "--output", tmp_path / "s.png", "--split", "train"
    )
    assert result.exit_code == 2
    assert "no case in train" in result.stderr
    assert bench("preview", "folder", "--data-root", folder, "--output", tmp_path / "s.gif").exit_code == 2


def test_check_counts_boxes_by_class() -> None:
    result = bench("check", "phantom-wrist", "--no-progress")
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert "test: 8 healthy, 30 with boxes" in lines
    (boxes,) = [line for line in lines if line.startswith("boxes: ")]
    assert all(int(part.split()[0]) >= 7 for part in boxes.removeprefix("boxes: ").split(", "))
    assert [part.split()[1] for part in boxes.removeprefix("boxes: ").split(", ")] == sorted(KINDS)


def test_preview_names_the_classes_of_the_boxes(tmp_path: Path) -> None:
    result = bench("preview", "phantom-wrist", "--count", "5", "--output", tmp_path / "w.png")
    assert result.exit_code == 0, result.output
    with Image.open(tmp_path / "w.png") as picture:
        red, green, _ = np.asarray(picture.convert("RGB")).astype(int).transpose(2, 0, 1)
    assert np.count_nonzero(red - green > 150) > 50  # outlines


@pytest.mark.parametrize(
    ("name", "text"),
    [
        pytest.param("phantom-wrist", "nothing to fetch, it is generated", id="generated"),
        pytest.param("grazpedwri", "images_part1.zip to images_part4.zip", id="published"),
    ],
)
def test_fetch_says_where_wrists_come_from(name: str, text: str, tmp_path: Path) -> None:
    assert text in bench("fetch", name, "--data-root", tmp_path).output


# Whole volumes


@pytest.fixture
def volumes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return brats(tmp_path / "brats")


def test_check_says_what_is_amiss_and_what_to_run_before_it_says_what_fails(volumes: Path) -> None:
    result = bench("check", "brats:t2:all", "--data-root", volumes)
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[0].startswith(
        "brats:t2:all: BraTS 2021, gliomas, all slices with tissue, scaled by slice; T2w; "
    )
    note = next(
        number
        for number, line in enumerate(lines)
        if line.startswith("note: 2 of 2 volumes are not on a grid")
    )
    assert lines[note + 1].startswith("  to do: register to MNI152 at 1 mm: antsRegistrationSyNQuick.sh")
    next(volumes.glob("*/*00000_t2.nii.gz")).write_bytes(b"no image")
    broken = bench("check", "brats:t2:all", "--data-root", volumes)
    assert broken.exit_code == 1
    assert "BraTS2021_00000_t2.nii.gz: not a readable NIfTI" in broken.stdout


def test_list_shows_volumes_that_are_here_and_what_is_amiss(volumes: Path) -> None:
    result = bench("list", "--data-root", volumes.parent)
    assert result.exit_code == 0, result.output
    assert "yes, see below" in result.stdout
    assert "brats: 2 of 2 volumes are not on a grid of MNI152" in result.stdout


@pytest.mark.parametrize("name", sorted(TREES))
def test_fetch_of_volumes_says_terms_steps_choices_and_whether_they_are_here(
    name: str, tmp_path: Path
) -> None:
    result = bench("fetch", name, "--data-root", tmp_path)
    assert result.exit_code == 2
    for part in ("licence:", "cite:", "1. ", f"bench data check {name}", "mid-axial, all", "here: no"):
        assert part in result.stdout
    assert "https://" in result.stdout
    made = TREES[name](tmp_path / name)
    if name == "bids":
        (made / "uadbench.toml").write_text('without_mask = "healthy"\n')
    found = bench("fetch", name, "--data-root", tmp_path)
    assert found.exit_code == 0
    assert f"here: {tmp_path / name}, " in found.stdout


def test_preview_of_a_choice_writes_a_file_without_a_colon(
    volumes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(volumes.parent)
    result = bench("preview", "brats:all", "--data-root", volumes, "--count", 2, "--split", "val")
    assert result.exit_code == 0, result.output
    assert (volumes.parent / "brats-all-val.png").is_file()
