"""At which levels a network is judged: those at which methods read its answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from uadbench.engine.networks.adapters import restores
from uadbench.engine.networks.checkpoint import schedule_of
from uadbench.engine.training.restoring import RESTORING

__all__ = ["LEVELS", "STRENGTHS_READ", "levels_read"]

LEVELS = (1, 50, 250, 350, 1000)
# Of a network that undoes anomalies and was taught something of its user's own.
STRENGTHS_READ = (1, 2, 25, 50, 100)


def levels_read(card: Mapping[str, Any], levels: tuple[int, ...] = LEVELS) -> tuple[int, ...]:
    """These levels, as far as the network's schedule has them; the strengths that methods tell it where it has none.

    card : says whether it undoes anomalies, and by what objective it was taught to (``Objective.asked``)
    """
    if not restores(card):
        length = schedule_of(card).length
        return tuple(sorted({min(level, length) for level in levels}))
    taught = RESTORING.get(str((card.get("training") or {}).get("objective")))
    return taught.asked if taught else STRENGTHS_READ
