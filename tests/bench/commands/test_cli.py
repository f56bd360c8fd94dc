"""The command as a user meets it: quick to answer, clear in refusing, and safe to kill."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import click
import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from safetensors.torch import save_file

from uadbench.bench.cli import VERBS, cli
from uadbench.bench.commands.options import one_line_errors
from uadbench.bench.plan.config import ConfigError
from uadbench.bench.run.interrupt import Interrupted
from uadbench.engine.networks.checkpoint import save_checkpoint, sha256_of
from uadbench.engine.networks.unet import UNet, UNetConfig
from uadbench.engine.perceptual.squeezenet import STAGE_CHANNELS, SqueezeNetStages
from uadbench.reports.atomic import read_json
from uadbench.reports.runs import load_run
from uadbench.reports.store import RunDirectory

BENCH = [sys.executable, "-m", "uadbench.bench.cli"]


def bench(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "UADBENCH_DATA": "", "COLUMNS": "200"}
    return subprocess.run(
        [*BENCH, *arguments], capture_output=True, text=True, cwd=cwd, env=environment, timeout=120
    )


def verbs() -> list[str]:
    return [verb for verb in VERBS if cli.get_command(None, verb) is not None]  # type: ignore[arg-type]


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from uadbench.bench.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'numpy', 'pandas', 'rich', 'matplotlib', 'numba'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert all(f"  {verb} " in done.stdout for verb in ("run", "list", "report", "doctor", "data", "train"))


@pytest.mark.parametrize("verb", verbs())
def test_every_verbs_help_works_without_torch(verb: str) -> None:
    code = (
        f"import sys; from uadbench.bench.cli import main\ntry: main(['{verb}', '--help'])\n"
        "except SystemExit as end: assert not end.code\nassert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "Usage: bench" in done.stdout


RUN_OPTIONS = """
    --methods --dataset --data-root --noise --backends --precision --steps --t-start --limit --batch-size --seed
    --perceptual --output --config --set --resume --overwrite --dry-run --no-progress --device --threads
