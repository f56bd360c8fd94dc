"""How random damage is drawn: always the same draws, few by default and many where slow tests are asked for."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

# A folder of one test's draws is made once and written over, so hypothesis' warning about it does not apply.
SHARED = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]


def draws(count: int) -> Any:
    """So many examples, always the same ones, however slow the machine."""
    return settings(
        max_examples=count, derandomize=True, deadline=None, database=None, suppress_health_check=SHARED
    )


def sizes(few: int, many: int) -> Any:
    """The test with few draws by default, and with many where slow tests are asked for."""
    return pytest.mark.parametrize(
        "count", [pytest.param(few, id="few"), pytest.param(many, id="many", marks=pytest.mark.slow)]
    )


# What is done to the bytes of a sound file: flips, cuts, and pieces put in.
CHANGES = st.lists(
    st.tuples(st.sampled_from(["flip", "cut", "insert", "zero"]), st.floats(0, 1), st.binary(max_size=8)),
    min_size=1,
    max_size=4,
)


def changed(data: bytes, changes: list[tuple[str, float, bytes]]) -> bytes:
    """The bytes after these changes; places are fractions of the length."""
    found = bytearray(data)
    for kind, where, more in changes:
        place = min(int(where * len(found)), max(0, len(found) - 1))
        if kind == "cut":
            del found[place:]
        elif kind == "insert":
            found[place:place] = more
        elif found:
            found[place] = 0 if kind == "zero" else found[place] ^ (1 << (len(more) % 8))
    return bytes(found)
