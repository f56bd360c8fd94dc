"""Which of a checkpoint's weights another network can start from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

__all__ = ["starting_weights"]

OUTPUT = "conv_out."  # of the compact U-Net: means another thing where another thing is predicted
PARTS = ("unet.", "encoder.")  # where a network holds another as a part


def starting_weights(
    source: nn.Module, card: Mapping[str, Any], target: nn.Module, prediction: str
) -> dict[str, Tensor]:
    """Name in ``target`` -> weight of ``source``: all of it where both are alike, else what is a part of ``target``.

    card : of ``source``
    prediction : what ``target`` is to predict; where that is something else the last layer starts anew
    Raises ValueError where nothing, or not all of a part, fits.
    """
    weights, wanted = source.state_dict(), target.state_dict()
    if source.config == target.config and type(source) is type(target):
        found = dict(weights)
    else:
        found = {}
        for part in PARTS:
            own = {name for name in wanted if name.startswith(part)}
            if not own:
                continue
            named = {name if name.startswith(part) else part + name: w for name, w in weights.items()}
            found |= {name: w for name, w in named.items() if name in own}
    misfit = [name for name, w in found.items() if w.shape != wanted[name].shape]
    if not found or misfit:
        what = f"{misfit[0]} is of another shape" if misfit else "it is of another kind or shape"
        raise ValueError(f"nothing of a {card['kind']} can start this network: {what}")
    if card["prediction"] != prediction:
        found = {name: w for name, w in found.items() if not name.removeprefix("unet.").startswith(OUTPUT)}
    return found
