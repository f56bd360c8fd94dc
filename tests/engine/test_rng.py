"""Noise depends on the run's seed and the case, on nothing else."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from uadbench.engine.rng import NOISES, case_generator, noise_source

PINNED = [1.006817149565838, 0.146333912191646, -1.281114948093398]


@pytest.mark.parametrize("kind", NOISES)
def test_a_case_s_noise_does_not_depend_on_its_batch(kind: str) -> None:
    together = noise_source(kind, 7, ["a", "b", "c"], (24, 32))
    alone = noise_source(kind, 7, ["b"], (24, 32))
    for t in (350, 120, 1):
        torch.testing.assert_close(together(t)[1], alone(t)[0], atol=0, rtol=0)


@pytest.mark.parametrize("kind", NOISES)
def test_every_image_and_every_draw_has_its_own_field(kind: str) -> None:
    draw = noise_source(kind, 7, ["a", "b"], (32, 32))
    first, second = draw(300), draw(300)
    fields = [first[0, 0], first[1, 0], second[0, 0], second[1, 0]]
    for i, x in enumerate(fields):
        for y in fields[i + 1 :]:
            assert (x - y).abs().mean() > 0.05


def test_gaussian_noise_is_white_with_unit_variance() -> None:
    x = noise_source("gaussian", 0, [str(i) for i in range(30)], (64, 64))(250)
    assert x.mean().item() == pytest.approx(0, abs=0.01)
    assert x.std().item() == pytest.approx(1, abs=0.01)
    neighbours = np.corrcoef(x[..., 1:].flatten(), x[..., :-1].flatten())[0, 1]
    assert abs(neighbours) < 0.01


def test_simplex_noise_is_smooth() -> None:
    x = noise_source("simplex", 0, [str(i) for i in range(4)], (64, 64))(250)
    assert np.corrcoef(x[..., 1:].flatten(), x[..., :-1].flatten())[0, 1] > 0.5


def test_the_generator_is_pinned_so_that_old_runs_can_be_repeated() -> None:
    """Changing the key or the generator would change every published number."""
    np.testing.assert_allclose(case_generator(0, "a").standard_normal(3), PINNED, rtol=1e-12)


def test_seed_and_case_cannot_be_confused() -> None:
    assert case_generator(1, "23").integers(2**62) != case_generator(12, "3").integers(2**62)


def test_an_unknown_kind_lists_the_choices() -> None:
    with pytest.raises(ValueError, match="unknown noise 'perlin'; choose from gaussian, simplex"):
        noise_source("perlin", 0, ["a"], (8, 8))


def test_what_draws_no_noise_cannot_draw_any() -> None:
    draw = noise_source("none", 0, ["a"], (8, 8))
    with pytest.raises(RuntimeError, match="no noise to draw"):
        draw(1)
