"""``import uadbench``: a method on images, a run as tables, the methods; numpy in, numpy out."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.places import ROOT

from uadbench.bench import api
from uadbench.bench.plan.config import ConfigError
from uadbench.bench.run.machine import uadbench_version
from uadbench.datasets.case import SIZES
from uadbench.engine.backends import BackendError
from uadbench.engine.methods import FLOORS
from uadbench.engine.post import behrendt
from uadbench.reports.atomic import RunError

IMAGES = np.random.default_rng(0).random((3, 32, 32), dtype=np.float32)
QUICK: dict[str, Any] = {"steps": 3, "batch_size": 2, "thor": {"harmonize_at": [200]}}


def test_detect_gives_arrays_of_the_images_form_whatever_the_batch() -> None:
    together = api.detect(IMAGES, **QUICK)
    for found in (together.anomaly, together.reconstruction):
        assert (found.shape, found.dtype) == (IMAGES.shape, np.float32)
    assert together.anomaly.min() >= 0
    assert 0 <= together.reconstruction.min() <= together.reconstruction.max() <= 1
    alone = api.detect(IMAGES[0], **QUICK)
    assert alone.anomaly.shape == (32, 32)
    np.testing.assert_allclose(alone.anomaly, together.anomaly[0], atol=1e-4)


def test_the_seed_and_settings_reach_the_method() -> None:
    first, again, other = (api.detect(IMAGES[0], "ddpm", seed=seed, steps=2).anomaly for seed in (0, 0, 1))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    squared = api.detect(IMAGES[0], "ddpm", steps=2, ddpm={"squared": True}).anomaly
    np.testing.assert_allclose(squared, first**2, atol=1e-5)


def test_a_floor_looks_where_lesions_are_said_to_be() -> None:
    dark, bright = (api.detect(IMAGES[0], "intensity", lesion_sign=sign).anomaly for sign in (-1, 1))
    assert not np.array_equal(dark, bright)


def test_a_method_without_noise_is_told_where_lesions_lie_and_no_seed_changes_it() -> None:
    first, other = (api.detect(IMAGES[0], "mend", seed=seed).anomaly for seed in (0, 1))
    assert np.array_equal(first, other)
    assert not np.array_equal(first, api.detect(IMAGES[0], "mend", lesion_sign=1).anomaly)


@pytest.mark.parametrize(
    ("image", "settings", "error", "message"),
    [
        pytest.param(IMAGES * 2, {}, ValueError, r"in \[0, 1\] are needed", id="range"),
        pytest.param(IMAGES * np.nan, {}, ValueError, "finite ones", id="NaN"),
        pytest.param(IMAGES[None], {}, ValueError, r"\[H, W\] or \[B, H, W\]", id="four axes"),
        pytest.param(IMAGES[:0], {}, ValueError, r"\[H, W\] or \[B, H, W\]", id="no image"),
        pytest.param(IMAGES * 1j, {}, ValueError, "complex", id="complex"),
        pytest.param(IMAGES[:, :30], {}, ValueError, "30 x 32; sides that are multiples of 8", id="side"),
        pytest.param(IMAGES, {"method": "thro"}, ConfigError, "did you mean 'thor'", id="method"),
        pytest.param(IMAGES, {"method": "residual-median"}, ConfigError, "use `bench run`", id="needs data"),
        pytest.param(IMAGES, {"steps": [5, 6]}, ConfigError, "2 variants; detect runs one", id="several"),
        pytest.param(IMAGES, {"wndow": 9}, ConfigError, "unknown setting 'wndow'", id="setting"),
        pytest.param(IMAGES, {"variance": "exact"}, ConfigError, "healthy slices; use `bench", id="variance"),
        pytest.param(IMAGES, {"seed": -1}, ConfigError, "seed is -1", id="seed"),
        pytest.param(IMAGES, {"device": "gpu"}, BackendError, "choose cpu or cuda", id="device"),
    ],
)
def test_what_detect_cannot_do_is_one_line(
    image: np.ndarray, settings: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message) as raised:
        api.detect(image, **settings)
    assert "\n" not in str(raised.value)


def test_methods_are_a_table_of_names_noises_and_floors() -> None:
    table = api.methods().set_index("name")
    assert table.loc["thor", "noises"] == ("gaussian", "simplex")
    assert not table.loc["thor", "floor"]
    assert table.loc["blur", "floor"]


@pytest.fixture(scope="module")
def run_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the floors alone: real, and done in seconds."""
    path = tmp_path_factory.mktemp("runs") / "floors"
    words = [
        "--methods",
        "blur",
        "--limit",
        "4",
        "--set",
        "n_boot=20",
        "--set",
        "val_limit=2",
        "--no-progress",
    ]
    command = [sys.executable, "-m", "uadbench.bench.cli", "run", *words, "--output", str(path)]
    subprocess.run(command, check=True, capture_output=True, timeout=300)
    return path


def test_a_run_is_two_tables_with_all_that_a_plot_needs(run_path: Path) -> None:
    run = api.load_run(run_path)
    assert set(run.leaderboard["method"]) == set(FLOORS)
    assert run.leaderboard["dice_max"].between(0, 1).all()
    cases = run.cases
    assert len(cases) == len(FLOORS) * 6  # floors x (4 test and 2 validation cases)
    wanted = {"case", "split", "method", "variant", "arm", "settings", "dice", "lesion_px", "group", "score"}
    assert wanted | {"latency_ms", "seed", "backend", "perceptual", "cell"} <= set(cases.columns)
    lesions = cases[(cases["split"] == "test") & cases["lesion"]]
    assert set(lesions["group"]) <= set(SIZES)
    assert lesions["dice"].between(0, 1).all()
    assert cases[~cases["lesion"]]["dice"].isna().all()
    assert (cases["latency_ms"] > 0).all()
    means = lesions.groupby("method")["dice"].mean()
    board = run.leaderboard.set_index("method")["dice_case"]
    np.testing.assert_allclose(means, board[means.index], atol=1e-9)
    assert run.manifest["dataset"]["name"] == "phantom"


def test_a_folder_that_is_no_run_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="holds no manifest"):
        api.load_run(tmp_path)


def test_the_package_offers_the_interface_and_imports_nothing_before_it_is_used() -> None:
    code = (
        "import sys, uadbench\n"
        "assert not {'torch', 'numpy', 'pandas', 'click'} & set(sys.modules)\n"
        "assert dir(uadbench) == ['__version__', 'detect', 'load_run', 'methods', 'predict']\n"
        "assert 'thor' in set(uadbench.methods()['name']) and 'torch' not in sys.modules\n"
        "try: uadbench.detct\n"
        "except AttributeError as error: print(error)\n"
        "print(uadbench.__version__)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["module 'uadbench' has no attribute 'detct'", uadbench_version()]


def test_python_m_uadbench_is_bench() -> None:
    done = subprocess.run([sys.executable, "-m", "uadbench", "list"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("methods\n  thor ")
    assert (ROOT / "__main__.py").is_file()


def test_detect_post_processes_where_it_is_asked_to() -> None:
    image = np.zeros((32, 32), np.float32)
    image[4:28, 4:28] = np.random.default_rng(0).uniform(0.3, 0.9, (24, 24))
    plain = api.detect(image, "blur")
    found = api.detect(image, "blur", post="behrendt")
    np.testing.assert_array_equal(found.anomaly, behrendt(plain.anomaly[None], image[None])[0])
    np.testing.assert_array_equal(found.reconstruction, plain.reconstruction)
    assert not np.array_equal(found.anomaly, plain.anomaly)
