"""What a sweep varies becomes the product of its values, or one line that says what is wrong."""

from __future__ import annotations

import shutil
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from support.places import ROOT

from uadbench.bench.plan.config import ConfigError, canonical, config_hash, load_config, make_config
from uadbench.bench.plan.grid import Cell, plan_cells
from uadbench.bench.plan.vary import count_variants, parse_vary
from uadbench.engine.networks.checkpoint import shipped


def swept(vary: dict[str, Any], methods: str = "thor", **settings: Any) -> list[Cell]:
    config = make_config({"vary": vary}, {"methods": methods, **settings})
    return [cell for cell in plan_cells(config) if cell.varied]


def test_the_variants_are_every_combination_of_the_values() -> None:
    cells = swept({"t_start": [100, 200, 350], "noise": ["gaussian", "simplex"], "steps": [5, 10]})
    found = {(cell.varied["noise"], cell.varied["t_start"], cell.varied["steps"]) for cell in cells}
    assert found == set(product(("gaussian", "simplex"), (100, 200, 350), ("5", "10")))
    assert len({cell.slug for cell in cells}) == len(cells) == 12
    assert all(cell.method.t_start == cell.varied["t_start"] for cell in cells)  # type: ignore[attr-defined]


def test_one_of_them_that_is_the_preset_is_the_cell_that_a_run_has() -> None:
    (usual,) = [cell for cell in swept({"t_start": [100, 350]}) if cell.varied == {"t_start": 350}]
    alone = {cell.slug: cell for cell in plan_cells(make_config({}, {"methods": "thor"}))}
    assert alone[usual.slug].method == usual.method


def test_a_field_varies_the_methods_that_have_it_and_one_with_a_methods_name_that_method_alone() -> None:
    cells = swept({"t_start": [100, 200], "thor.window": [9, 11]}, "thor,ddpm")
    assert [cell.variant.method for cell in cells] == ["thor"] * 4 + ["ddpm"] * 2
    assert {tuple(sorted(cell.varied)) for cell in cells} == {("t_start", "window"), ("t_start",)}


def test_the_noise_of_a_method_that_has_one_kind_does_not_vary() -> None:
    cells = swept({"noise": ["gaussian", "simplex"], "t_start": [100, 200]}, "anoddpm")
    assert {cell.variant.noise for cell in cells} == {"simplex"}
    assert len(cells) == 2


def test_lists_switches_and_none_are_values_too() -> None:
    levels = swept({"harmonize_at": [[300, 50], [200, 50]]})
    assert [cell.varied["harmonize_at"] for cell in levels] == [(300, 50), (200, 50)]
    mend = swept({"asymmetry": ["none", 0.1], "signed": [True, False]}, "mend")
    assert {(cell.varied["asymmetry"], cell.varied["signed"]) for cell in mend} == set(
        product((None, 0.1), (True, False))
    )


def test_checkpoints_are_variants_with_networks_of_their_own(tmp_path: Path) -> None:
    for name in ("early", "late"):
        for path in (shipped("unet-gaussian"), shipped("unet-gaussian").with_suffix(".json")):
            shutil.copy(path, tmp_path / f"{name}{path.suffix}")
    files = [str(tmp_path / f"{name}.safetensors") for name in ("early", "late")]
    cells = swept({"checkpoint": files, "t_start": [100, 200]}, "ddpm")
    assert [(cell.varied["checkpoint"], cell.varied["t_start"]) for cell in cells] == [
        (name, level) for level in (100, 200) for name in ("early", "late")
    ]
    assert {cell.networks["denoiser"].name for cell in cells} == {"unet-gaussian@early", "unet-gaussian@late"}
    assert {str(cell.networks["denoiser"].path) for cell in cells} == set(files)
    assert len({cell.slug for cell in cells}) == 4
    assert "checkpoint early" in cells[0].variant.label
    with pytest.raises(ConfigError, match="two checkpoints are called 'early'"):
        swept({"checkpoint": [files[0], "elsewhere/early.safetensors"]}, "ddpm")


def test_a_floor_is_swept_too_and_its_usual_self_stays_in_the_table_once() -> None:
    config = make_config({"vary": {"sigma": [1.5, 3.0]}}, {"methods": "intensity"})
    slugs = [cell.slug for cell in plan_cells(config)]
    assert len(slugs) == len(set(slugs))
    assert [cell.varied["sigma"] for cell in plan_cells(config) if cell.varied] == [1.5, 3.0]


