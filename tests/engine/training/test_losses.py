"""Each objective against networks whose answers are known, and which weights can start which network."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from uadbench.engine.networks import NETWORKS, kind_of
from uadbench.engine.networks.conditioned_unet import ConditionedUNet, ConditionedUNetConfig
from uadbench.engine.networks.image_encoder import EncoderConfig, MaskedEncoder
from uadbench.engine.networks.restoration_unet import RestorationUNetConfig
from uadbench.engine.networks.unet import UNet, UNetConfig
from uadbench.engine.networks.vae import VAEConfig
from uadbench.engine.rng import case_generator
from uadbench.engine.schedule import linear_schedule
from uadbench.engine.training.config import TrainingConfig
from uadbench.engine.training.contract import Step
from uadbench.engine.training.initial import starting_weights
from uadbench.engine.training.losses import HIDDEN, OBJECTIVES

SHAPE = {"channels": (16, 16), "attention": (False, True), "head_channels": 8, "groups": 4, "embedding": 16}
SMALL = UNetConfig(**SHAPE)
GUIDED = ConditionedUNetConfig(**SHAPE, encoder=(8, 8), code=12)
ENCODER = EncoderConfig((8, 8), 12)
SHAPES = {
    "conditioned": GUIDED,
    "masked": ENCODER,
    **dict.fromkeys(("coarse", "cold", "flow"), RestorationUNetConfig(**SHAPE, outputs=1, mirrored=False)),
    "restoration": RestorationUNetConfig(**SHAPE),
    "code": VAEConfig((8, 8), 4, 4),
}
CONFIG = TrainingConfig(batch_size=3, t_from=400, t_focus=600, focus_share=1.0)
X = torch.from_numpy(np.random.default_rng(3).uniform(-1, 1, (3, 1, 32, 32))).float()


def step(number: int = 0, **changes: Any) -> Step:
    return Step(
        number,
        case_generator(0, f"step-{number}"),
        replace(CONFIG, **changes),
        linear_schedule(),
        np.arange(3),
    )


def loss_of(name: str, model: Any, x: Tensor, at: Step, shape: Any = None) -> Tensor:
    """Of the batch that is drawn at a step."""
    objective = OBJECTIVES[name]
    return objective.loss(model, *objective.draw(x, at, shape))


class Constant(nn.Module):
    """Answers with one grey value and keeps what it was shown."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.value, self.shown = value, []

    def forward(self, x: Tensor, *more: Tensor) -> Tensor:
        self.shown.append((x, *more))
        return torch.full_like(x, self.value)


def test_the_patch_objective_noises_one_patch_of_half_the_side_and_leaves_the_rest_as_it_is() -> None:
    model = Constant(0.25)
    loss = loss_of("patch", model, X, step())
    ((x_t, t),) = model.shown
    changed = (x_t != X)[:, 0]
    for image, mask in zip(X, changed, strict=True):
        rows, columns = mask.any(1).nonzero().flatten(), mask.any(0).nonzero().flatten()
        assert (len(rows), len(columns)) == (16, 16)
        assert (int(rows[-1] - rows[0]), int(columns[-1] - columns[0])) == (15, 15)
        assert image.shape == (1, 32, 32)
    assert bool(((t + 1 >= 400) & (t + 1 <= 600)).all())
    torch.testing.assert_close(loss, (X - 0.25)[:, 0][changed].abs().mean(), rtol=1e-2, atol=0)


def test_the_error_outside_the_patch_counts_for_nothing() -> None:
    class OnlyOutside(nn.Module):
        """Right wherever it is shown noise, wrong elsewhere."""

        def forward(self, x: Tensor, timesteps: Tensor) -> Tensor:
            return torch.where(x == X, torch.full_like(x, 9.0), X)

    assert loss_of("patch", OnlyOutside(), X, step()).item() == 0


def test_the_conditioned_objective_shows_the_noised_and_the_clean_image() -> None:
    model = Constant(0.0)
    loss = loss_of("conditioned", model, X, step())
    ((x_t, _, cond),) = model.shown
    assert torch.equal(cond, X)
    assert bool((x_t != X).float().mean() > 0.99)
    torch.testing.assert_close(loss, X.abs().mean())


