"""``bench compare`` says which settings differ between the two sides."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.compared import Made, read, write_run

from uadbench.bench.compare.pairs import choose_pairs
from uadbench.bench.compare.settings import differing_settings

FEW = range(2)


def differs(tmp_path: Path, one: Made, two: Made, **manifest: Any) -> list[str]:
    a, b = write_run(tmp_path / "a", one), write_run(tmp_path / "b", two, **manifest)
    (pair,) = choose_pairs(read(a, b), [one.method, two.method], [one.backend, two.backend])[0]
    return [setting.text for setting in differing_settings(pair)]


@pytest.mark.parametrize(
    ("other", "expected"),
    [
        pytest.param({}, [], id="nothing"),
        pytest.param({"steps": "10"}, ["steps 25 | 10"], id="steps"),
        pytest.param({"settings": {"window": 9}}, ["window 13 | 9"], id="a setting against its preset"),
        pytest.param({"seed": 3}, ["seed 0 | 3"], id="seed"),
        pytest.param({"post": "behrendt"}, ["post-processing none | behrendt"], id="post-processing"),
        pytest.param({"method": "ddpm"}, ["method thor | ddpm"], id="method"),
        pytest.param({"noise": "simplex"}, ["noise gaussian | simplex"], id="noise"),
        pytest.param(
            {"backend": "openvino", "precision": "bf16", "batch": 8},
            ["back end torch | openvino", "precision fp32 | bf16", "batch size 1 | 8"],
            id="arm",
        ),
    ],
)
def test_settings_of_the_variant_and_arm_are_told(tmp_path: Path, other: dict, expected: list[str]) -> None:
    assert differs(tmp_path, Made(ids=FEW), Made(ids=FEW, **other)) == expected


@pytest.mark.parametrize(
    ("manifest", "expected"),
    [
        pytest.param(
            {"config": {"variance": "exact"}}, "variance fixed-small | exact", id="variance, unknown to older"
        ),
        pytest.param({"version": "0.2"}, "version - | 0.2", id="version"),
        pytest.param({"environment": {"threads": 4}}, "threads 1 | 4", id="threads"),
        pytest.param({"environment": {"cpu": "y"}}, "processor - | y", id="processor"),
        pytest.param({"git": {"commit": "a" * 40}}, f"code - | {'a' * 12}", id="code, shortened"),
        pytest.param(
            {"checkpoints": {"gaussian": {"sha256": "b" * 64}}}, f"weights - | {'b' * 12}", id="weights"
        ),
    ],
)
def test_what_the_manifests_say_is_told(tmp_path: Path, manifest: dict, expected: str) -> None:
    assert expected in differs(tmp_path, Made(ids=FEW), Made(ids=FEW), **manifest)
