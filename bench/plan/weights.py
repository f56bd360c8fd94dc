"""Which file holds a network, and what its card says, before any weights are read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from uadbench.engine.networks import NETWORKS
from uadbench.engine.networks.adapters import restores
from uadbench.engine.networks.checkpoint import is_shipped, read_card, schedule_of, shipped
from uadbench.engine.schedule import Schedule

__all__ = ["NetworkFile", "find_network", "perceptual_file"]


@dataclass(frozen=True)
class NetworkFile:
    """A network by name: its checkpoint, its card, and the schedule that it was trained with.

    wanted : the network trained on images like the data set's, where that is not shipped and this one serves instead
    """

    name: str
    path: Path
    card: Mapping[str, Any]
    schedule: Schedule
    wanted: str = ""

    @property
    def caveat(self) -> str:
        """What must be said where this network stands in for ``wanted``."""
        return (
            f"No network trained on images like these is shipped ({self.wanted}): {self.name} serves, which never saw "
            f"such images. Train one, or give one by --set checkpoints.{self.name}=FILE."
        )

    @property
    def kind(self) -> str:
        """A key of ``NETWORKS``."""
        return str(self.card.get("kind", "unet"))

    @property
    def conditioned(self) -> bool:
        """Whether it is also shown the clean image."""
        return NETWORKS[self.kind].conditioned

    @property
    def restores(self) -> bool:
        """Whether it undoes anomalies instead of noise."""
        return restores(self.card)

    @property
    def identity(self) -> dict[str, Any]:
        """What of the card decides what the network computes: its weights and how they are to be read."""
        keys = ("sha256", "kind", "prediction", "schedule", "network")
        return {key: self.card.get(key) for key in keys}


def find_network(name: str, given: Mapping[str, str], own: Mapping[str, str] | None = None) -> NetworkFile:
    """The network's checkpoint: the user's where one is given, else the data set's own, else the shipped one.

    given : network name -> file
    own : network name -> the shipped one that the data set would have in its place (``Dataset.networks``); where that
        is not shipped, the usual one serves, and ``wanted`` says so

    Raises CheckpointError where it is missing or its card is none.
    """
    better = (own or {}).get(name, "")
    if name in given:
        path, better = Path(given[name]), ""
    elif better and is_shipped(better):
        path, better = shipped(better), ""
    else:
        path = shipped(name)
    card = read_card(path)
    return NetworkFile(name, path, card, schedule_of(card), wanted=better)


def perceptual_file(name: str, given: str | Mapping[str, str] | None) -> Path | None:
    """The user's file of a perceptual net, None where the usual places serve.

    given : ``RunConfig.perceptual_weights``, one file for the only net or a table
    """
    place = given if given is None or isinstance(given, str) else given.get(name)
    return Path(place) if place else None
