"""Which cells ``bench compare`` holds against each other, and what it says where a name cannot be told."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.compared import FLOOR, Made, read, write_run

from uadbench.bench.compare.pairs import CompareError, choose_pairs

FEW = range(2)
THOR, SIMPLEX, DDPM = (
    Made(ids=FEW),
    Made(noise="simplex", signal=0.3, ids=FEW),
    Made("ddpm", signal=0.1, ids=FEW),
)
WINDOW = Made(settings={"window": 9}, ids=FEW)
OTHER = Made(backend="openvino", settings={"window": 9}, ids=FEW)
OPENVINO, BF16 = (Made(backend="openvino", precision=p, ids=FEW) for p in ("fp32", "bf16"))
BLUR = Made("blur", "none", "-", kind="floor", signal=0.05, ids=FEW)


def pairs(paths: list[Path], methods: str = "", backends: str = "") -> list[tuple[str, str]]:
    texts = ([part for part in text.split(",") if part] for text in (methods, backends))
    return [(p.a.cell.slug, p.b.cell.slug) for p in choose_pairs(read(*paths), *texts)[0]]


@pytest.mark.parametrize(
    ("methods", "expected"),
    [
        pytest.param("thor,ddpm", [(THOR, DDPM)], id="the first is A, its own noise is meant"),
        pytest.param("ddpm,thor:simplex", [(DDPM, SIMPLEX)], id="a noise"),
        pytest.param("ddpm,thor,blur", [(DDPM, THOR), (DDPM, BLUR)], id="each other one, floors too"),
        pytest.param("thor-simplex,DDPM · gau", [(SIMPLEX, DDPM)], id="beginnings of folder and label"),
        pytest.param("", [(SIMPLEX, THOR), (SIMPLEX, DDPM), (SIMPLEX, BLUR)], id="all against the best"),
    ],
)
def test_variants_of_one_run_are_held_against_the_first(tmp_path: Path, methods: str, expected) -> None:
    run = write_run(tmp_path / "a", BLUR, THOR, OPENVINO, SIMPLEX, DDPM)
    assert pairs([run], methods) == [(a.slug, b.slug) for a, b in expected]


@pytest.mark.parametrize(
    ("methods", "backends", "expected"),
    [
        pytest.param("", "torch,openvino", [(THOR, OPENVINO)], id="fp32 where no precision is said"),
        pytest.param(
            "thor", "torch,openvino:fp32,openvino:bf16", [(THOR, OPENVINO), (THOR, BF16)], id="precisions"
        ),
        pytest.param("thor,blur", "openvino:bf16", [(BF16, BLUR)], id="one name: there, a floor where it is"),
    ],
)
def test_arms_of_a_variant_are_compared(tmp_path: Path, methods: str, backends: str, expected) -> None:
    run = write_run(tmp_path / "a", BLUR, THOR, OPENVINO, BF16, DDPM)
    assert pairs([run], methods, backends) == [(a.slug, b.slug) for a, b in expected]


def test_of_two_runs_equal_variants_and_arms_are_compared_and_the_rest_is_noted(tmp_path: Path) -> None:
    a = write_run(tmp_path / "a", BLUR, THOR, OPENVINO, SIMPLEX)
    b = write_run(tmp_path / "b", BLUR, THOR, OPENVINO, DDPM)
    assert pairs([a, b]) == [(cell.slug, cell.slug) for cell in (BLUR, THOR, OPENVINO)]
    notes = choose_pairs(read(a, b))[1]
    assert notes == ["only in A: THOR · simplex · 25 steps", "only in B: DDPM · gaussian · 25 steps"]


@pytest.mark.parametrize(
    ("methods", "backends", "expected"),
    [
        pytest.param("thor,ddpm", "", (THOR, DDPM), id="the first's thor, the second's ddpm"),
        pytest.param("thor:gaussian", "", (THOR, WINDOW), id="one name: other settings are compared"),
        pytest.param(
            "thor,thor", "torch,openvino", (THOR, Made(backend="openvino", settings={"window": 9})), id="arms"
        ),
    ],
)
def test_two_names_of_two_runs_are_one_of_each(tmp_path: Path, methods: str, backends: str, expected) -> None:
    a = write_run(tmp_path / "a", BLUR, THOR, SIMPLEX)
    b = write_run(tmp_path / "b", BLUR, WINDOW, OTHER, DDPM)
    assert pairs([a, b], methods, backends) == [(expected[0].slug, expected[1].slug)]


@pytest.mark.parametrize(
    ("methods", "backends", "message"),
    [
        pytest.param("ddpm,vae", "", "'vae' names no variant .* choose from blur-none-0, ", id="unknown"),
        pytest.param(
            "thor,ddpm", "", "'thor' names several .* choose from thor-gaussian-25, thor-", id="several"
        ),
        pytest.param("ddpm", "", "name two methods or more", id="one"),
        pytest.param("ddpm,ddpm", "", "names ddpm-gaussian-25-torch-fp32 twice", id="itself"),
        pytest.param("ddpm,blur", "tensorrt", "'tensorrt' means 0 .* choose from torch:fp32", id="back end"),
        pytest.param("", "torch,tensorrt", "no variant .* ran on torch and tensorrt", id="no such arms"),
        pytest.param("ddpm,asymmetry", "", "not applicable: needs both halves", id="not applicable"),
    ],
)
def test_what_cannot_be_compared_says_what_there_is(
    tmp_path: Path, methods: str, backends: str, message: str
) -> None:
    lame = Made("asymmetry", "none", "-", kind="floor", not_applicable="needs both halves")
    run = write_run(tmp_path / "a", BLUR, lame, THOR, WINDOW, DDPM)
    with pytest.raises(CompareError, match=message):
        pairs([run], methods, backends)


def test_two_runs_that_share_nothing_are_refused_with_what_they_have(tmp_path: Path) -> None:
    a, b = write_run(tmp_path / "a", THOR), write_run(tmp_path / "b", OPENVINO)
    with pytest.raises(
        CompareError, match=r"A has thor-gaussian-25-torch-fp32; B has .*openvino.*--backends"
    ):
        pairs([a, b])
    assert pairs([a, b], "", "torch,openvino") == [(THOR.slug, OPENVINO.slug)]
    with pytest.raises(CompareError, match="two methods and two back ends at most"):
        pairs([a, b], "thor,thor,thor")


def test_a_floor_that_does_not_apply_is_left_out_with_a_note(tmp_path: Path) -> None:
    lame = Made("asymmetry", "none", "-", kind="floor", not_applicable="needs both halves")
    found, notes = choose_pairs(read(write_run(tmp_path / "a", lame, THOR, FLOOR)))
    assert [pair.b.variant.method for pair in found] == ["blur"]
    assert notes == ["left out, no finished case: asymmetry"]