def test_the_masked_objective_hides_its_share_of_the_patches_and_counts_only_those() -> None:
    class Right(nn.Module):
        config = ENCODER

        def forward(self, x: Tensor, seen: Tensor) -> Tensor:
            self.seen = seen
            shown = nn.functional.interpolate(seen, size=x.shape[2:], mode="nearest")
            return torch.where(shown > 0, torch.full_like(x, 9.0), x)

    model = Right()
    assert loss_of("masked", model, X, step(), ENCODER).item() == 0
    assert model.seen.shape == (3, 1, 8, 8)
    assert model.seen.flatten(1).sum(1).tolist() == [64 - round(HIDDEN * 64)] * 3
    assert not torch.equal(model.seen[0], model.seen[1])


def test_what_is_hidden_cannot_be_seen_by_the_encoder() -> None:
    torch.manual_seed(0)
    model, seen = MaskedEncoder(ENCODER).eval(), torch.ones(1, 1, 8, 8)
    seen[..., 2:4, 3:6] = 0
    hidden = nn.functional.interpolate(seen, size=(32, 32), mode="nearest") == 0
    other = torch.where(hidden, torch.tensor(0.9), X[:1])
    with torch.no_grad():
        assert torch.equal(model(X[:1], seen), model(other, seen))
        assert not torch.equal(model(X[:1], torch.ones_like(seen)), model(other, torch.ones_like(seen)))


@pytest.mark.parametrize("name", OBJECTIVES)
def test_every_objective_can_be_learned(name: str) -> None:
    """A few steps on one batch bring its own loss down; so gradients reach the weights."""
    shape = SHAPES.get(name, SMALL)
    torch.manual_seed(0)
    model = NETWORKS[kind_of(shape)].module(shape)
    for (
        weight
    ) in model.parameters():  # a last layer of zeros is right already where next to nothing is to be changed
        if not weight.any():
            nn.init.normal_(weight, std=0.3)
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    course, x = [], torch.full_like(X, 0.7)
    for _ in range(12):
        loss = loss_of(name, model, x, step(), shape)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        course.append(loss.item())
    assert course[-1] < 0.9 * course[0]


@pytest.mark.parametrize("name", OBJECTIVES)
def test_validation_sees_an_estimate_like_the_image(name: str) -> None:
    objective = OBJECTIVES[name]
    shape = SHAPES.get(name, SMALL)
    model = NETWORKS[kind_of(shape)].module(shape)
    with torch.no_grad():
        found = objective.estimate(model, X, 500, torch.randn_like(X), linear_schedule())
    assert found.shape == X.shape
    assert bool(found.abs().max() <= 1)


def test_a_conditioned_network_starts_as_its_denoiser_and_its_encoder() -> None:
    torch.manual_seed(0)
    unet, encoder, guided = UNet(SMALL), MaskedEncoder(ENCODER), ConditionedUNet(GUIDED)
    nn.init.normal_(unet.conv_out.weight)
    found = starting_weights(unet, {"kind": "unet", "prediction": "x0"}, guided, "x0")
    found |= starting_weights(encoder, {"kind": "masked-encoder", "prediction": "x0"}, guided, "x0")
    assert not guided.load_state_dict(found, strict=False).unexpected_keys
    x, t = X, torch.tensor([1, 20, 300])
    with torch.no_grad():
        torch.testing.assert_close(guided(x, t, X), unet(x, t))
        torch.testing.assert_close(guided.encoder(X), encoder.encoder(X))


def test_another_prediction_starts_with_a_new_last_layer() -> None:
    unet = UNet(SMALL)
    found = starting_weights(unet, {"kind": "unet", "prediction": "epsilon"}, UNet(SMALL), "x0")
    assert set(unet.state_dict()) - set(found) == {"conv_out.weight", "conv_out.bias"}
    assert len(starting_weights(unet, {"kind": "unet", "prediction": "x0"}, UNet(SMALL), "x0")) == len(
        unet.state_dict()
    )


def test_what_does_not_fit_cannot_start_a_network() -> None:
    card = {"kind": "unet", "prediction": "epsilon"}
    wide = UNet(UNetConfig(**{**SHAPE, "channels": (32, 32)}))
    with pytest.raises(ValueError, match="nothing of a unet can start this network: it is of another kind"):
        starting_weights(wide, card, UNet(SMALL), "epsilon")
    with pytest.raises(ValueError, match=r"nothing of a unet .*: unet\..* is of another shape"):
        starting_weights(wide, card, ConditionedUNet(GUIDED), "x0")
