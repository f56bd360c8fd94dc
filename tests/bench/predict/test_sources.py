"""Which files and slices are predicted, and what they are called."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from support.closed import closed

from uadbench.bench.plan.config import ConfigError
from uadbench.bench.predict.sources import Source, check_slices, choose_slices, find_sources, slice_id
from uadbench.datasets.case import CaseError
from uadbench.datasets.native import Grid


def tree(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("")
    return folder


def names(given: Path, output: Path, pattern: str | None = None) -> list[str]:
    return [source.name for source in find_sources(given, output, pattern)]


def test_images_below_a_folder_are_taken_in_the_order_of_their_names_and_nothing_else(tmp_path: Path) -> None:
    tree(tmp_path, "b.nii.gz", "a/x.PNG", "a/notes.json", ".hidden.png", "out/b_anomaly.nii.gz", "c.npy")
    assert names(tmp_path, tmp_path / "out") == ["a/x", "b", "c"]
    assert names(tmp_path, tmp_path / "elsewhere", "*.nii.gz") == ["b", "out/b_anomaly"]
    assert names(tmp_path, tmp_path / "elsewhere", "a/*") == ["a/x"]


def test_a_file_by_itself_is_called_as_in_its_own_folder(tmp_path: Path) -> None:
    tree(tmp_path, "deep/er/sub-01 (1).nii.gz")
    (source,) = find_sources(tmp_path / "deep/er/sub-01 (1).nii.gz", tmp_path / "deep/er")
    assert (source.name, source.case_id) == ("sub-01 (1)", "sub-01__1_")


@pytest.mark.parametrize(
    ("files", "given", "output", "message"),
    [
        pytest.param(["a.txt"], ".", "out", "no file is a .png", id="no image"),
        pytest.param([], "nowhere", "out", "no such file or folder", id="nothing"),
        pytest.param(["a.txt"], "a.txt", "out", "unknown kind of file", id="another kind"),
        pytest.param(["a.png"], ".", ".", "is the input's folder", id="into itself"),
    ],
)
def test_what_cannot_be_predicted_together_is_one_line(
    tmp_path: Path, files: list[str], given: str, output: str, message: str
) -> None:
    tree(tmp_path, *files)
    with pytest.raises(ConfigError, match=message) as error:
        find_sources(tmp_path / given, tmp_path / output)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("files", "case_ids", "results"),
    [
        pytest.param(["b.png", "c.png"], ["b", "c"], ["b", "c"], id="nothing to tell apart"),
        pytest.param(["a.png", "a.npy"], ["a-", "a-"], ["a", "a"], id="two kinds"),
        pytest.param(["a.nii", "a.nii.gz"], ["a-", "a-"], ["a-", "a-"], id="two kinds with results of one"),
        pytest.param(["x/y_z.png", "x_y/z.png"], ["x_y_z-", "x_y_z-"], ["x/y_z", "x_y/z"], id="a folder"),
        pytest.param(["中国.png", "日本.png"], ["__-", "__-"], ["中国", "日本"], id="signs"),
        pytest.param(["A.png", "a.png"], ["A", "a"], ["A-", "a-"], id="capitals"),
        pytest.param(["e\u0301.png", "é.png"], ["e_", "_"], ["e\u0301-", "é-"], id="one letter or two"),
    ],
)
def test_what_would_have_one_name_is_told_apart_by_its_path(
    tmp_path: Path, files: list[str], case_ids: list[str], results: list[str]
) -> None:
    found = find_sources(tree(tmp_path, *files, "other.png"), tmp_path / "out")
    if len(found) < 3:
        pytest.skip("on this disk both names are one file")
    by_path = {source.path.relative_to(tmp_path).as_posix(): source for source in found}
    for name, case_id, result in zip(files, case_ids, results, strict=True):
        mark = hashlib.sha256(name.encode()).hexdigest()[:10]
        assert by_path[name].case_id == (case_id + mark if case_id.endswith("-") else case_id)
        assert by_path[name].written == (result + mark if result.endswith("-") else result)
    assert len({source.case_id for source in found}) == len(found) == 3


def test_a_folder_that_cannot_be_read_is_among_the_sources(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = tree(tmp_path / "in", "a.png", "b/c.png", ".trash/d.png", "lost+found/e.png")
    for name in ("b", ".trash", "lost+found"):
        closed(given / name, monkeypatch)
    image, folder = find_sources(given, tmp_path / "out", "*.png")
    assert (image.name, image.fault) == ("a", "")
    assert (folder.path, folder.name, folder.suffix) == (given / "b", "b/", "")
    assert folder.fault.startswith("the folder cannot be read (Permission denied); make it readable")


def test_an_input_that_cannot_be_read_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = tree(tmp_path / "in", "a.png")
    closed(given, monkeypatch)
    with pytest.raises(ConfigError, match=r"in: cannot be read \(Permission denied\); make it readable"):
        find_sources(given, tmp_path / "out")


@pytest.mark.parametrize(
    ("text", "depth", "expected"),
    [
        pytest.param("mid", 9, [4], id="middle"),
        pytest.param("mid", 10, [5], id="middle of an even number"),
        pytest.param("all", 3, [0, 1, 2], id="all"),
        pytest.param("5, 2-4,3", 9, [2, 3, 4, 5], id="numbers and ranges"),
        pytest.param("60-90", 1, [0], id="a file of one slice"),
    ],
)
def test_slices_are_chosen_by_word_number_or_range(text: str, depth: int, expected: list[int]) -> None:
    assert choose_slices(check_slices(text), depth) == expected


@pytest.mark.parametrize("text", ["", "middle", "-1", "1.5", "5-2", "1,,2", "9999999"])
def test_other_words_for_slices_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="--slices is"):
        check_slices(text)


def test_a_slice_that_a_volume_has_not_fails_that_volume_alone() -> None:
    with pytest.raises(CaseError, match="slice 9 is outside 0 to 8"):
        choose_slices("7-9", 9)


def test_noise_is_keyed_by_the_files_name_and_the_slices_number() -> None:
    source = Source(Path("x/sub-1/T1w.nii"), "sub-1/T1w")
    assert slice_id(source, Grid(source.path, (4, 4, 200), 200), 7) == "sub-1_T1w-z007"
    assert slice_id(source, Grid(source.path, (4, 4, 1)), 0) == "sub-1_T1w"
