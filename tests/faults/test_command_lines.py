"""Nonsense command lines of every verb: one line that says what is wrong, exit code 2 (or 1), and nothing written."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from support.faults import bench, invoke, make_slices, refused
from support.runs import CELLS, make_run

HUGE = "1" + "0" * 400
DIGITS = "9" * 5000
NUL, SURROGATE, ESCAPE, LONG = "a\0b", "\ud800", "\x1b[31mred", "x" * 5000
MIX = "%s%n{}${HOME}`id`"

RUN = ["run", "--methods", "blur", "--limit", "1"]
TRAIN = ["train", "--output", "new", "--threads", "1", "--data-root", "data", "--data", "folder"]

LINES = [
    # names
    ["nothing"],
    [""],
    [NUL],
    [SURROGATE],
    [LONG],
    ["RUN"],
    ["--nothing"],
    ["run", "--nothing"],
    ["run", "--methods", ""],
    ["run", "--methods", ","],
    ["run", "--methods", NUL],
    ["run", "--methods", SURROGATE],
    ["run", "--methods", ESCAPE],
    ["run", "--methods", LONG],
    ["run", "--methods", "../../evil"],
    ["run", "--methods", "thor:"],
    ["run", "--methods", "thor:gaussian:gaussian"],
    ["run", "--methods", "thor,thor"],
    ["run", "--methods", MIX],
    ["run", "--methods", "anoddpm:gaussian"],
    [*RUN, "--dataset", ""],
    [*RUN, "--dataset", NUL],
    [*RUN, "--dataset", "../folder"],
    [*RUN, "--backends", "torch,torch"],
    [*RUN, "--backends", "torch:"],
    ["run", "--methods", "ddpm", "--backends", "torch:fp64"],
    ["run", "--methods", "ddpm", "--backends", "torch:fp32:fp32"],
    ["run", "--methods", "ddpm", "--backends", "onnxruntime", "--precision", "bf16"],
    ["run", "--methods", "ddpm", "--precision", ""],
    [*RUN, "--noise", "perlin"],
    [*RUN, "--perceptual", "none"],
    [*RUN, "--device", ""],
    [*RUN, "--device", "cuda:-1"],
    [*RUN, "--device", SURROGATE],
    # numbers
    ["run", "--methods", "blur", "--limit", "0"],
    ["run", "--methods", "blur", "--limit", "-1"],
    ["run", "--methods", "blur", "--limit", "1.5"],
    ["run", "--methods", "blur", "--limit", HUGE],
    ["run", "--methods", "blur", "--limit", DIGITS],
    [*RUN, "--seed", "-1"],
    [*RUN, "--seed", "0,0"],
    [*RUN, "--seed", DIGITS],
    [*RUN, "--seed", "0x10"],
    [*RUN, "--batch-size", "0"],
    [*RUN, "--batch-size", "1000000000"],
    [*RUN, "--threads", "0"],
    [*RUN, "--threads", HUGE],
    ["run", "--methods", "ddpm", "--steps", "0"],
    ["run", "--methods", "ddpm", "--steps", "nan"],
    ["run", "--methods", "ddpm", "--steps", "5,,6"],
    ["run", "--methods", "ddpm", "--steps", "1001"],
    ["run", "--methods", "ddpm", "--steps", "400", "--t-start", "300"],
    ["run", "--methods", "ddpm", "--t-start", "0"],
    ["run", "--methods", "ddpm", "--t-start", "1001"],
    ["run", "--methods", "thor", "--steps", "1"],
    # --set and --config
    [*RUN, "--set", ""],
    [*RUN, "--set", "="],
    [*RUN, "--set", "x=1"],
    [*RUN, "--set", "n_boot"],
    [*RUN, "--set", "n_boot="],
    [*RUN, "--set", "n_boot=nan"],
    [*RUN, "--set", "n_boot=1e3"],
    [*RUN, "--set", f"n_boot={DIGITS}"],
    [*RUN, "--set", "n_boot=[1]"],
    [*RUN, "--set", "n_boot={a=1}"],
    [*RUN, "--set", f"n_boot={'[' * 5000}"],
    [*RUN, "--set", "n_boot=1\nlimit=2"],
    [*RUN, "--set", "eta=inf"],
    [*RUN, "--set", "eta=-0.1"],
    [*RUN, "--set", "eta=true"],
    [*RUN, "--variance", "exct"],
    [*RUN, "--variance", "exact", "--set", "eta=0"],
    [*RUN, "--set", "limit=1979-05-27"],
    [*RUN, "--set", "methods.x=1"],
    [*RUN, "--set", "blur.sigma=nan"],
    [*RUN, "--set", "blur.nothing=1"],
    [*RUN, "--set", "thor.window=9"],
    [*RUN, "--set", "checkpoints=1"],
    [*RUN, "--set", "checkpoints.x=1"],
    [*RUN, "--set", f"checkpoints.unet-gaussian={NUL}"],
    ["run", "--methods", "ddpm", "--set", "checkpoints.unet-gaussian=index"],
    ["run", "--methods", "thor", "--set", "thor.window=0"],
    ["run", "--methods", "thor", "--set", "thor.t_start=0"],
    ["run", "--methods", "thor", "--set", 'thor.t_start="a"'],
    [*RUN, "--set", "perceptual_weights=data"],
    [*RUN, "--config", "nothing.toml"],
    [*RUN, "--config", "data"],
    [*RUN, "--config", "file"],
    [*RUN, "--config", NUL],
    [*RUN, "--config", LONG],
    # places
    [*RUN, "--output", "file"],
    [*RUN, "--output", "file/new"],
    [*RUN, "--output", "data"],
    [*RUN, "--output", NUL],
    [*RUN, "--output", SURROGATE],
    [*RUN, "--output", ""],
    [*RUN, "--output", LONG],
    [*RUN, "--output", "run"],
    [*RUN, "--output", "data", "--overwrite"],
    [*RUN, "--dataset", "folder"],
    [*RUN, "--dataset", "folder", "--data-root", "file"],
    [*RUN, "--dataset", "folder", "--data-root", "nothing"],
    [*RUN, "--dataset", "folder", "--data-root", NUL],
    [*RUN, "--dataset", "folder", "--data-root", SURROGATE],
    [*RUN, "--dataset", "ixi-stroke", "--data-root", "file"],
    # the other verbs
    ["list", "--nothing"],
    ["list", "x"],
    ["report"],
    ["report", ""],
    ["report", "data"],
    ["report", "file"],
    ["report", NUL],
    ["report", SURROGATE],
    ["report", LONG],
    ["report", "run", "run"],
    ["report", "run", "nothing"],
    ["report", "run", "--output", "file"],
    ["report", "run", "--output", NUL],
    ["profile", "--networks", ""],
    ["profile", "--networks", NUL],
    ["profile", "--networks", SURROGATE],
    ["profile", "--networks", LONG],
    ["profile", "--networks", "../../evil"],
    ["profile", "--networks", "nothing.safetensors"],
    ["profile", "--networks", "data/"],
    ["profile", "--methods", ""],
    ["profile", "--methods", "thor:"],
    ["profile", "--methods", "blur"],
    ["profile", "--backends", "torch:fp64"],
    ["profile", "--backends", "torch,,torch"],
    ["profile", "--precision", "fp64"],
    ["profile", "--device", "tpu"],
    ["profile", "--batch", "0"],
    ["profile", "--batch", DIGITS],
    ["profile", "--batch", "1,x"],
    ["profile", "--rounds", HUGE],
    ["profile", "--streams", "-1"],
    ["profile", "--threads", "0"],
    ["profile", "--set", "nothing=1"],
    ["profile", "--output", "data"],
    ["profile", "--output", "file"],
    ["profile", "--output", NUL],
    ["profile", "--output", LONG],
    ["profile", "--compare", "run"],
    ["profile", "--compare", "file"],
    ["profile", "--fail-on", "5%"],
    ["profile", "--compare", "run", "--fail-on", "nan%"],
    ["profile", "--history", "file"],
    ["compare"],
    ["compare", "run"],
    ["compare", "run", "nothing"],
    ["compare", "run", "file"],
    ["compare", "run", "run", "run"],
    ["compare", NUL],
    ["compare", "run", "--methods", "nothing,thor"],
    ["compare", "run", "--methods", NUL],
    ["compare", "run", "--backends", "torch:fp64,torch"],
    ["compare", "run", "--measure", "nothing"],
    ["compare", "run", "--measure", ""],
    ["compare", "run", "--fail-on", "dice_max"],
    ["compare", "run", "--fail-on", "dice_max=nan"],
    ["compare", "run", "--fail-on", f"dice_max={HUGE}"],
    ["compare", "run", "--fail-on", "dice_max=-0.02%%"],
    ["compare", "run", "--json", "--csv"],
    ["compare", "run", "--seed", HUGE],
    ["parity", "data"],
    ["parity", "run", "--cases", "0"],
    ["parity", "run", "--checkpoint", "x"],
    ["parity", NUL],
    ["export", "--network", "nothing", "--output", "new"],
    ["export", "--network", "../../evil", "--output", "new"],
    ["export", "--network", NUL, "--output", "new"],
    ["export", "--output", "file"],
    ["export", "--checkpoint", "file", "--output", "new"],
    ["export", "--checkpoint", NUL, "--output", "new"],
    ["export", "--batch-size", "0"],
    ["export", "--batch-size", DIGITS],
    ["export", "--opset", "1"],
    ["export", "--only", "perceptual", "--perceptual", "none", "--output", "new"],
    ["export", "--only", "perceptual", "--perceptual-weights", "file", "--output", "new"],
    ["data", "nothing"],
    ["data", "check", ""],
    ["data", "check", NUL],
    ["data", "check", "folder", "--data-root", "nothing"],
    ["data", "check", "folder", "--data-root", SURROGATE],
    ["data", "fetch", "nothing"],
    ["data", "fetch", NUL],
    ["data", "preview", "folder", "--data-root", "data", "--output", "x.jpg"],
    ["data", "preview", "folder", "--data-root", "data", "--output", "file/x.png"],
    ["data", "preview", "folder", "--data-root", "data", "--output", NUL + ".png"],
    ["data", "preview", "folder", "--data-root", "data", "--output", LONG + ".png"],
    ["data", "preview", "folder", "--data-root", "data", "--count", "0"],
    ["doctor", "--nothing"],
    ["import-weights"],
    ["import-weights", "--nothing"],
    ["import-weights", "nothing"],
    ["train"],
    [*TRAIN, "--steps", "0"],
    [*TRAIN, "--steps", HUGE],
    [*TRAIN, "--batch-size", "0"],
    [*TRAIN, "--learning-rate", "nan"],
    [*TRAIN, "--learning-rate", "inf"],
    [*TRAIN, "--learning-rate", "0"],
    [*TRAIN, "--ema", "nan"],
    [*TRAIN, "--ema", "1"],
    [*TRAIN, "--warped", "nan"],
    [*TRAIN, "--seed", "-1"],
    [*TRAIN, "--seed", HUGE],
    [*TRAIN, "--noise", "perlin"],
    [*TRAIN, "--initial", "nothing"],
    [*TRAIN, "--initial", NUL],
    [*TRAIN, "--initial", "data"],
    ["train", "--output", "new", "--data", "nothing"],
    ["train", "--output", "new", "--data", ""],
    ["train", "--output", "new", "--data", "folder=0", "--data-root", "data"],
    ["train", "--output", "new", "--data", "folder=nan", "--data-root", "data"],
    ["train", "--output", "new", "--data", "folder,folder", "--data-root", "data"],
    ["train", "--output", "new", "--data", "folder", "--data-root", "nothing"],
    ["train", "--output", "file", "--data", "folder", "--data-root", "data"],
    ["train", "--output", "file/new", "--data", "folder", "--data-root", "data"],
    ["train", "--output", NUL, "--data", "folder", "--data-root", "data"],
    ["train", "--output", LONG, "--data", "folder", "--data-root", "data"],
    ["train-perceptual"],
    ["train-perceptual", "--output", "x.txt"],
    ["train-perceptual", "--output", "data"],
    ["train-perceptual", "--output", "file/x.safetensors", "--data", "folder", "--data-root", "nothing"],
    ["train-perceptual", "--output", "x.safetensors", "--data", "nothing"],
    ["train-perceptual", "--output", "x.safetensors", "--level", "nan"],
    ["train-perceptual", "--output", "x.safetensors", "--seed", HUGE],
]


LOCK = "run/.uadbench.lock"  # a run may be looked at under its lock before it is refused


def shown(words: list[str]) -> str:
    return ascii(" ".join(word if len(word) < 60 else f"{word[:9]}..." for word in words))[1:-1]


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working folder with a file, a run and a data set in it."""
    folder = tmp_path_factory.mktemp("here")
    (folder / "file").write_text("mine\0")
    make_slices(folder / "data", {"train": 1, "val": 1, "test": 2}, side=32)
    make_run(folder / "run", cells=CELLS[:1], n_lesion=2, n_healthy=1)
    return folder


