"""The leaderboard: rows, what may be said of them, and the CSV and Markdown files."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from rich.console import Console
from support.runs import CELLS, make_run

from uadbench.bench.run.inputs import Loader
from uadbench.datasets.folder import open_folder
from uadbench.reports.leaderboard import rows, terminal_table, write_reports
from uadbench.reports.places import short_command, short_place, short_text
from uadbench.reports.provenance import account
from uadbench.reports.ranking import marks
from uadbench.reports.rows import FIXED, origin, rows_of
from uadbench.reports.store import RunError, load_run, read_json, write_json
from uadbench.reports.text import markdown

SPEC_COLUMNS = (
    "dataset,method,noise,steps,backend,precision,n_cases,n_failed,dice_max,dice_max_lo,dice_max_hi,dice_small,"
    "dice_medium,dice_large,auprc,dice_healthy_fpr5,auroc_image,nfe,latency_ms_p50,latency_ms_p90,network_ms_p50"
)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("runs") / "a")


def edit(path: Path, **changes: Any) -> None:
    write_json(path, read_json(path) | changes)


def pick(frame: pd.DataFrame, cell: str) -> pd.Series:
    return frame[frame["cell"] == cell].iloc[0]


def test_the_csv_starts_with_the_agreed_columns_and_holds_fractions(run: Path, tmp_path: Path) -> None:
    """leaderboard.csv: fixed columns first, one line a cell, scores as stored, values that are none left empty."""
    write_reports([run], tmp_path)
    text = (tmp_path / "leaderboard.csv").read_text()
    assert text.splitlines()[0].startswith(SPEC_COLUMNS + ",")
    assert ",".join(FIXED) == SPEC_COLUMNS
    frame = pd.read_csv(tmp_path / "leaderboard.csv")
    assert len(frame) == len(CELLS)
    thor = frame[frame["cell"] == "thor-simplex-25-torch-fp32"].iloc[0]
    metrics = read_json(run / "cells" / "thor-simplex-25-torch-fp32" / "metrics.json")
    assert thor["dice_max"] == pytest.approx(metrics["dice_max"]["value"])
    assert thor["auprc"] == pytest.approx(metrics["auprc"]["value"])
    assert (thor["nfe"], thor["n_cases"], thor["n_failed"]) == (31, 11, 1)
    assert pd.isna(frame[frame["method"] == "blur"].iloc[0]["network_ms_p50"])


def test_rows_are_methods_then_floors_best_first(run: Path) -> None:
    """Within a data set the frame lists methods before floors, each by falling pooled Dice."""
    frame = rows([run])
    kinds = list(frame["kind"])
    assert kinds == ["method"] * kinds.count("method") + ["floor"] * kinds.count("floor")
    for kind in ("method", "floor"):
        assert frame[frame["kind"] == kind]["dice_max"].is_monotonic_decreasing


def test_the_order_of_runs_does_not_matter(tmp_path: Path) -> None:
    """The same runs in another order give the same bytes in all three files."""
    dataset = {"fingerprint": "cd" * 32}
    other = make_run(
        tmp_path / "b", run_id="b", seed=5, n_lesion=3, n_healthy=2, cells=CELLS[:2], dataset=dataset
    )
    run = make_run(tmp_path / "a", n_lesion=3, n_healthy=1, cells=CELLS[:2] + CELLS[-1:])
    first = [path.read_bytes() for path in write_reports([run, other], tmp_path / "x")]
    second = [path.read_bytes() for path in write_reports([other, run], tmp_path / "y")]
    assert first == second


def test_null_is_missing_and_never_zero(tmp_path: Path) -> None:
    """A score that could not be computed is NaN in the frame, empty in the CSV and a dash in print."""
    path = make_run(tmp_path / "run", cells=CELLS[:1], n_lesion=3, n_healthy=0)
    none = {"value": None, "lo": None, "hi": None}
    edit(path / "cells" / "thor-gaussian-25-torch-fp32" / "metrics.json", auroc_image=none, dice_small=None)
    frame = rows([path])
    assert frame[["auroc_image", "dice_small", "dice_small_n"]].isna().all(axis=None)
    write_reports([path], tmp_path)
    line = next(
        line for line in (tmp_path / "leaderboard.md").read_text().splitlines() if line.startswith("| THOR")
    )
    assert line.split(" | ")[3] == "–"
    assert line.split(" | ")[8] == "–"


def test_an_unfinished_cell_is_a_row_without_scores(tmp_path: Path) -> None:
    """A run that was stopped is still reported; its unscored cell has no figures and the page says so."""
    path = make_run(tmp_path / "run", cells=CELLS[:2], n_lesion=4, n_healthy=2)
    cell = path / "cells" / "thor-gaussian-25-onnxruntime-fp32"
    (cell / "metrics.json").unlink()
    (cell / "latency.json").unlink()
    assert pick(rows([path]), cell.name)[["dice_max", "latency_ms_p50", "n_cases"]].isna().all()
    page = write_reports([path], tmp_path)[2].read_text()
    assert "thor-gaussian-25-onnxruntime-fp32: 6 cases done, not scored" in page


@pytest.mark.parametrize(
    ("cell", "value", "note"),
    [
        pytest.param("thor-gaussian-25-onnxruntime-fp32", True, "", id="parity passed"),
        pytest.param(
            "thor-gaussian-25-openvino-bf16", False, "parity fail: max Dice differs", id="parity failed"
        ),
        pytest.param("thor-gaussian-25-torch-fp32", False, "the reference", id="reference"),
        pytest.param("blur-none-0-torch-fp32", False, "no network", id="floor"),
    ],
)
def test_a_speed_up_needs_parity(run: Path, cell: str, value: bool, note: str) -> None:
    """Speed-up = median of torch fp32 / median of the cell, of the same method in the same run, parity passed."""
    row = pick(rows([run]), cell)
    assert note in row["speedup_note"]
    if value:
        reference = pick(rows([run]), "thor-gaussian-25-torch-fp32")
        assert row["speedup"] == pytest.approx(reference["latency_ms_p50"] / row["latency_ms_p50"])
    else:
        assert pd.isna(row["speedup"])


def test_without_a_parity_file_no_speed_up_is_shown(tmp_path: Path) -> None:
    """A missing verdict counts as unchecked."""
    path = make_run(tmp_path / "run", parity=False, n_lesion=3, n_healthy=1, cells=CELLS[:2])
    row = pick(rows([path]), "thor-gaussian-25-onnxruntime-fp32")
    assert pd.isna(row["speedup"])
    assert row["speedup_note"] == "parity was not checked"


def test_another_step_count_is_not_the_reference(tmp_path: Path) -> None:
    """A cell is never held against torch fp32 of a different sampler."""
    slow = ("thor", "gaussian", "paper", "torch", "fp32", "method", 0.4, 9000.0, 350)
    path = make_run(tmp_path / "run", cells=(slow, CELLS[1]), n_lesion=3, n_healthy=1)
    row = pick(rows([path]), "thor-gaussian-25-onnxruntime-fp32")
    assert row["speedup_note"] == "this run has no torch fp32 cell of the method"


def small_frame(entries: list[tuple[str, float, float, float]]) -> pd.DataFrame:
    """(kind, value, low, high) rows with the same figures for every score."""
    frame = pd.DataFrame(
        [{"kind": kind, "method": f"m{number}"} for number, (kind, *_) in enumerate(entries)]
    )
    for score in (
        "dice_max",
        "dice_small",
        "dice_medium",
        "dice_large",
        "auprc",
        "dice_healthy_fpr5",
        "auroc_image",
    ):
        for place, suffix in enumerate(("", "_lo", "_hi")):
            frame[f"{score}{suffix}"] = [entry[1 + place] for entry in entries]
    return frame


def test_ties_are_rows_whose_interval_reaches_the_best_rows() -> None:
    """Best 0.50 [0.45, 0.55]: an interval up to 0.45 ties, one up to 0.449 does not, the best is no tie."""
    frame = small_frame(
        [("method", 0.50, 0.45, 0.55), ("method", 0.4, 0.35, 0.45), ("method", 0.4, 0.35, 0.449)]
    )
    found = marks(frame)
    assert {index for index, score in found.best if score == "auprc"} == {0}
    assert {index for index, score in found.ties if score == "auprc"} == {1}


def test_without_intervals_only_equal_values_share_the_first_place() -> None:
    """Missing intervals make no ties."""
    nan = float("nan")
    found = marks(
        small_frame([("method", 0.5, nan, nan), ("method", 0.5, nan, nan), ("method", 0.49, nan, nan)])
    )
    assert {index for index, score in found.best if score == "dice_max"} == {0, 1}
    assert not found.ties


def test_a_method_under_the_best_floor_is_marked_even_when_intervals_overlap() -> None:
    """Only methods are marked, and against the best floor, not any floor."""
    entries = [
        ("method", 0.31, 0.2, 0.4),
        ("method", 0.29, 0.2, 0.4),
        ("floor", 0.30, 0.0, 1.0),
        ("floor", 0.1, 0.0, 1.0),
    ]
    found = marks(small_frame(entries))
    assert found.below == {1: "below the floor m2 (30.0)"}


def test_cases_of_another_fingerprint_get_their_own_table(run: Path, tmp_path: Path) -> None:
    """Two runs of one data set over different cases never share a best value."""
    other = make_run(tmp_path / "b", run_id="b", n_lesion=3, n_healthy=1, dataset={"fingerprint": "00" * 32})
    loaded = [load_run(run), load_run(other)]
    text = markdown(loaded, rows_of(loaded))
    assert text.count("| method | back end |") == 2


@pytest.mark.parametrize(
    ("dataset", "expected"),
    [
        pytest.param({"name": "ixi-stroke", "title": "IXI"}, "semi-synthetic", id="ixi-stroke"),
        pytest.param({"name": "phantom"}, "synthetic", id="phantom"),
        pytest.param({"name": "soop-flair", "title": "SOOP FLAIR", "caveats": ["one site"]}, "", id="real"),
        pytest.param({"name": "folder", "caveats": ["Semi-synthetic."]}, "semi-synthetic", id="by caveat"),
    ],
)
def test_made_data_is_called_so(dataset: dict[str, Any], expected: str) -> None:
    """The origin that every report prints beside the figures."""
    assert origin(dataset) == expected


def test_the_markdown_carries_origin_caveats_floors_and_published_rows(tmp_path: Path) -> None:
    """What must stand beside the figures does."""
    caveats = ["Semi-synthetic: intensities are simulated."]
    dataset = {"name": "ixi-stroke", "title": "IXI with stroke shapes", "caveats": caveats}
    loaded = [load_run(make_run(tmp_path / "run", dataset=dataset, n_lesion=4, n_healthy=2))]
    text = markdown(loaded, rows_of(loaded))
    for part in (
        "## IXI with stroke shapes (semi-synthetic)",
        caveats[0],
        "floors: no network",
        "DDPM · gaussian · 25 steps ▼",
        "Not comparable",
        "29.74",
        "Test CPU",
        "brain-squeeze",
        "No speed-up for thor-gaussian-25-openvino-bf16: parity fail",
    ):
        assert part in text


def test_markdown_from_users_cannot_break_the_table_or_become_markup(tmp_path: Path) -> None:
    """Pipes, line ends, HTML and links in titles and method names stay text."""
    evil = "a|b\n<img src=x onerror=alert(1)> [x](http://example.org) `c`"
    dataset = {"title": evil, "caveats": [evil]}
    path = make_run(tmp_path / "run", dataset=dataset, n_lesion=3, n_healthy=1, cells=CELLS[:1])
    edit(path / "cells" / "thor-gaussian-25-torch-fp32" / "cell.json", method=evil)
    write_reports([path], tmp_path)
    lines = (tmp_path / "leaderboard.md").read_text().splitlines()
    row = next(line for line in lines if line.startswith("| a"))
    assert row.replace("\\|", "").count("|") == lines[lines.index(row) - 1].count("|")
    assert not any("<img" in line or "[x](" in line for line in lines)


def test_a_run_given_twice_is_refused(run: Path) -> None:
    """Doubling a run would double its rows."""
    with pytest.raises(RunError, match="given more than once"):
        rows([run, run])


def test_no_run_is_refused(tmp_path: Path) -> None:
    """A report of nothing is an error with the remedy."""
    with pytest.raises(RunError, match="no run directory given"):
        write_reports([], tmp_path)


@pytest.mark.parametrize("cells", [pytest.param(CELLS, id="back ends"), pytest.param(CELLS[::2], id="fewer")])
def test_the_terminal_table_fits_80_columns_without_cutting_figures(tmp_path: Path, cells: tuple) -> None:
    """No line is longer than 80 columns, no cell is cut to an ellipsis, markup in names stays text."""
    path = make_run(tmp_path / "run", cells=cells, dataset={"name": "[red]x[/red]"}, n_lesion=3, n_healthy=1)
    buffer = io.StringIO()
    Console(file=buffer, width=80, color_system=None).print(terminal_table(rows([path])))
    text = buffer.getvalue()
    assert max(map(len, text.splitlines())) <= 80
    assert "…" not in text
    assert "[red]x[/red]" in text
    assert len(re.findall(r"\d\.\d\d×", text)) == int(rows([path])["speedup"].notna().sum())
    assert "41.2" in text
    assert "37.7–44.7" in text
    assert "AUROC" in text
    assert "NFE" in text


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
    reason = Loader(tmp_path / "run", dataset).read(dataset.cases[0])
    assert isinstance(reason, str)
    assert reason.startswith("slices/a.png: not a readable PNG")
    assert str(tmp_path) not in reason


def test_the_account_tells_what_really_ran(tmp_path: Path) -> None:
    """A line a back end, the checkpoint's card, and the shares of a session; older manifests have no such line."""
    path = make_run(tmp_path / "run", cells=CELLS[:1], n_lesion=2, n_healthy=1)
    assert not any(name.startswith("What really ran") for name, _ in account(load_run(path)))
    described = {
        "provider": "OpenVINO CPU",
        "openvino": "2026.4.1",
        "threads": 2,
        "precision_hint": "bf16",
        "layers_by_precision": {"bf16": 40, "f32": 3},
        "artifact_sha256": "ab" * 32,
    }
    seconds = {
        "load": 1.0,
        "score": 2.0,
        "write": 0.5,
        "other": 0.5,
        "open": 1.0,
        "parity": 2.0,
        "total": 40.0,
    }
    manifest = read_json(path / "manifest.json")
    card = {"name": "unet-gaussian", "steps": 6000, "parameters": 3779588, "loss": 0.03, "seconds": 9}
    edit(
        path / "manifest.json",
        backends={"openvino bf16 gaussian": described},
        sessions=[{"seconds": seconds, "harness_fraction": 0.1}],
        checkpoints={"gaussian": manifest["checkpoints"]["gaussian"] | {"card": card}},
    )
    lines = dict(account(load_run(path)))
    assert lines["What really ran: openvino bf16 gaussian"] == (
        "provider OpenVINO CPU; openvino 2026.4.1; threads 2; precision hint bf16; "
        "layers by precision bf16 40, f32 3; artifact sha256 abababababababab"
    )
    assert lines["Sessions"] == (
        "40 s: 10.0% reading, scoring and writing; 7.5% opening back ends and parity"
    )
    assert lines["Checkpoint gaussian"].startswith("unet-gaussian, 6000 steps, 3779588 parameters (sha256 ")


