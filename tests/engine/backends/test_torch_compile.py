"""Compiled torch: what is compiled, when, and for what; that nothing else runs under its name.

Most of these trace for real and leave the compiling of kernels out; the slow ones compile.
"""

from __future__ import annotations

import json
import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from support import tiny_network as tiny
from support.forms import KINDS, SIZE
from torch import Tensor, nn

from uadbench.engine.backends import BackendError, open_backend
from uadbench.engine.backends.inductor_cache import VARIABLE
from uadbench.engine.backends.torch import TorchDenoiser
from uadbench.engine.backends.torch_compile import CompiledDenoiser
from uadbench.exporters.parity import relative_l2

CARD = {"sha256": "0"}


class Plain(nn.Module):
    """Two convolutions and the level."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.layers = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.SiLU(), nn.Conv2d(8, 1, 3, padding=1))

    def forward(self, x: Tensor, timesteps: Tensor) -> Tensor:
        return self.layers(x * (1 + timesteps[:, None, None, None] / 1000))


class Peeking(Plain):
    """Asks for a number in between, which no single graph holds."""

    def forward(self, x: Tensor, timesteps: Tensor) -> Tensor:
        torch._dynamo.graph_break()
        return super().forward(x, timesteps)


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No test touches the user's folders."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv(VARIABLE, raising=False)
    return tmp_path


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What Inductor was given and under which settings; the graph is run as it is."""
    found: list[dict[str, Any]] = []

    def lower(graph: torch.fx.GraphModule, inputs: list[Tensor]) -> Any:
        from torch._dynamo import config as tracing
        from torch._inductor import config

        settings = {
            "freezing": config.freezing,
            "cache": config.fx_graph_cache,
            "suppress_errors": tracing.suppress_errors,
        }
        found.append({"inputs": inputs, "folder": os.environ.get(VARIABLE), **settings})
        return graph.forward

    monkeypatch.setattr("torch._inductor.compile_fx.compile_fx", lower)
    return found


def compiled(model: nn.Module | None = None, batch: int = 3, **options: Any) -> CompiledDenoiser:
    return CompiledDenoiser(model or Plain(), CARD, batch_size=batch, side=SIZE, **options)


