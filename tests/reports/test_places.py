"""Where things lay on somebody's machine stays out of what is published."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.files import edit
from support.runs import CELLS, make_run

from uadbench.bench.run.inputs import Loader
from uadbench.datasets.folder import open_folder
from uadbench.reports.atomic import read_json, write_json
from uadbench.reports.leaderboard import write_reports
from uadbench.reports.places import short_command, short_config, short_place, short_text
from uadbench.reports.store import RunDirectory


def test_no_folder_of_the_machine_is_published(tmp_path: Path) -> None:
    """Absolute paths in command, configuration, failure reasons, parity and back ends show as names alone."""
    reason = "/tmp/data/slices/sub-001.png: not a readable PNG; save it again as a grey PNG"
    path = make_run(tmp_path / "run", cells=CELLS[:3], n_lesion=3, n_healthy=1, reason=reason)
    command = (
        "bench run --dataset folder --output /tmp/out/run7 --data-root=/home/anna/brains "
        "--set checkpoints.gaussian=/tmp/w/mine.safetensors --set perceptual_weights=/home/anna/lpips.pth"
    )
    config = {
        "data_root": "/home/anna/brains",
        "perceptual_weights": "/home/anna/lpips.pth",
        "checkpoints": {"gaussian": "/tmp/w/mine.safetensors"},
        "batch_size": 8,
    }
    backend = {"torch fp32 gaussian": {"provider": "torch eager", "cache": "/home/anna/.cache/x"}}
    edit(path / "manifest.json", command=command, config=config, backends=backend)
    parity = read_json(path / "parity.json")
    write_json(
        path / "parity.json",
        {key: entry | {"reason": "no /tmp/out/run7/x.npz"} for key, entry in parity.items()},
    )
    write_reports([path], tmp_path / "out")
    for name in ("leaderboard.csv", "leaderboard.md", "leaderboard.html"):
        text = (tmp_path / "out" / name).read_text()
        for folder in ("/tmp", "/home", "anna"):
            assert folder not in text, (name, folder)
        if name != "leaderboard.csv":
            for kept in ("--output run7", "--data-root=brains", "sub-001.png: not a readable PNG"):
                assert kept in text, (name, kept)
    assert "checkpoints.gaussian=mine.safetensors" in (tmp_path / "out" / "leaderboard.md").read_text()
    assert "&#34;gaussian&#34;: &#34;mine.safetensors&#34;" in text


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("/data/x.npz", "x.npz"),
        ("~/runs/a", "a"),
        ("~", "~"),
        ("/home/anna", "~"),
        ("C:\\Users\\anna\\w.pt", "w.pt"),
        ("../home/anna/w.pt", "w.pt"),
        ("/", "/"),
        ("runs/a", "runs/a"),
        ("thor:simplex", "thor:simplex"),
    ],
)
def test_a_place_is_shown_by_its_last_part(value: str, shown: str) -> None:
    """Absolute paths and those through a person's folder lose their folders; anything else stays."""
    assert short_place(value) == shown


def test_words_that_are_no_paths_stay() -> None:
    """Fractions, addresses and options keep their slashes; an unclosed quote does not stop the report."""
    for text in ("ms/image, n/a", "see https://example.org/a/b", "5 / 6"):
        assert short_text(text) == text
    assert short_text("[Errno 2] No such file: '/a/b/c.nii.gz'.") == "[Errno 2] No such file: 'c.nii.gz'."
    assert short_command("bench run --note 'x --output /tmp/a/b") == "bench run --note 'x --output b"
    assert short_command("bench run '/my files/run 1'") == "bench run 'run 1'"


def test_a_file_that_cannot_be_read_is_named_relative_to_its_data_folder(tmp_path: Path) -> None:
    """The reason that goes into the run directory, and from there into reports, holds no folder above the data's."""
    root = tmp_path / "my data"
    (root / "slices").mkdir(parents=True)
    (root / "slices" / "a.png").write_bytes(b"not a picture")
    (root / "index.csv").write_text("case_id,image,mask,split,subject\na,slices/a.png,,test,a\n")
    dataset = open_folder(root)
    reason = Loader(RunDirectory(tmp_path / "run"), dataset).read(dataset.cases[0])
    assert isinstance(reason, str)
    assert reason.startswith("slices/a.png: not a readable PNG")
    assert str(tmp_path) not in reason


def test_a_table_of_perceptual_weights_shows_the_names_of_its_files() -> None:
    table = {"lpips-alex": "/home/anna/alex.pth", "lpips-squeeze": "C:\\anna\\squeeze.pth"}
    shown = short_config({"perceptual_weights": table})["perceptual_weights"]
    assert shown == {"lpips-alex": "alex.pth", "lpips-squeeze": "squeeze.pth"}
