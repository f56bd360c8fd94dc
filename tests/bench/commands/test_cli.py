"""The command as a user meets it: quick to answer, clear in refusing, and safe to kill."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from uadbench.bench.cli import VERBS, cli
from uadbench.bench.commands.options import one_line_errors
from uadbench.bench.plan.config import ConfigError
from uadbench.bench.run.interrupt import Interrupted

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


@pytest.mark.parametrize(("given", "had"), [({}, "1"), ({"THP_MEM_ALLOC_ENABLE": "0"}, "0")])
def test_large_pages_are_asked_for_before_any_verb_imports_torch_unless_the_user_has_set_them(
    given: dict[str, str], had: str
) -> None:
    code = (
        "import os, sys; from unittest.mock import patch; from uadbench.bench import cli\n"
        "def seen(**more): print('torch' in sys.modules, os.environ['THP_MEM_ALLOC_ENABLE'])\n"
        "with patch.object(cli.cli, 'main', seen): cli.main([])"
    )
    free = {key: value for key, value in os.environ.items() if key != "THP_MEM_ALLOC_ENABLE"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env={**free, **given})
    assert done.stdout.split() == ["False", had], done.stderr


RUN_OPTIONS = """
    --methods --dataset --data-root --noise --backends --precision --steps --t-start --limit --batch-size --seed
    --perceptual --output --config --set --resume --overwrite --dry-run --no-progress --device --threads
    --streams
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
            ["run", "--methods", "thor", "--streams", "several"], "streams is 'several'", id="streams"
        ),
        pytest.param(
            ["run", "--methods", "thor", "--threads", "1", "--streams", "2"],
            "streams is 2, and there are 1 threads to share; give at most 1",
            id="more streams than threads",
        ),
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
    # 6 cases x (input + 2 arrays x 11 cells) x 128 x 128 x 4 bytes x 0.6
    assert re.search(r"^disk        about 5 MiB$", done.stdout, re.MULTILINE)
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


def test_doctor_says_what_works_and_fails_only_where_the_default_job_cannot_run() -> None:
    result = CliRunner().invoke(cli, ["doctor", "--json"])
    checks = json.loads(result.stdout)
    by_name = {(check["area"], check["name"]): check for check in checks}
    assert by_name["device", "cpu"]["ok"]
    assert by_name["data set", "phantom"]["ok"]
    assert not by_name["data set", "folder"]["ok"]
    assert "--data-root" in by_name["data set", "folder"]["note"]
    for precision in ("fp32", "bf16"):  # minutes, so it is not compiled
        assert re.search(
            r"all that it needs|C\+\+ compiler", by_name["back end", f"torch-compile {precision}"]["note"]
        )
    if ("back end", "tensorrt-rtx") in by_name:  # no GPU here: one row says what is missing
        assert "sees no CUDA device" in by_name["back end", "torch-cudagraph"]["note"]
        for name in ("tensorrt", "tensorrt-rtx", "onnxruntime-tensorrt"):
            assert re.search(
                "cannot be imported|no CUDA device|has no Tensorrt", by_name["back end", name]["note"]
            )
    assert result.exit_code == int(any(check["needed"] and not check["ok"] for check in checks))