def images(count: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    x_t = torch.randn(count, 1, SIZE, SIZE, generator=torch.Generator().manual_seed(seed))
    return x_t, torch.linspace(1, 1000, count).long()


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("kind", ["unet", "conditioned-unet", "restoration-unet"])
def test_the_traced_graph_is_the_network_for_any_batch_up_to_its_own(
    seen: list[dict[str, Any]], kind: str, precision: str
) -> None:
    make, card, _ = KINDS[kind]
    traced = CompiledDenoiser(make(), card, precision, batch_size=3, side=SIZE)
    reference = TorchDenoiser(make(), card, precision)
    for count in (3, 1, 2):
        x_t, t = images(count, count)
        cond = x_t.flip(3) if kind == "conditioned-unet" else None
        found, wanted = (denoiser.denoise(x_t, t, cond) for denoiser in (traced, reference))
        assert found.shape == wanted.shape
        assert relative_l2(found, wanted) < 1e-5
    assert len(seen) == 1, "compiled once, when it was opened"


def test_it_is_compiled_when_opened_with_its_weights_as_constants_and_no_setting_left_changed(
    seen: list[dict[str, Any]], place: Path
) -> None:
    from torch._dynamo import config as tracing
    from torch._inductor import config

    before = config.get_config_copy(), tracing.get_config_copy(), dict(os.environ)
    told: list[str] = []
    denoiser = compiled(say=told.append)
    after = config.get_config_copy(), tracing.get_config_copy(), dict(os.environ)
    for found, wanted in zip(after, before, strict=True):
        assert {name for name in found.keys() | wanted.keys() if found.get(name) != wanted.get(name)} == set()
    (given,) = seen
    assert (given["freezing"], given["cache"], given["suppress_errors"]) == (True, False, False)
    shapes = {tuple(i.shape) for i in given["inputs"]}
    assert shapes == {(3, 1, SIZE, SIZE), (3,)}, "no weight is an input"
    assert Path(given["folder"]).parent == place / "cache" / "uadbench"
    assert stat.S_IMODE(Path(given["folder"]).stat().st_mode) == 0o700
    assert told == [f"compiling the network for 3x1x{SIZE}x{SIZE}, fp32: a minute or more of all cores"]
    record = json.loads(json.dumps(denoiser.describe()))
    assert list(record["compile_seconds"]) == [f"3x1x{SIZE}x{SIZE}"]
    assert (record["provider"], record["checkpoint_sha256"]) == ("torch.compile, Inductor", "0")


def test_another_image_size_is_compiled_when_it_comes_which_is_said_and_recorded(
    seen: list[dict[str, Any]],
) -> None:
    told: list[str] = []
    denoiser, reference = compiled(say=told.append), TorchDenoiser(Plain(), CARD)
    wide, t = torch.randn(2, 1, SIZE, 2 * SIZE), torch.tensor([9, 90])
    for _ in range(2):
        assert relative_l2(denoiser.denoise(wide, t), reference.denoise(wide, t)) < 1e-5
        denoiser.denoise(*images(2))
    assert len(seen) == len(told) == 2
    assert f"3x1x{SIZE}x{2 * SIZE}" in told[1]
    assert list(denoiser.describe()["compile_seconds"]) == [
        f"3x1x{SIZE}x{SIZE}",
        f"3x1x{SIZE}x{2 * SIZE}",
    ]


def test_inputs_of_any_layout_under_any_autocast_compile_nothing_anew(
    seen: list[dict[str, Any]],
) -> None:
    denoiser, (x_t, t) = compiled(), images(3)
    wanted = denoiser.denoise(x_t, t)
    strided = torch.stack([x_t, x_t], dim=-1)[..., 0]
    with torch.no_grad():
        assert torch.equal(denoiser.denoise(strided, t), wanted)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(denoiser.denoise(x_t, t), wanted)
    assert len(seen) == 1


def test_an_answer_is_not_overwritten_by_the_next(seen: list[dict[str, Any]]) -> None:
    denoiser, (x_t, t) = compiled(), images(3)
    first = denoiser.denoise(x_t, t)
    kept = first.clone()
    denoiser.denoise(-x_t, t)
    assert torch.equal(first, kept)


def test_many_networks_of_one_kind_are_open_at_once(seen: list[dict[str, Any]]) -> None:
    """torch counts what it compiled of one function, and gives up after eight."""
    (x_t, t), opened = images(3), [compiled(Plain(seed)) for seed in range(10)]
    for seed, denoiser in enumerate(opened):
        assert relative_l2(denoiser.denoise(x_t, t), TorchDenoiser(Plain(seed), CARD).denoise(x_t, t)) < 1e-5
    assert len(seen) == 10


@contextmanager
def another_number_of_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(before + 1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def test_what_would_be_compiled_anew_within_a_call_is_an_error(seen: list[dict[str, Any]]) -> None:
    denoiser = compiled()
    with (
        another_number_of_threads(),
        pytest.raises(BackendError, match=r"number of threads, is another than when .* open it again"),
    ):
        denoiser.denoise(*images(3))
    assert len(seen) == 1
    denoiser.denoise(*images(3))


@pytest.mark.parametrize("suppressed", [False, True])
def test_a_network_that_is_no_single_graph_is_refused_whatever_torch_is_told_to_ignore(
    seen: list[dict[str, Any]], suppressed: bool
) -> None:
    from torch._dynamo import config

    with (
        config.patch(suppress_errors=suppressed),
        pytest.raises(
            BackendError, match=r"torch-compile cannot compile or run .*graph.break.*--backends torch"
        ),
    ):
        compiled(Peeking())
    assert seen == []


def test_where_compiling_is_switched_off_nothing_runs_in_its_place(seen: list[dict[str, Any]]) -> None:
    with (
        torch.compiler.set_stance("force_eager"),
        pytest.raises(BackendError, match="compiled 0 graphs in place of"),
    ):
        compiled()


def test_a_compiler_that_fails_is_named_in_one_line_whatever_torch_is_told_to_ignore(
    monkeypatch: pytest.MonkeyPatch, place: Path
) -> None:
    from torch._dynamo import config as tracing
    from torch._inductor import config

    monkeypatch.setattr(tempfile, "tempdir", str(place))
    with (
        tracing.patch(suppress_errors=True),
        config.patch({"cpp.cxx": (None, "no-such-compiler")}),
        pytest.raises(BackendError) as raised,
    ):
        compiled()
    assert "No working C++ compiler found" in str(raised.value)
    assert "no-such-compiler" in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.slow
@pytest.mark.parametrize(("precision", "gate"), [("fp32", 1e-5), ("bf16", 3e-2)])
def test_what_inductor_makes_computes_what_the_network_computes(
    tmp_path: Path, precision: str, gate: float
) -> None:
    from torch._inductor import config

    x_t, t = images(2)
    for seed in (0, 1):  # the second finds the first's kernels, and has weights of its own
        denoiser = compiled(Plain(seed), batch=2, precision=precision)
        error = relative_l2(denoiser.denoise(x_t, t), TorchDenoiser(Plain(seed), CARD).denoise(x_t, t))
        assert error < gate
        assert precision == "fp32" or error > 1e-5, "else it ran in fp32"
        assert (
            relative_l2(
                denoiser.denoise(x_t[:1], t[:1]), TorchDenoiser(Plain(seed), CARD).denoise(x_t, t)[:1]
            )
            < gate
        )
    assert not config.freezing
    assert list((tmp_path / "cache" / "uadbench" / "kernels").rglob("*.so"))


@pytest.mark.slow
def test_a_checkpoint_is_compiled_for_the_size_of_the_data_sets_images(tmp_path: Path) -> None:
    denoiser = open_backend("torch-compile", tiny.make_checkpoint(tmp_path), batch_size=2)
    x_t, t = torch.randn(2, 1, 128, 128), torch.tensor([250, 999])
    reference = open_backend("torch", tiny.make_checkpoint(tmp_path))
    assert relative_l2(denoiser.denoise(x_t, t), reference.denoise(x_t, t)) < 1e-5
    assert list(denoiser.describe()["compile_seconds"]) == ["2x1x128x128"]
    denoiser.close()
