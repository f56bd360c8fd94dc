"""A method of another package is taken as it is, or named with the reason; the others never suffer for it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest
import torch

from uadbench.engine import methods, plugins
from uadbench.engine.methods import GROUP, MethodInfo, all_methods, build_method, plugin_faults

SOURCES = {
    "good": """
from dataclasses import dataclass
from uadbench.engine.interfaces import Result
from uadbench.engine.methods import MethodInfo

@dataclass(frozen=True)
class Copy:
    gain: float = 1.0
    def __call__(self, x, tools):
        return Result(x.abs() * self.gain, x)

class Plain:
    def __call__(self, x, tools):
        return Result(x.abs(), x)

INFO = MethodInfo("Copy", "none", lambda noise: Copy())
PLAIN = MethodInfo("Plain", "none", lambda noise: Plain())
CLASS = MethodInfo("Class", "none", lambda noise: Copy)
RAISES = MethodInfo("Raises", "none", lambda noise: 1 / 0)
NUMBER = 3
""",
    "absent": "import a_package_that_is_not_here",
    "syntax": "def (",
    "exits": "raise SystemExit(7)",
    "noisy": "raise RuntimeError('first line\\nsecond line')",
    "silent": "raise Exception",
}


@pytest.fixture
def plug_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """name, value -> the method is installed beside those that were."""
    points: list[EntryPoint] = []
    for name, source in SOURCES.items():
        (tmp_path / f"plug_in_{name}.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(plugins, "entry_points", lambda group: points)

    def install(name: str, value: str) -> None:
        points.append(EntryPoint(name, value, GROUP))
        methods.method_plugins.cache_clear()

    yield install
    methods.method_plugins.cache_clear()
    for name in SOURCES:
        sys.modules.pop(f"plug_in_{name}", None)


def test_a_sound_plug_in_is_a_method_like_ours(plug_in: Any) -> None:
    plug_in("copy-2", "plug_in_good:INFO")
    assert plugin_faults() == {}
    assert next(iter(all_methods())) == "copy-2"
    method: Any = build_method("copy-2", "gaussian", None, {"gain": 2.0})
    assert method(torch.full((1, 1, 2, 2), -0.5), None).anomaly.max() == 1.0


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        pytest.param("plug_in_absent:INFO", "cannot be imported: ModuleNotFoundError: No mod", id="import"),
        pytest.param("nowhere_at_all:INFO", "cannot be imported: ModuleNotFoundError", id="no module"),
        pytest.param("plug_in_good:NOTHING", "cannot be imported: AttributeError", id="no such name"),
        pytest.param("plug_in_syntax:INFO", "cannot be imported: SyntaxError", id="syntax"),
        pytest.param("plug_in_exits:INFO", "plug_in_exits:INFO cannot be imported: SystemExit: 7", id="exit"),
        pytest.param("plug_in_noisy:INFO", "RuntimeError: first line", id="two lines"),
        pytest.param("plug_in_silent:INFO", "cannot be imported: Exception: -", id="no message"),
        pytest.param("plug_in_good:NUMBER", "is a int; a uadbench.engine.methods.MethodInfo", id="number"),
        pytest.param("plug_in_good:Copy", "is a type; a uadbench.engine.methods.MethodInfo", id="class"),
    ],
)
def test_a_broken_plug_in_is_named_in_one_line_and_the_rest_works(
    plug_in: Any, value: str, reason: str
) -> None:
    plug_in("broken", value)
    plug_in("copy", "plug_in_good:INFO")
    (fault,) = plugin_faults().items()
    assert fault[0] == "broken"
    assert reason in fault[1]
    assert "\n" not in fault[1]
    assert "broken" not in all_methods()
    assert {"copy", "thor", "blur"} <= set(all_methods())
    with pytest.raises(ValueError, match="unknown method 'broken'"):
        build_method("broken", "gaussian")


@pytest.mark.parametrize("name", ["../../evil", "a/b", "A", "", ".x", "a b", "a" * 65, "-x", "x\n"])
def test_a_name_that_could_not_be_a_folders_is_refused_before_anything_is_imported(
    plug_in: Any, name: str
) -> None:
    plug_in(name, "plug_in_exits:INFO")
    assert "is not allowed; use small letters, digits and '-'" in plugin_faults()[name]
    assert name not in all_methods()


@pytest.mark.parametrize("name", ["thor", "blur"])
def test_nobody_takes_the_place_of_ours(plug_in: Any, name: str) -> None:
    ours = all_methods()[name]
    plug_in(name, "plug_in_good:INFO")
    assert all_methods()[name] is ours
    assert plugin_faults() == {name: "the name is that of a method of uadbench itself; use another"}


def test_of_two_packages_with_one_name_the_second_is_refused(plug_in: Any) -> None:
    plug_in("copy", "plug_in_good:INFO")
    plug_in("copy", "plug_in_good:PLAIN")
    assert all_methods()["copy"].title == "Copy"
    assert "another package has the name already" in plugin_faults()["copy"]


@pytest.mark.parametrize(
    ("value", "what"), [("plug_in_good:PLAIN", "a Plain"), ("plug_in_good:CLASS", "a type")]
)
def test_a_preset_that_is_no_frozen_dataclass_gets_a_sentence(plug_in: Any, value: str, what: str) -> None:
    plug_in("mine", value)
    with pytest.raises(ValueError, match=f"mine is {what}; a method must be a frozen dataclass"):
        build_method("mine", "gaussian")


def test_ctrl_c_while_a_plug_in_is_imported_is_no_fault_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    class Slow:
        name, value = "slow", "slow:INFO"

        def load(self) -> None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        plugins._loaded(Slow(), lambda name, value: "")  # type: ignore[arg-type]


def test_a_method_may_name_networks_of_its_own() -> None:
    @dataclass(frozen=True)
    class Two:
        pass

    info = MethodInfo(
        "Two", "-", lambda noise: Two(), networks=lambda noise: {"denoiser": "unet-x", "coder": "vae"}
    )
    assert dict(info.networks("gaussian")) == {"denoiser": "unet-x", "coder": "vae"}
    assert not info.floor
