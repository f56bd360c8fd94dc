"""File, flags and --set become one checked record with one hash."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from msgspec import Meta

from uadbench.bench.plan.config import (
    PLACES,
    ConfigError,
    RunConfig,
    canonical,
    config_hash,
    convert_field,
    digest,
    load_config,
    make_config,
    parse_set,
    unknown,
)


def test_flags_win_over_the_file_and_set_wins_over_both() -> None:
    file = {
        "methods": ["thor"],
        "seed": 1,
        "limit": 5,
        "batch_size": 2,
        "thor": {"t_start": 100, "window": 5},
    }
    config = make_config(file, {"seed": "2", "limit": 7, "steps": None}, [("seed", 3), ("thor.t_start", 300)])
    assert (config.seed, config.limit, config.batch_size, config.steps) == ((3,), 7, 2, ())
    assert config.hyperparameters == {"thor": {"t_start": 300, "window": 5}}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("thor.t_start=300", ("thor.t_start", 300), id="number"),
        pytest.param("residual-median.sigma=2.5", ("residual-median.sigma", 2.5), id="dashed method"),
        pytest.param("thor.harmonize-at=[2]", ("thor.harmonize_at", [2]), id="dashed field"),
        pytest.param("batch-size=8", ("batch_size", 8), id="dashed key"),
        pytest.param("noise=simplex", ("noise", "simplex"), id="bare string"),
        pytest.param("thor.harmonize_at=[200, 100]", ("thor.harmonize_at", [200, 100]), id="list"),
        pytest.param("anoddpm.squared=true", ("anoddpm.squared", True), id="boolean"),
        pytest.param(
            "checkpoints.unet-gaussian=a=b.st",
            ("checkpoints.unet-gaussian", "a=b.st"),
            id="network with dash",
        ),
    ],
)
def test_set_reads_toml_values(text: str, expected: tuple[str, object]) -> None:
    assert parse_set(text) == expected


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        pytest.param("steps", "5,25,paper", (5, 25, "paper"), id="steps as a flag"),
        pytest.param("steps", [5, "paper"], (5, "paper"), id="steps as a list"),
        pytest.param("steps", 25, (25,), id="one number of steps"),
        pytest.param("steps", "default", (), id="default steps"),
        pytest.param("seed", "0, 1,2", (0, 1, 2), id="seeds as a flag"),
        pytest.param("seed", [7], (7,), id="seeds as a list"),
        pytest.param("seed", 2**63 - 1, (2**63 - 1,), id="largest seed"),
        pytest.param(
            "perceptual", "brain-squeeze,lpips-squeeze", ("brain-squeeze", "lpips-squeeze"), id="nets"
        ),
        pytest.param("methods", "thor,thor:simplex", ("thor", "thor:simplex"), id="one method, two noises"),
        pytest.param("methods", "all", ("all",), id="all"),
        pytest.param("data_root", Path("here"), "here", id="path"),
        pytest.param("limit", "none", None, id="none where it may be"),
        pytest.param("eta", 0, 0.0, id="whole number for a number"),
    ],
)
def test_a_setting_of_several_values_takes_one_a_list_or_a_text_with_commas(
    key: str, value: object, expected: object
) -> None:
    found = getattr(make_config({key: value}, {}), key)
    assert found == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        pytest.param({"batch_sise": 3}, "did you mean 'batch_size'", id="misspelt key"),
        pytest.param({"batch_size": 0}, "batch_size is 0; a whole number from 1 to 4096", id="zero batch"),
        pytest.param({"batch_size": 2.0}, "batch_size is 2.0; a whole number", id="fraction"),
        pytest.param(
            {"threads": 1099511627776}, "1099511627776; a whole number from 1 to 1024", id="threads"
        ),
        pytest.param({"n_boot": 10**12}, "1000000000000; a whole number from 1 to 100000 is", id="n_boot"),
        pytest.param(
            {"n_boot": 10**5000}, "n_boot is a number of about 5000 digits; a whole", id="5,000 digits"
        ),
        pytest.param({"seed": "0,-1"}, "seed is -1; a whole number from 0 to 9223372036854775807", id="seed"),
        pytest.param({"seed": True}, "seed is True", id="boolean for number"),
        pytest.param({"seed": 2**63}, "seed is 9223372036854775808", id="seed too large"),
        pytest.param({"limit": 0}, "limit is 0; a whole number from 1", id="zero limit"),
        pytest.param({"limit": "ten"}, "limit is 'ten'", id="word for number"),
        pytest.param({"val_limit": -1}, "val_limit is -1; a whole number from 0", id="negative val_limit"),
        pytest.param(
            {"steps": "papre"}, "steps is 'papre'; a whole number from 1 to 1000 or 'paper'", id="paper"
        ),
        pytest.param({"steps": "0"}, "steps is 0", id="zero steps"),
        pytest.param({"steps": "25,25"}, "steps names 25 twice", id="the same steps twice"),
        pytest.param(
            {"variance": "exct"}, "variance is 'exct'; 'fixed-small' or 'exact' is needed", id="variance"
        ),
        pytest.param({"eta": 1.5}, "eta is 1.5; a number from 0 to 1", id="eta"),
        pytest.param({"eta": float("nan")}, "eta is nan; a number from 0 to 1", id="NaN"),
        pytest.param({"eta": float("inf")}, "eta is inf; a number from 0 to 1", id="infinity"),
        pytest.param({"methods": "thor,,ddpm"}, "one of the names is empty", id="empty name"),
        pytest.param({"methods": ["thor", "thor"]}, "names 'thor' twice", id="twice"),
        pytest.param({"methods": ""}, "one of the names is empty", id="no name"),
        pytest.param({"methods": [1]}, "methods is 1; a text", id="number for a name"),
        pytest.param({"dataset": "a\0b"}, r"dataset is 'a\\x00b'; a text of", id="NUL in a name"),
        pytest.param(
            {"data_root": "a\0b"}, r"none of them a control character, or none is needed", id="NUL in a path"
        ),
        pytest.param({"data_root": "a\udcff"}, r"data_root is 'a\\udcff'", id="path that is not Unicode"),
        pytest.param({"data_root": "a" * 5000}, r"\.\.\. \(5002 characters\)", id="very long path"),
        pytest.param({"seed": {"a": 1}}, "seed is a setting", id="table for value"),
        pytest.param({"checkpoints": "x"}, "checkpoints is 'x'; a table", id="value for table"),
        pytest.param(
            {"checkpoints": {"unet-gaussian": 1}}, "checkpoints.unet-gaussian is 1; a text", id="file"
        ),
    ],
)
def test_a_wrong_setting_is_one_line_that_says_what_is_allowed(settings: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as error:
        make_config(settings, {})
    assert len(str(error.value)) < 400
    assert str(error.value).isprintable()


@pytest.mark.parametrize(
    ("value", "hint", "expected"),
    [
        pytest.param(3, float, 3.0, id="whole number for a number"),
        pytest.param([200, 100], tuple[int, ...], (200, 100), id="list for a tuple"),
        pytest.param(None, int | None, None, id="none"),
        pytest.param("none", float | None, None, id="none in words"),
        pytest.param("none", str | None, "none", id="none as a text"),
        pytest.param("x", Any, "x", id="anything"),
    ],
)
def test_a_hyper_parameter_becomes_its_fields_type(value: object, hint: Any, expected: object) -> None:
    found = convert_field("thor.x", value, hint)
    assert found == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize(
    ("value", "hint", "message"),
    [
        pytest.param("x", int, "thor.x is 'x'; a whole number is needed", id="word"),
        pytest.param(2.5, int, "thor.x is 2.5; a whole number is needed", id="fraction"),
        pytest.param(True, int, "thor.x is True; a whole number is needed", id="boolean"),
        pytest.param(True, float, "thor.x is True; a number is needed", id="boolean for a number"),
        pytest.param(float("nan"), float, "thor.x is nan; a number is needed", id="NaN"),
        pytest.param([1.0, float("inf")], Any, "thor.x is [1.0, inf]; a", id="infinity inside anything"),
        pytest.param(2**64, int, "thor.x is 18446744073709551616; a whole number", id="65 bits"),
        pytest.param("x", int | None, "thor.x is 'x'; a whole number or none is needed", id="union"),
        pytest.param("x", bool, "thor.x is 'x'; true or false is needed", id="boolean needed"),
        pytest.param(
            300, tuple[int, ...], "thor.x is 300; a list, each of it a whole number, is", id="no list"
        ),
        pytest.param([3, "x"], tuple[int, ...], "thor.x is [3, 'x']; a list, each of it a", id="in a list"),
        pytest.param(
            9, Annotated[int, Meta(gt=0, le=4)], "a whole number above 0 to 4 is needed", id="range"
        ),
        pytest.param(0, Annotated[float, Meta(ge=1)], "a number from 1 on is needed", id="half a range"),
        pytest.param("c", Literal["a", "b"], "thor.x is 'c'; 'a' or 'b' is needed", id="choice"),
        pytest.param(1, complex, "thor.x is 1; a complex is needed", id="a class"),
        pytest.param(
            1, tuple[int] | list[int], "thor.x cannot be set: its type", id="a type beyond checking"
        ),
    ],
)
def test_a_hyper_parameter_of_another_type_is_said_in_words(value: object, hint: Any, message: str) -> None:
    with pytest.raises(ConfigError) as error:
        convert_field("thor.x", value, hint)
    assert message in str(error.value)


def test_the_hash_hangs_on_values_not_on_where_they_were_given_or_where_files_lie() -> None:
    from_file = make_config({"methods": ["thor"], "seed": 4}, {"data_root": "here"})
    from_flags = make_config({}, {"seed": "4", "methods": "thor", "data_root": Path("there")})
    assert config_hash(from_file) == config_hash(from_flags)
    assert config_hash(from_flags) != config_hash(make_config({}, {"seed": "5", "methods": "thor"}))
    assert json.loads(json.dumps(canonical(from_flags))) == canonical(from_flags)


def test_a_setting_that_came_later_leaves_the_identity_of_older_runs_alone_at_its_default() -> None:
    plain = make_config({}, {"methods": "thor"})
    known = {k: v for k, v in canonical(plain).items() if k not in PLACES and k != "variance"}
    assert config_hash(plain) == digest(known)
    assert config_hash(make_config({}, {"methods": "thor", "variance": "exact"})) != digest(known)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(b"methods = [", "is not TOML", id="broken"),
        pytest.param(b"\xff\xfe\x00", "is not TOML", id="binary"),
        pytest.param(b"a = " + b"[" * 100_000, "nested too deep", id="nested"),
        pytest.param(b"n_boot = " + b"9" * 5000, "more than 4300 digits", id="5,000 digits"),
        pytest.param(None, "cannot be read", id="absent"),
    ],
)
def test_a_file_that_is_no_toml_or_not_there_is_one_clear_line(
    tmp_path: Path, content: bytes | None, message: str
) -> None:
    path = tmp_path / "bad.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match=message) as error:
        load_config(path)
    assert "\n" not in str(error.value)


def test_a_file_keeps_the_dashes_of_methods_and_networks_only(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_text(
        'batch-size = 2\n[residual-median]\nsig-ma = 1\n[checkpoints]\nunet-gaussian = "a.safetensors"\n'
    )
    config = make_config(load_config(path), {})
    assert config.batch_size == 2
    assert config.hyperparameters == {"residual-median": {"sig_ma": 1}}
    assert config.checkpoints == {"unet-gaussian": "a.safetensors"}


def test_perceptual_weights_are_one_file_or_a_table_that_keeps_the_nets_names(tmp_path: Path) -> None:
    table = {"lpips-squeeze": "s.pth", "lpips-alex": "a.pth"}
    (tmp_path / "run.toml").write_text('[perceptual_weights]\nlpips-squeeze = "s.pth"\n')
    sets = [parse_set("perceptual_weights.lpips-alex=a.pth")]
    assert make_config(load_config(tmp_path / "run.toml"), {}, sets).perceptual_weights == table
    assert make_config({}, {}, [parse_set("perceptual_weights=s.pth")]).perceptual_weights == "s.pth"
    assert make_config({}, {}).perceptual_weights is None
    with pytest.raises(ConfigError, match="given as one file and as a table"):
        make_config({"perceptual_weights": "s.pth"}, {}, sets)
    with pytest.raises(ConfigError, match=r"perceptual_weights\.lpips-alex is 3; a text"):
        make_config({}, {}, [("perceptual_weights.lpips-alex", 3)])


def test_where_perceptual_weights_lie_does_not_name_a_run() -> None:
    given = make_config({}, {}, [("perceptual_weights.lpips-alex", "a.pth")])
    assert config_hash(given) == config_hash(make_config({}, {}))


@pytest.mark.parametrize("text", ["x", "=1", "n_boot=" + "9" * 5000, "thor.x=" + "[" * 50_000])
def test_a_set_that_cannot_be_read_is_one_short_line(text: str) -> None:
    with pytest.raises(ConfigError) as error:
        parse_set(text)
    assert len(str(error.value)) < 200


def test_an_unknown_name_gets_the_nearest_and_the_choices() -> None:
    assert str(unknown("method", "thro", ["thor", "ddpm"])) == (
        "unknown method 'thro'; did you mean 'thor'? choose from thor, ddpm"
    )


def test_the_defaults_are_those_of_the_command_line() -> None:
    assert make_config({}, {}) == RunConfig()


def test_settings_that_came_later_leave_the_identity_of_older_runs_as_it_was() -> None:
    """The hash is that of a run of the first release of schema 2."""
    config = make_config({}, {"methods": "thor"})
    older = set(canonical(config))
    assert not {"post", "component_px"} & older
    assert config_hash(config) == "a692a4521664ff5ecdd62bcfea2ab35e9a952f5a6088be6a56f0dde1f439e5f8"
    changed = make_config({}, {"methods": "thor", "post": "none,behrendt"})
    assert canonical(changed)["post"] == ["none", "behrendt"]
    assert config_hash(changed) != config_hash(config)
