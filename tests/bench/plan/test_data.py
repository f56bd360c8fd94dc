"""A data set as typed: its name, and behind it which part of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.volumes import brats

from uadbench.bench.plan.config import ConfigError, RunConfig, config_hash
from uadbench.bench.plan.data import find_opener, open_dataset
from uadbench.bench.plan.plan import make_plan
from uadbench.bench.run.directory import default_output
from uadbench.datasets import DATASETS
from uadbench.datasets.preprocess import Preprocessing


def test_a_name_alone_is_the_registry_s_own_opener() -> None:
    assert all(find_opener(name) is opener for name, opener in DATASETS.items())


@pytest.mark.parametrize("text", ["brts", "brts:t2", ":t2", ""])
def test_a_name_that_is_none_is_refused_with_the_names_that_there_are(text: str) -> None:
    with pytest.raises(ConfigError, match=r"unknown data set .*choose from phantom"):
        open_dataset(text, None)


def test_the_choice_is_part_of_the_run_s_identity_and_no_colon_of_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    root = brats(tmp_path / "brats")
    configs = [
        RunConfig(methods=("blur",), dataset=name, data_root=str(root))
        for name in ("brats:all", "brats:50%:all")
    ]
    assert config_hash(configs[0]) != config_hash(RunConfig(methods=("blur",), dataset="brats"))
    assert default_output(configs[0], "0123456789") == Path("runs/brats-all-01234567")
    assert default_output(configs[1], "0123456789") == Path("runs/brats-50pc-all-01234567")
    with pytest.raises(ConfigError, match="no test case"):
        make_plan(configs[0])  # both patients of the small tree are validation


def test_a_mask_rule_reaches_the_slices_of_volumes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    root = brats(tmp_path / "brats")
    usual, other = (
        find_opener("brats:50%")(root, 0, None, Preprocessing(mask_rule=rule)) for rule in (0.5, "any")
    )
    case = usual.cases[0]
    assert other.load(case).mask.sum() > usual.load(case).mask.sum()
    assert other.fingerprint != usual.fingerprint