def test_the_markdown_tells_load_timed_batches_measures_and_failures(tmp_path: Path) -> None:
    """What the page says of the figures, the Markdown says too; a quiet machine is not accused."""
    path = make_run(tmp_path / "run", cells=CELLS[:3], n_lesion=3, n_healthy=1)
    quiet = markdown([load_run(path)], rows([path]))
    assert "Load reached" not in quiet
    edit(path / "cells" / "thor-gaussian-25-openvino-bf16" / "latency.json", load_max=2.5, n=7)
    text = markdown([load_run(path)], rows([path]))
    for part in (
        "* Load reached 2.5 with 2 threads: something else was running, do not trust the latencies of "
        "thor-gaussian-25-openvino-bf16.",
        "7 batches of 8 images (thor-gaussian-25-openvino-bf16); 4 batches of 8 images (",
        "* **Average Dice**: ",
        "above 570 px",
        "* failed: sub-001: image is constant",
        "* excluded: 2 cases: lesion of 3 px or fewer (all 3 cells)",
    ):
        assert part in text, part


def test_a_run_without_the_reference_is_not_judged_and_not_red(tmp_path: Path) -> None:
    """Without torch fp32 the verdict is shown neutrally and the speed-up is a dash with its reason."""
    path = make_run(tmp_path / "run", cells=CELLS[1:2], n_lesion=3, n_healthy=1)
    verdict = {"verdict": "not judged", "reason": "this run has no torch fp32 cell of the method"}
    write_json(path / "parity.json", {"thor-gaussian-25-onnxruntime-fp32": verdict})
    row = rows([path]).iloc[0]
    assert pd.isna(row["speedup"])
    page = write_reports([path], tmp_path)[2].read_text()
    assert re.search(r'<span class="tag neutral" title="[^"]*">not judged</span>', page)
    assert 'title="this run has no torch fp32 cell of the method">–' in page


def test_the_first_call_is_shown_an_image(tmp_path: Path) -> None:
    """The timing table divides the first call of a batch by the batch size and counts batches as batches."""
    path = make_run(tmp_path / "run", cells=CELLS[:1], n_lesion=3, n_healthy=1)
    edit(path / "cells" / "thor-gaussian-25-torch-fp32" / "latency.json", first_call_ms=8 * 123.0)
    page = write_reports([path], tmp_path)[2].read_text()
    assert '<td class="num">123</td>' in page
    for title in ("timed batches", "first network call ms/image", "process peak MiB"):
        assert f'<th scope="col" class="num">{title}</th>' in page