"""


@pytest.mark.parametrize("option", RUN_OPTIONS.split())
def test_run_has_the_options_that_others_script_against(option: str) -> None:
    assert re.search(rf"{option}\b", CliRunner().invoke(cli, ["run", "--help"]).output)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param(["rnu"], "unknown command 'rnu'; did you mean 'run'?", id="verb"),
        pytest.param(["run"], "no methods given", id="no methods"),
        pytest.param(["run", "--methods", "thro"], "did you mean 'thor'?", id="method"),
        pytest.param(
            ["run", "--methods", "thor", "--dataset", "phantm"], "did you mean 'phantom'?", id="data set"
        ),
        pytest.param(["run", "--methods", "thor", "--perceptual", "brain"], "brain-squeeze", id="perceptual"),
        pytest.param(["run", "--methods", "thor", "--set", "x"], "is not key=value", id="set"),
        pytest.param(
            ["run", "--methods", "thor", "--config", "no.toml"], "no.toml: cannot be read", id="config"
        ),
        pytest.param(["run", "--methods", "thor", "--limit", "0"], "limit is 0", id="limit"),
        pytest.param(["run", "--methods", "thor", "--threads", "1099511627776"], "1<=x<=1024", id="threads"),
        pytest.param(
            ["run", "--methods", "thor", "--set", "n_boot=1000000000000"], "from 1 to 100000", id="n_boot"
        ),
        pytest.param(["run", "--methods", "thor", "--seed", "9" * 5000], "from 0 to 9223372", id="long seed"),
        pytest.param(["run", "--methods", "thor", "--steps", "5,5"], "names 5 twice", id="steps twice"),
        pytest.param(
            ["run", "--methods", "blur", "--dataset", "folder", "--data-root", "no"], "no", id="folder"
        ),
        pytest.param(["report", "nowhere"], "nowhere: no such folder", id="report"),
    ],
)
def test_wrong_usage_is_exit_code_2_and_one_clear_line(arguments: list[str], message: str) -> None:
    result = CliRunner().invoke(cli, arguments)
    assert result.exit_code == 2
    assert message in result.output
    assert "Traceback" not in result.output


@pytest.mark.parametrize(
    "arguments",
    [
        pytest.param(["run", "--methods", "blur", "--dataset", "ixi-stroke"], id="run"),
        pytest.param(["train", "--data", "ixi-stroke", "--output", "out"], id="train"),
        pytest.param(["data", "check", "ixi-stroke"], id="data check"),
        pytest.param(["data", "preview", "ixi-stroke"], id="data preview"),
        pytest.param(["data", "fetch", "ixi-stroke"], id="data fetch"),
    ],
)
def test_a_data_set_that_is_not_here_is_exit_code_2_in_every_verb(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(cli, [*arguments, "--data-root", str(tmp_path)])
    assert result.exit_code == 2
    assert result.stderr.count("\n") == 1
    assert result.stderr.startswith("error: ")


@pytest.mark.parametrize("verb", verbs())
def test_every_verb_translates_errors(verb: str) -> None:
    """A refusal of the system is one line with the file and exit code 1, one of our own exit code 2."""
    command: Any = cli.get_command(None, verb)  # type: ignore[arg-type]
    leaves = command.commands.values() if isinstance(command, click.Group) else [command]
    for leaf in leaves:
        assert hasattr(leaf.callback, "__wrapped__"), leaf.name


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        pytest.param(OSError(28, "No space left", "a/b"), 1, "error: a/b: No space left", id="full disk"),
        pytest.param(ConfigError("x is 1"), 2, "error: x is 1", id="our own"),
        pytest.param(FloatingPointError("the loss is nan"), 1, "error: the loss is nan", id="failed at work"),
        pytest.param(Interrupted(), 130, "interrupted", id="interrupted"),
    ],
)
def test_errors_become_a_line_and_an_exit_code(
    error: BaseException, code: int, line: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("uadbench.bench.commands.options.ignore_signals", lambda: None)

    @click.command()
    @one_line_errors
    def verb() -> None:
        raise error

    result = CliRunner().invoke(verb, [])
    assert result.exit_code == code
    assert result.stderr == line + "\n"


def test_list_loads_no_torch_and_takes_less_than_a_second_of_the_processor() -> None:
    code = (
        "import sys, time; from uadbench.bench.cli import main\n"
        "try: main(['list'])\n"
        "except SystemExit as end: assert not end.code\n"
        "assert 'torch' not in sys.modules; print(time.process_time())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout.splitlines()[-1]) < 1


@pytest.mark.parametrize("device", ["gpu", "mps", "cuda:x"])
def test_an_unknown_device_is_refused_even_where_only_floors_run(device: str) -> None:
    result = CliRunner().invoke(cli, ["run", "--methods", "blur", "--device", device])
    assert result.exit_code == 2
    assert f"unknown device '{device}'; choose cpu or cuda" in result.output


def test_a_file_that_cannot_be_written_is_one_line_without_overwrite_in_the_hint(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device", "results/cell.json")

    words = ["run", "--methods", "blur", "--overwrite", "--limit", "2"]
    monkeypatch.setattr("uadbench.bench.run.run.execute", full)
    monkeypatch.setattr(sys, "argv", ["bench", *words])
    result = CliRunner().invoke(cli, words)
    assert result.exit_code == 1
    assert result.output == (
        "error: results/cell.json: No space left on device; what is done is kept. "
        "To finish it: bench run --methods blur --limit 2\n"
    )


def test_a_dry_run_shows_cells_cases_calls_output_and_disk_and_leaves_nothing(tmp_path: Path) -> None:
    options = ["--steps", "5,25", "--limit", "4", "--set", "val_limit=2"]
    done = bench("run", "--methods", "thor,ddpm", *options, "--dry-run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "thor-gaussian-25-brain-squeeze-torch-fp32" in done.stdout
    assert "4 test, 2 healthy for thresholds" in done.stdout
    assert "360 network calls" in done.stdout  # 2 methods x (5 + 25) steps x 6 cases
    assert re.search(r"^output      runs/phantom-[0-9a-f]{8}$", done.stdout, re.MULTILINE)
    # 6 cases x (input + 2 arrays x 8 cells) x 128 x 128 x 4 bytes x 0.6
    assert re.search(r"^disk        about 4 MiB$", done.stdout, re.MULTILINE)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        pytest.param(["--set", "checkpoints.unet-gaussian=no.safetensors"], "no.safetensors", id="network"),
        pytest.param(["--set", "perceptual_weights=no.st"], "no.st", id="perceptual weights"),
        pytest.param(
            ["--set", "checkpoints.unet-gausian=x"], "did you mean 'unet-gaussian'", id="network name"
        ),
        pytest.param(["--backends", "openvino", "--device", "cuda"], "openvino", id="back end"),
    ],
)
def test_a_dry_run_refuses_what_a_run_refuses(options: list[str], message: str, tmp_path: Path) -> None:
    words = ["run", "--methods", "thor", "--limit", "1", "--output", str(tmp_path / "out"), *options]
    dry, real = (CliRunner().invoke(cli, [*words, *more]) for more in (["--dry-run"], []))
    assert dry.exit_code == real.exit_code == 2
    assert message in dry.stderr
    assert dry.stderr == real.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        pytest.param("manifest.json", '{"mine": 1}', "its manifest.json is not a run's", id="own manifest"),
        pytest.param("notes.txt", "mine", "is not empty and holds no run", id="own folder"),
    ],
)
def test_a_dry_run_refuses_a_folder_that_is_no_run_and_touches_nothing(
    tmp_path: Path, name: str, content: str, message: str
) -> None:
    (tmp_path / name).write_text(content)
    words = ["run", "--methods", "blur", "--limit", "1", "--output", str(tmp_path), "--dry-run"]
    result = CliRunner().invoke(cli, words)
    assert result.exit_code == 2
    assert message in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_list_names_all_that_other_commands_take() -> None:
    listing = json.loads(CliRunner().invoke(cli, ["list", "--json"]).stdout)
    assert {"thor", "ddpm", "anoddpm", "autoddpm"} <= set(listing["methods"])
    assert {"residual-median", "intensity", "asymmetry", "blur"} == set(listing["floors (always run)"])
    assert {"phantom", "ixi-stroke", "soop-flair", "folder"} <= set(listing["data sets"])
    assert "torch" in listing["back ends"]
    assert set(listing["noises"]) == {"gaussian", "simplex"}
    assert {"brain-squeeze", "lpips-squeeze"} <= set(listing["perceptual nets"])


def test_doctor_says_what_works_and_fails_only_where_the_default_job_cannot_run() -> None:
    result = CliRunner().invoke(cli, ["doctor", "--json"])
    checks = json.loads(result.stdout)
    by_name = {(check["area"], check["name"]): check for check in checks}
    assert by_name["device", "cpu"]["ok"]
    assert by_name["data set", "phantom"]["ok"]
    assert not by_name["data set", "folder"]["ok"]
    assert "--data-root" in by_name["data set", "folder"]["note"]
    assert result.exit_code == int(any(check["needed"] and not check["ok"] for check in checks))


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Options that name a tiny untrained network and an untrained perceptual net: real files, quick to run."""
    folder = tmp_path_factory.mktemp("weights")
    torch.manual_seed(0)
    tiny = UNet(UNetConfig(fold=4, channels=(16,), attention=(False,), head_channels=16, embedding=16))
    save_checkpoint(folder / "tiny.safetensors", tiny, {"steps": 0})
    tensors = {f"features.{k}": v for k, v in features().items()}
    tensors |= {f"head{k}": torch.ones(channels) for k, channels in enumerate(STAGE_CHANNELS)}
    save_file(tensors, folder / "net.safetensors")
    digest = sha256_of((folder / "net.safetensors").read_bytes())
    (folder / "net.json").write_text(json.dumps({"sha256": digest}))
    return [
        *("--set", f"checkpoints.unet-gaussian={folder / 'tiny.safetensors'}"),
        *("--set", f"perceptual_weights={folder / 'net.safetensors'}"),
    ]


