"""Every graph that is exported, in every form that TensorRT is given, becomes an engine, without GPU or driver."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from support import tiny_network as tiny
from support.diffusion import make_network
from support.forms import KINDS, SIZE, STEPS
from support.pages import page, table
from support.rtx import trt
from support.tiny_engines import recipe_of

from uadbench.engine.backends import BACKENDS
from uadbench.engine.backends.artifacts import read_artifact
from uadbench.engine.backends.form import Form
from uadbench.engine.backends.tensorrt_build import build
from uadbench.engine.backends.tensorrt_library import RTX
from uadbench.engine.networks import NETWORKS
from uadbench.engine.networks.checkpoint import load_denoiser, schedule_of
from uadbench.engine.networks.diffusion_unet import DiffusionUNetConfig
from uadbench.engine.perceptual.distance import open_squeeze
from uadbench.engine.schedule import linear_schedule
from uadbench.exporters.onnx import export_perceptual, export_unet
from uadbench.exporters.step import export_step

PRECISIONS = BACKENDS["tensorrt-rtx"].precisions["cuda"]
PARTS = ("features", "distance")
PAIRS = linear_schedule().pairs(350, 4)
MODELS = Path(str(files("uadbench.models")))
CARDS = {path.stem: json.loads(path.read_text()) for path in sorted(MODELS.glob("*.json"))}
SHIPPED = [
    n for n, card in CARDS.items() if "network" in card and NETWORKS[card.get("kind", "unet")].denoises
]


class Graph(NamedTuple):
    """export : (folder, form) -> the file; kind : its manifest's"""

    export: Callable[[Path, Form], Path]
    kind: str


def network(make: Callable[[], Any], card: dict[str, Any], size: int) -> Graph:
    def export(folder: Path, form: Form) -> Path:
        export_unet(make(), card, folder / "net.onnx", form, size=size)
        return folder / "net.onnx"

    return Graph(export, "unet")


def step(make: Callable[[], Any], card: dict[str, Any], size: int) -> Graph:
    def export(folder: Path, form: Form) -> Path:
        export_step(make(), card, folder / "step.onnx", PAIRS, form, size=size)
        return folder / "step.onnx"

    return Graph(export, "step")


def perceptual(part: str) -> Graph:
    def export(folder: Path, form: Form) -> Path:
        opened = open_squeeze("brain-squeeze")
        source = {"name": opened.name, "sha256": opened.sha256}
        export_perceptual(opened.net, source, folder, "p", form, size=48)
        return folder / f"p-{part}.onnx"

    return Graph(export, f"perceptual-{part}")


GRAPHS = {
    **{name: network(kind.make, kind.card, SIZE) for name, kind in KINDS.items()},
    **{f"step of {name}": step(kind.make, kind.card, SIZE) for name, kind in STEPS.items()},
    **{f"perceptual {part}": perceptual(part) for part in PARTS},
}
# In every run; all others with -m slow. test_tensorrt_build.py has a network in fp32.
QUICK = {("step of conditioned-unet", "fp16")}
CELLS = [
    pytest.param(name, p, id=f"{name}, {p}", marks=() if (name, p) in QUICK else pytest.mark.slow)
    for name in GRAPHS
    for p in PRECISIONS
]


def becomes_an_engine(
    folder: Path, graph: Graph, precision: str, batch: int, form: Form | None = None
) -> None:
    """Its convolutions in the file's precision; those of the perceptual distance's weighted sums stay fp32.

    form : that of the back end where None
    """
    path = graph.export(folder, form or BACKENDS["tensorrt-rtx"].form(precision, batch, "cuda"))
    artifact = read_artifact(path, graph.kind)
    mixed = graph.kind == "perceptual-distance" and precision != "fp32"
    asked = recipe_of(artifact, precision, mixed=mixed)
    shapes = {name: (batch, *shape[1:]) for name, shape in asked.shapes.items()}  # the file's may be open
    built = build(trt, RTX, artifact.data, replace(asked, shapes=shapes))
    assert sum(built.convolutions.values()) == artifact.manifest["operators"]["Conv"]
    heads = {"fp32": 7} if mixed else {}
    assert {k: n for k, n in built.convolutions.items() if k != precision} == heads
    assert len(built.plan) > 100_000


@pytest.mark.parametrize(("name", "precision"), CELLS)
def test_an_exported_graph_becomes_an_engine_in_the_precision_of_its_file(
    tmp_path: Path, name: str, precision: str
) -> None:
    becomes_an_engine(tmp_path, GRAPHS[name], precision, batch=2)


# Forms that no back end asks for but `bench export` writes; fp32 with the fused operator is refused by the library.
OTHERS = [Form(precision, "plain", 2) for precision in ("fp16", "bf16")] + [
    Form(precision, "plain" if precision == "fp32" else "fused", batch, layout)
    for precision in PRECISIONS
    for batch, layout in ((2, "channels-last"), (None, "channels-first"))
]


@pytest.mark.slow
@pytest.mark.parametrize("form", OTHERS, ids=str)
def test_other_forms_become_engines_too(tmp_path: Path, form: Form) -> None:
    two_levels = network(tiny.make_unet, {"sha256": "0"}, tiny.SIZE)
    becomes_an_engine(tmp_path, two_levels, form.precision, batch=2, form=form)


@pytest.mark.slow
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("form", [network, step])
def test_the_papers_network_in_its_own_size_becomes_an_engine(
    tmp_path: Path, form: Callable[..., Graph], precision: str
) -> None:
    card = {"sha256": "0", "kind": "diffusion-unet"}
    graph = form(lambda: make_network(DiffusionUNetConfig()), card, 128)
    becomes_an_engine(tmp_path, graph, precision, batch=1)


@pytest.mark.slow
@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", SHIPPED)
def test_every_checkpoint_that_is_shipped_and_its_step_become_engines(
    tmp_path: Path, name: str, precision: str
) -> None:
    model, card = load_denoiser(MODELS / f"{name}.safetensors")
    assert schedule_of(card).length == 1000
    for form in (network, step) if card["prediction"] != "change" else (network,):
        becomes_an_engine(tmp_path, form(lambda: model, card, 128), precision, batch=1)


def test_every_kind_of_denoiser_and_every_shipped_one_is_among_these() -> None:
    assert {kind.card.get("kind", "unet") for kind in KINDS.values()} == {
        name for name, known in NETWORKS.items() if known.denoises
    }
    assert set(SHIPPED) >= {"unet-gaussian", "unet-simplex", "patch-unet-simplex", "conditioned-unet-simplex"}


def test_the_page_names_what_was_built_in_which_form() -> None:
    rows = table(page("backends.md"), "engines")
    assert [row["graph"].split(" (")[0] for row in rows] == [
        "networks that predict eps",
        "networks that predict x0 or v",
        "the papers' network",
        "the network that is shown the clean image",
        "networks that undo anomalies, and the VAE",
        "whole steps of each of these",
        "perceptual features",
        "perceptual distance",
    ]
    assert all(row[precision].startswith("built") for row in rows for precision in PRECISIONS)
