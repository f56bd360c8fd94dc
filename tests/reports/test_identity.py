"""One definition of names, labels and sameness."""

from __future__ import annotations

import dataclasses
import hashlib
from typing import Any

import pytest

from uadbench.reports.identity import REFERENCE, Arm, Variant, arm_of, variant_of

THOR = Variant("thor", "THOR", "gaussian", "25")


@pytest.mark.parametrize(
    ("variant", "slug", "label"),
    [
        pytest.param(THOR, "thor-gaussian-25", "THOR · gaussian · 25 steps", id="usual"),
        pytest.param(
            dataclasses.replace(THOR, steps="paper"),
            "thor-gaussian-paper",
            "THOR · gaussian · all steps",
            id="paper",
        ),
        pytest.param(
            Variant("reflect", "REFLECT", "none", "1"), "reflect-none-1", "REFLECT · 1 step", id="one step"
        ),
        pytest.param(
            dataclasses.replace(THOR, perceptual="brain-squeeze", seed=3),
            "thor-gaussian-25-brain-squeeze-seed3",
            "THOR · gaussian · 25 steps · brain-squeeze · seed 3",
            id="net and seed",
        ),
        pytest.param(
            dataclasses.replace(THOR, perceptual="brain-squeeze", seed=3, post="behrendt"),
            "thor-gaussian-25-brain-squeeze-behrendt-seed3",
            "THOR · gaussian · 25 steps · brain-squeeze · post behrendt · seed 3",
            id="post-processing",
        ),
        pytest.param(Variant("blur", "Blur", floor=True), "blur-none-0", "blur", id="floor"),
        pytest.param(
            Variant("blur", "Blur", settings='{"sigma": 3.0}', floor=True),
            "blur-none-0-" + hashlib.sha256(b'{"sigma": 3.0}').hexdigest()[:6],
            "blur · sigma 3.0",
            id="floor with a setting",
        ),
        pytest.param(
            Variant("perceptual-blur", "Blur", perceptual="lpips-squeeze", floor=True),
            "perceptual-blur-none-0-lpips-squeeze",
            "perceptual-blur · lpips-squeeze",
            id="floor with a net",
        ),
        pytest.param(Variant("mend", "Mend"), "mend-none-0", "Mend", id="no noise"),
        pytest.param(Variant("mine", "Mine", "simplex"), "mine-simplex-0", "Mine · simplex", id="no chain"),
    ],
)
def test_a_variant_has_one_slug_and_one_label(variant: Variant, slug: str, label: str) -> None:
    assert (variant.slug, variant.label) == (slug, label)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ('{"window": 9}', "window 9"),
        ('{"harmonize_at": [300, 50]}', "harmonize_at 300,50"),
        ('{"squared": true}', "squared on"),
        ('{"squared": false}', "squared off"),
        ('{"threshold": null}', "threshold none"),
        ('{"sigma": 2.5, "window": 9}', "sigma 2.5 · window 9"),
    ],
)
def test_settings_that_differ_from_the_preset_are_in_the_label_and_a_digest_in_the_slug(
    settings: str, words: str
) -> None:
    variant = dataclasses.replace(THOR, settings=settings)
    assert variant.label == f"THOR · gaussian · 25 steps · {words}"
    digest = hashlib.sha256(settings.encode()).hexdigest()[:6]
    assert variant.slug == f"thor-gaussian-25-{digest}"


def test_every_field_that_tells_variants_apart_is_in_the_slug() -> None:
    others = {
        "method": "ddpm",
        "noise": "simplex",
        "steps": "5",
        "perceptual": "x",
        "seed": 1,
        "settings": '{"a": 1}',
    }
    changed = [dataclasses.replace(THOR, **{name: value}) for name, value in others.items()]  # type: ignore[arg-type]
    slugs = {variant.slug for variant in (THOR, *changed)}
    assert len(slugs) == 1 + len(others)
    labels = {variant.label for variant in (THOR, *changed)}
    assert len(labels) == len(others)  # ddpm has the title of THOR here


@pytest.mark.parametrize(
    ("arm", "slug", "label"),
    [
        (Arm(), "torch-fp32", "torch fp32"),
        (Arm("openvino", "bf16"), "openvino-bf16", "openvino bf16"),
        (Arm("torch", "fp32", "cuda:1"), "torch-fp32-cuda1", "torch fp32 cuda:1"),
    ],
)
def test_an_arm_is_named_by_back_end_and_precision_and_by_its_device_where_that_is_no_cpu(
    arm: Arm, slug: str, label: str
) -> None:
    assert (arm.slug, arm.label) == (slug, label)
    assert (arm == REFERENCE) is (slug == "torch-fp32")


@pytest.mark.parametrize(
    ("info", "variant", "arm"),
    [
        pytest.param(
            {"method": "thor", "noise": "gaussian", "steps": "25", "backend": "torch", "precision": "fp32"},
            Variant("thor", "thor", "gaussian", "25"),
            REFERENCE,
            id="cell.json of the first schema",
        ),
        pytest.param(
            {"method": "blur", "noise": "none", "steps": "0", "kind": "floor"},
            Variant("blur", "blur", "none", "0", floor=True),
            REFERENCE,
            id="floor of the first schema",
        ),
        pytest.param(
            {
                "method": "thor",
                "title": "THOR",
                "noise": "gaussian",
                "steps": "25",
                "settings": {"window": 9},
            },
            Variant("thor", "THOR", "gaussian", "25", settings='{"window": 9}'),
            REFERENCE,
            id="settings as a table",
        ),
        pytest.param(
            {"method": "thor", "settings": '{"window": 9}', "seed": "4", "device": "cuda"},
            Variant("thor", "thor", settings='{"window": 9}', seed=4),
            Arm(device="cuda"),
            id="a row of the CSV",
        ),
        pytest.param(
            {"method": "ddpm", "perceptual": "brain-squeeze"},
            Variant("ddpm", "ddpm"),
            REFERENCE,
            id="the run's perceptual net, used or not, of the first schema",
        ),
        pytest.param({}, Variant("", ""), REFERENCE, id="nothing"),
    ],
)
def test_a_record_is_read_whatever_keys_it_lacks(info: dict[str, Any], variant: Variant, arm: Arm) -> None:
    assert variant_of(info) == variant
    assert arm_of(info) == arm


def test_settings_in_another_order_are_the_same_variant() -> None:
    one, two = (
        variant_of({"method": "thor", "settings": settings})
        for settings in ({"sigma": 1, "window": 9}, {"window": 9, "sigma": 1})
    )
    assert one == two
    assert one.slug == two.slug