def contents(folder: Path) -> dict[str, tuple[int, int]]:
    """Of every file its time and size, and that the folders are there."""
    found = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*")}
    return {
        name: (0, 0) if path.is_dir() else (path.stat().st_mtime_ns, path.stat().st_size)
        for name, path in found.items()
    }


@pytest.mark.parametrize("words", [pytest.param(words, id=shown(words)) for words in LINES])
def test_nonsense_is_refused_in_one_line_and_nothing_is_written(
    here: Path, words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(here)
    monkeypatch.setenv("UADBENCH_DATA", "")
    before = contents(here)
    line = refused(invoke(*words))
    assert len(line) < 400 + 2 * max(map(len, words)), "a word that was typed is repeated once at most"
    after = contents(here)
    assert {name for name in before | after if before.get(name) != after.get(name)} <= {LOCK}


def test_every_verb_is_among_them() -> None:
    from uadbench.bench.cli import VERBS

    assert {words[0] for words in LINES} >= set(VERBS)


@pytest.mark.skipif(os.name != "posix" or os.getuid() == 0, reason="root may write everywhere")
@pytest.mark.parametrize("words", [RUN, TRAIN], ids=["run", "train"])
def test_a_folder_that_may_not_be_written_is_one_line(
    here: Path, tmp_path: Path, words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(here)
    tmp_path.chmod(0o500)
    words = [*words, "--output", str(tmp_path / "new")]
    assert "new" in refused(invoke(*words))


def test_bytes_that_are_no_text_are_refused_by_a_process_of_its_own(tmp_path: Path) -> None:
    """What the shell passes as it is: Python makes surrogates of it."""
    done = bench("run", "--methods", os.fsdecode(b"\xff\xfe"), cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("Error: '\\udcff\\udcfe' holds")
    assert list(tmp_path.iterdir()) == []