def features() -> dict[str, torch.Tensor]:
    """The perceptual net's parameters under the names of its files."""
    return {key.removeprefix("features."): value for key, value in SqueezeNetStages().state_dict().items()}


def run_arguments(weights: list[str], *more: str) -> list[str]:
    quick = ["--methods", "ddpm,thor", "--batch-size", "2", "--threads", "1", "--steps", "6"]
    data = ["--dataset", "folder", "--data-root", "data"]
    return ["run", *quick, *data, "--set", "val_limit=2", "--set", "n_boot=20", *weights, *more]


def make_pictures(folder: Path, n_test: int) -> None:
    """A `folder` data set: 2 training, 2 validation and n_test test slices, the latter but the first with a lesion."""
    folder.mkdir()
    lines = ["case_id,image,mask,split,subject"]
    for i, split in enumerate(["train"] * 2 + ["val"] * 2 + ["test"] * n_test):
        Image.linear_gradient("L").resize((64, 64)).rotate(13 * i).save(folder / f"c{i}.png")
        lines.append(f"c{i},c{i}.png,{'m.png' if i > 4 else ''},{split},s{i}")
    mask = Image.new("L", (64, 64))
    mask.paste(255, (20, 20, 40, 40))
    mask.save(folder / "m.png")
    (folder / "index.csv").write_text("\n".join(lines) + "\n")