@pytest.mark.parametrize(
    ("text", "name", "values"),
    [
        pytest.param("t_start=100,200", "t_start", [100, 200], id="numbers"),
        pytest.param("noise=gaussian, simplex", "noise", ["gaussian", "simplex"], id="words"),
        pytest.param("steps=10,paper", "steps", [10, "paper"], id="both"),
        pytest.param("harmonize-at=[300,50],[200,50]", "harmonize_at", [[300, 50], [200, 50]], id="lists"),
        pytest.param("one-step.t-test=1,2", "one-step.t_test", [1, 2], id="of a method"),
        pytest.param("asymmetry=none,0.1", "asymmetry", ["none", 0.1], id="none"),
        pytest.param("signed=true,false", "signed", [True, False], id="switches"),
    ],
)
def test_an_option_is_read_as_toml_or_as_it_stands(text: str, name: str, values: list[Any]) -> None:
    assert parse_vary(text) == (name, values)


@pytest.mark.parametrize("text", ["t_start", "=1,2", "t_start=", f"t_start={'9' * 5000}", "t=" + "[" * 3000])
def test_an_option_that_says_nothing_is_refused(text: str) -> None:
    with pytest.raises(ConfigError) as error:
        parse_vary(text)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 300


@pytest.mark.parametrize(
    ("vary", "settings", "words"),
    [
        pytest.param(
            {"t_strt": [1, 2]}, {}, "unknown field 't_strt' to vary of thor; choose from", id="field"
        ),
        pytest.param({"ddpm.t_start": [1]}, {}, "ddpm is not among the methods swept", id="method"),
        pytest.param({"t_start": [100, 5000]}, {}, "t_start is 5000; allowed is 1 to 1000", id="range"),
        pytest.param({"window": ["wide"]}, {}, "thor.window is 'wide'; a whole number is needed", id="type"),
        pytest.param({"noise": ["pink"]}, {}, "unknown noise 'pink'", id="noise"),
        pytest.param({"steps": [5, 10]}, {"steps": "5"}, "steps is both given and varied", id="steps"),
        pytest.param({"t_start": [1, 2]}, {"t_start": 5}, "t_start is both given and varied", id="start"),
        pytest.param({"t_start": []}, {}, "one value or more is needed", id="empty"),
        pytest.param({"t_start": [5, 5]}, {}, "vary.t_start names 5 twice", id="twice"),
        pytest.param({"t_start": [{"a": 1}]}, {}, "values are needed, no tables", id="table"),
        pytest.param(
            {"eta": [0, 1]}, {}, "unknown field 'eta' to vary of thor", id="setting of the whole run"
        ),
    ],
)
def test_what_cannot_be_varied_is_refused_in_one_line(
    vary: dict[str, Any], settings: dict[str, Any], words: str
) -> None:
    with pytest.raises(ConfigError) as error:
        swept(vary, **settings)
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_variants_are_counted_before_they_are_made() -> None:
    vary = {f"f{place}": tuple(range(1000)) for place in range(5)}
    assert count_variants(vary, 2) == 2 * 1000**5


def test_what_is_varied_is_part_of_the_runs_identity_and_a_run_without_has_the_one_it_had() -> None:
    plain = make_config({}, {"methods": "thor"})
    assert not {"vary", "split"} & set(canonical(plain))
    one, other = (make_config({"vary": {"t_start": [100, top]}}, {"methods": "thor"}) for top in (200, 300))
    assert canonical(one)["vary"] == {"t_start": [100, 200]}
    assert len({config_hash(plain), config_hash(one), config_hash(other)}) == 3
    assert config_hash(make_config({"split": "val"}, {"methods": "thor"})) != config_hash(plain)


@pytest.mark.parametrize(
    "path", sorted((ROOT / "configs" / "sweeps").glob("*.toml")), ids=lambda path: path.stem
)
def test_a_committed_sweep_can_be_planned_and_is_all_product(path: Any) -> None:
    config = make_config(load_config(path), {})
    cells = [cell for cell in plan_cells(config) if cell.varied]
    assert len(cells) == count_variants(config.vary, len(config.methods))
