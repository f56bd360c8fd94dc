"""Names, noise, back ends and hyper-parameters become the cells of a run, or one line that says what is wrong."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import pytest
from support.places import ROOT

from uadbench.bench.plan.config import ConfigError, load_config, make_config, parse_set
from uadbench.bench.plan.grid import Cell, plan_cells
from uadbench.bench.plan.walk import Walk, walk
from uadbench.engine.interfaces import Result
from uadbench.engine.methods import FLOORS, METHODS, MethodInfo
from uadbench.engine.methods.ddpm import DDPM
from uadbench.engine.methods.thor import Thor
from uadbench.engine.networks.checkpoint import is_shipped, shipped
from uadbench.engine.schedule import linear_schedule

ROWS = sorted((ROOT / "configs").glob("*.toml"))


def method_cells(flags: dict, sets: Sequence[tuple[str, object]] = ()) -> list[Cell]:
    """The cells of what was asked for, less the floors."""
    return [cell for cell in plan_cells(make_config({}, flags, sets)) if not cell.variant.floor]


def test_every_published_row_has_a_config() -> None:
    assert {path.stem for path in ROWS} >= {
        "thor-gaussian",
        "thor-simplex",
        "ddpm-gaussian",
        "autoddpm-gaussian",
        "anoddpm-simplex",
    }


@pytest.mark.parametrize("path", ROWS, ids=lambda path: path.stem)
def test_a_published_rows_config_visits_every_level(path: Path) -> None:
    (cell,) = method_cells(load_config(path))
    name, noise = path.stem.split("-")
    variant = cell.variant
    chain = name not in ("pddpm", "cddpm")
    assert (variant.method, variant.noise, variant.settings) == (name, noise, "{}")
    assert variant.steps == ("paper" if chain else "-")
    start = {"gaussian": 350, "simplex": 250}[noise]
    assert cell.walk.nfe == {"autoddpm": 200 + 50 * 5, "pddpm": 4, "cddpm": 3}.get(name, start)


def test_the_cells_are_the_floors_and_the_product_of_what_was_asked_for() -> None:
    config = make_config({}, {"methods": "thor:simplex,ddpm", "precision": "fp32,bf16", "steps": "10"})
    cells = plan_cells(config)
    assert [cell.variant.method for cell in cells[: len(FLOORS)]] == list(FLOORS)
    assert [cell.slug for cell in cells[len(FLOORS) :]] == [
        "thor-simplex-10-brain-squeeze-torch-fp32",
        "thor-simplex-10-brain-squeeze-torch-bf16",
        "ddpm-gaussian-10-torch-fp32",
        "ddpm-gaussian-10-torch-bf16",
    ]
    assert {cell.walk.nfe for cell in cells if not cell.variant.floor} == {10}


def test_steps_seeds_and_nets_multiply_and_a_net_only_where_the_method_looks_through_one() -> None:
    cells = method_cells(
        {
            "methods": "thor,ddpm",
            "steps": "5,paper",
            "seed": "0,3",
            "perceptual": "brain-squeeze,lpips-squeeze",
        }
    )
    found = {
        name: [
            (c.variant.steps, c.variant.perceptual, c.variant.seed) for c in cells if c.variant.method == name
        ]
        for name in ("thor", "ddpm")
    }
    nets = ("brain-squeeze", "lpips-squeeze")
    assert found["thor"] == [(n, p, seed) for n in ("5", "paper") for p in nets for seed in (0, 3)]
    assert found["ddpm"] == [(n, "", seed) for n in ("5", "paper") for seed in (0, 3)]


def test_the_floor_that_looks_through_a_net_has_one_row_for_each_net_and_only_one() -> None:
    nets = ("brain-squeeze", "lpips-squeeze")
    flags = {"methods": "ddpm", "steps": "5,paper", "seed": "0,3", "backends": "torch,openvino"}
    cells = plan_cells(make_config({}, {**flags, "perceptual": ",".join(nets)}))
    found = [cell for cell in cells if cell.variant.method == "perceptual-blur"]
    assert [(cell.variant.perceptual, cell.arm.slug) for cell in found] == [(n, "torch-fp32") for n in nets]
    assert len({cell.variant.label for cell in found}) == 2


def test_all_stands_for_every_method_whose_network_is_shipped_or_given(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    own = {name: info.networks(info.noises[0])["denoiser"] for name, info in METHODS.items()}
    ready = [name for name, network in own.items() if is_shipped(network)]
    assert {"thor", "ddpm", "anoddpm", "autoddpm", "pddpm", "cddpm", "mend"} <= set(ready)
    assert [cell.variant.method for cell in method_cells({"methods": "all"})] == ready
    monkeypatch.setattr("uadbench.bench.plan.grid.is_shipped", lambda name: name == "mend-unet")
    assert [cell.variant.method for cell in method_cells({"methods": "all"})] == ["mend"]
    setting = parse_set(f"checkpoints.dae-unet={shipped('mend-unet')}")
    found = method_cells({"methods": "all"}, [setting])
    assert [cell.variant.method for cell in found] == ["dae", "mend"]


def test_the_same_cell_runs_once() -> None:
    cells = method_cells({"methods": "thor,thor:gaussian,thor:simplex"})
    assert [cell.variant.noise for cell in cells] == ["gaussian", "simplex"]


def test_a_setting_that_differs_from_the_preset_gives_the_variant_another_slug_and_label() -> None:
    (usual,) = method_cells({"methods": "thor"})
    (other,) = method_cells({"methods": "thor"}, [("thor.window", 9)])
    (spelled,) = method_cells({"methods": "thor"}, [("thor.window", 13)])
    assert other.slug != usual.slug == spelled.slug
    assert other.variant.settings == '{"window": 9}'
    assert "window 9" in other.variant.label


def test_noise_default_is_each_methods_own_and_noise_speaks_to_those_that_have_a_choice() -> None:
    def noises(**flags: str) -> dict[str, str]:
        cells = method_cells({"methods": "thor,anoddpm", **flags})
        return {cell.variant.method: cell.variant.noise for cell in cells}

    assert noises() == {"thor": "gaussian", "anoddpm": "simplex"}
    assert noises(noise="simplex") == {"thor": "simplex", "anoddpm": "simplex"}
    assert noises(noise="gaussian") == {"thor": "gaussian", "anoddpm": "simplex"}


def test_t_start_reaches_methods_and_a_methods_own_setting_wins() -> None:
    cells = method_cells({"methods": "thor,ddpm", "t_start": 200}, [("thor.t_start", 310)])
    starts = {cell.variant.method: cell.record("d", {})["t_start"] for cell in cells}
    assert starts == {"thor": 310, "ddpm": 200}


@pytest.mark.parametrize(
    ("flags", "sets", "message"),
    [
        pytest.param({"methods": "thro"}, [], "unknown method 'thro'; did you mean 'thor'", id="method"),
        pytest.param({"methods": "thor:simplx"}, [], "did you mean 'simplex'", id="own noise"),
        pytest.param({"methods": "anoddpm:gaussian"}, [], "choose from simplex", id="noise it has not"),
        pytest.param({"methods": "thor", "noise": "gausian"}, [], "did you mean 'gaussian'", id="noise"),
        pytest.param({"methods": "thor", "backends": "troch"}, [], "did you mean 'torch'", id="back end"),
        pytest.param({"methods": "thor", "precision": "fp23"}, [], "did you mean 'fp32'", id="precision"),
        pytest.param(
            {"methods": "thor"}, [("thor.window", "abc")], "^thor.window is 'abc'; a whole number", id="word"
        ),
        pytest.param({"methods": "thor"}, [("thor.window", -3)], "^thor: window is -3", id="negative window"),
        pytest.param({"methods": "thor"}, [("thor.window", 2.5)], "window is 2.5; a whole", id="fraction"),
        pytest.param({"methods": "thor"}, [("thor.window", True)], "window is True; a whole", id="boolean"),
        pytest.param({"methods": "thor"}, [("thor.sigma", float("nan"))], "sigma is nan; a number", id="NaN"),
        pytest.param({"methods": "thor"}, [("thor.steps", "x")], "a whole number or none", id="steps"),
        pytest.param({"methods": "thor"}, [("thor.harmonize_at", 300)], "a list, each of it", id="no list"),
        pytest.param(
            {"methods": "thor"},
            [("thor.harmonize_at", [300, "x"])],
            r"is \[300, 'x'\]; a list",
            id="in a list",
        ),
        pytest.param(
            {"methods": "ddpm"}, [("ddpm.squared", "x")], "^ddpm.squared is 'x'; true or false", id="squared"
        ),
        pytest.param({"methods": "thor"}, [("thor.windw", 3)], "no setting 'windw'", id="hyper-parameter"),
        pytest.param({"methods": "thor"}, [("thro.window", 3)], "did you mean 'thor'", id="its method"),
        pytest.param({"methods": "thor"}, [("ddpm.t_start", 3)], "not among the methods", id="unused method"),
        pytest.param({"methods": "thor", "t_start": 2000}, [], "allowed is 1 to 1000", id="t_start too high"),
        pytest.param(
            {"methods": "ddpm", "steps": "400"}, [], "allowed is 1 to t_start = 350", id="too many steps"
        ),
        pytest.param(
            {"methods": "thor"},
            [("checkpoints.gaussian", "x")],
            "unknown network of a checkpoint 'gaussian'",
            id="network",
        ),
        pytest.param({}, [], "no methods given", id="none"),
    ],
)
def test_what_no_registry_knows_or_a_method_refuses_is_said_before_anything_runs(
    flags: dict, sets: list, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        plan_cells(make_config({}, flags, sets))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        pytest.param("thor.sigma", 3, id="whole number for a number"),
        pytest.param("thor.harmonize_at", [200, 100], id="list for a tuple"),
        pytest.param("thor.steps", None, id="none where it may be"),
        pytest.param("autoddpm.threshold", 0.5, id="number where the default is none"),
        pytest.param("ddpm.squared", True, id="boolean"),
    ],
)
def test_a_hyper_parameter_of_the_fields_type_is_taken(key: str, value: object) -> None:
    method, _, name = key.partition(".")
    (cell,) = method_cells({"methods": method}, [(key, value)])
    assert getattr(cell.method, name) == (tuple(value) if isinstance(value, list) else value)


@dataclasses.dataclass(frozen=True)
class Broken:
    """A method of another package: one of its annotations cannot be resolved, and it raises when called."""

    level: Nowhere = 3  # type: ignore[name-defined]  # noqa: F821

    def __call__(self, x: object, tools: object) -> Result:
        raise KeyError("no such layer")


@pytest.mark.parametrize(
    ("sets", "message"),
    [
        pytest.param([], "^broken: its chain cannot be walked: KeyError: 'no such layer'", id="call"),
        pytest.param([("broken.level", "x")], "^broken.level is 'x'; a whole number is needed", id="type"),
    ],
)
def test_a_method_of_another_package_that_raises_is_named_in_one_line(
    monkeypatch: pytest.MonkeyPatch, sets: list, message: str
) -> None:
    info = MethodInfo("Broken", "-", lambda noise: Broken())
    monkeypatch.setitem(METHODS, "broken", info)
    with pytest.raises(ConfigError, match=message) as error:
        plan_cells(make_config({}, {"methods": "broken"}, sets))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("method", "eta", "expected"),
    [
        # the step from 25 to 0 draws none
        pytest.param(
            DDPM(t_start=100, steps=4), 1.0, Walk(4, (50, 75, 100), False, True, False), id="ancestral"
        ),
        pytest.param(DDPM(t_start=100, steps=4), 0.0, Walk(4, (100,), False, True, False), id="DDIM"),
        pytest.param(
            Thor(t_start=100, steps=4, harmonize_at=(50,)),
            0.0,
            Walk(4, (100,), True, True, False),
            id="through a net",
        ),
    ],
)
def test_what_a_method_does_to_a_case_is_found_by_walking_it(
    method: DDPM | Thor, eta: float, expected: Walk
) -> None:
    assert walk(method, linear_schedule(), eta) == expected


@pytest.mark.parametrize("eta", ["0", "0.5"])
def test_the_exact_variance_is_refused_with_ddim_in_one_line(eta: str) -> None:
    sets = [parse_set(f"eta={eta}"), parse_set("variance=exact")]
    with pytest.raises(
        ConfigError, match=r"of the ancestral chain, and eta is 0.*; give eta = 1 or"
    ) as error:
        plan_cells(make_config({}, {"methods": "ddpm"}, sets))
    assert "\n" not in str(error.value)


def test_steps_stand_in_the_label_once_and_are_not_given_twice() -> None:
    cells = plan_cells(make_config({}, {"methods": "thor"}, [parse_set("thor.steps=12")]))
    assert cells[-1].slug == "thor-gaussian-12-brain-squeeze-torch-fp32"
    with pytest.raises(ConfigError, match=r"thor\.steps and --steps are both given"):
        plan_cells(make_config({}, {"methods": "thor", "steps": "10"}, [parse_set("thor.steps=12")]))


def test_post_processing_gives_a_variant_of_each_method_and_floor() -> None:
    cells = plan_cells(make_config({}, {"methods": "ddpm", "post": "none,behrendt"}))
    assert [cell.slug for cell in cells if cell.variant.method in ("blur", "ddpm")] == [
        "blur-none-0-torch-fp32",
        "blur-none-0-behrendt-torch-fp32",
        "ddpm-gaussian-25-torch-fp32",
        "ddpm-gaussian-25-behrendt-torch-fp32",
    ]
    with pytest.raises(ConfigError, match="unknown post-processing 'behrend'; did you mean 'behrendt'"):
        plan_cells(make_config({}, {"methods": "ddpm", "post": "behrend"}))


@pytest.mark.parametrize(
    ("method", "network", "given", "message"),
    [
        ("pddpm", "patch-unet-simplex", "conditioned-unet-simplex", "that is not shown the clean image, and"),
        ("cddpm", "conditioned-unet-simplex", "unet-simplex", "that is shown the clean image, and"),
    ],
)
def test_a_network_of_another_kind_of_call_is_refused_before_anything_runs(
    method: str, network: str, given: str, message: str
) -> None:
    setting = f"checkpoints.{network}={shipped(given)}"
    with pytest.raises(ConfigError, match=f"{method} needs a network {message}") as caught:
        plan_cells(make_config({}, {"methods": method}, [parse_set(setting)]))
    assert f"name another by --set checkpoints.{network}=FILE" in str(caught.value)