def kept(run: Path) -> dict[str, Any]:
    """All that must not hang on interruptions: bytes of arrays, inputs and metrics, and records less their times."""
    timed = ("latency_ms", "network_call_ms", "stages_ms", "load", "peak_memory_mib", "first_call")
    loaded = load_run(run)
    records = {
        cell.slug: {r["case_id"]: {k: v for k, v in r.items() if k not in timed} for r in cell.cases}
        for cell in loaded.cells
    }
    files = [*run.glob("inputs/*"), *run.glob("cells/*/arrays/*"), *run.glob("cells/*/metrics.json")]
    return {"records": records, "files": {str(p.relative_to(run)): p.read_bytes() for p in sorted(files)}}


def test_a_run_killed_outright_is_finished_by_the_same_command_to_the_same_bytes(
    tmp_path: Path, weights: list[str]
) -> None:
    make_pictures(tmp_path / "data", n_test=6)
    whole = bench(*run_arguments(weights, "--output", "whole"), cwd=tmp_path)
    assert whole.returncode == 0, whole.stderr
    assert "Leaderboard" in whole.stdout
    assert whole.stdout.rstrip().endswith("leaderboard.html")
    assert "\x1b" not in whole.stderr  # no terminal, no progress bar

    command = [*BENCH, *run_arguments(weights, "--output", "killed")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        command, cwd=tmp_path, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        cell = RunDirectory(tmp_path / "killed").cell("ddpm-gaussian-6-torch-fp32")
        wait_for(lambda: len(cell.read_cases()) >= 2, process)
        process.send_signal(signal.SIGKILL)
    done = sum(len(cell.cases) for cell in load_run(tmp_path / "killed").cells)
    assert 0 < done < 6 * 8
    assert read_json(tmp_path / "killed" / "manifest.json")["finished"] is None

    again = bench(*run_arguments(weights, "--output", "killed"), cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert f"{done} of {6 * 8} results are there" in again.stderr
    assert kept(tmp_path / "killed") == kept(tmp_path / "whole")
    assert not list((tmp_path / "killed").rglob("*.tmp"))

    manifest = read_json(tmp_path / "killed" / "manifest.json")
    assert manifest["finished"]
    assert 0 < manifest["sessions"][-1]["harness_fraction"] < 1
    other = bench(*run_arguments(weights, "--output", "killed", "--seed", "1"), cwd=tmp_path)
    assert other.returncode == 2
    assert "holds another run (other seed)" in other.stderr
    assert kept(tmp_path / "killed") == kept(tmp_path / "whole")


def test_an_interrupted_run_exits_with_130_and_says_how_to_go_on(tmp_path: Path, weights: list[str]) -> None:
    make_pictures(tmp_path / "data", n_test=20)
    command = [*BENCH, *run_arguments(weights, "--output", "run")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        cell = RunDirectory(tmp_path / "run").cell("ddpm-gaussian-6-torch-fp32")
        wait_for(lambda: len(cell.read_cases()) >= 2, process)
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "interrupted; what is done is kept. To finish it: bench run --methods ddpm,thor" in stderr
    assert read_json(tmp_path / "run" / "manifest.json")["sessions"][-1]["ended"] == "interrupted"


def test_an_unreadable_case_makes_exit_code_1_and_the_rest_is_scored(
    tmp_path: Path, weights: list[str]
) -> None:
    make_pictures(tmp_path / "data", n_test=3)
    (tmp_path / "data" / "c5.png").write_bytes(b"not a picture")
    done = bench(*run_arguments(weights, "--output", "run"), cwd=tmp_path)
    assert done.returncode == 1, done.stderr
    assert "case c5: " in done.stderr
    for cell in load_run(tmp_path / "run").cells:
        assert cell.metrics is not None
        assert (cell.metrics["n_cases"], cell.metrics["n_failed"]) == (2, 1)
    report = bench("report", "run", "--output", "elsewhere", cwd=tmp_path)
    assert report.returncode == 0, report.stderr
    first, second = ((tmp_path / name / "leaderboard.csv").read_bytes() for name in ("run", "elsewhere"))
    assert first == second
    shutil.rmtree(tmp_path / "run" / "cells")


def wait_for(condition: Any, process: subprocess.Popen, seconds: float = 90) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, "the run ended before it could be disturbed"
        assert time.monotonic() < end, "the run did not get going"
        time.sleep(0.01)
