"""``--fail-on``: limits on what a change may cost, for use in CI."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from uadbench.bench.compare.measures import CHOICES, DICE_CASE, TIMES, Row, better
from uadbench.bench.compare.pairs import CompareError
from uadbench.bench.compare.runs import Compared, Comparison
from uadbench.bench.plan.fields import listed

__all__ = ["Gate", "parse_gate", "verdicts"]

SHORT = {"dice": DICE_CASE}


@dataclass(frozen=True)
class Gate:
    """A limit on the change for the worse: ``dice_max=-0.02``, ``latency=+10%``.

    A row fails when its change B - A is beyond the limit, in the direction of worse, and its 95 % interval leaves out
    0. Relative limits are fractions of A's value.
    """

    measure: str
    limit: float
    relative: bool
    text: str

    def fails(self, title: str, row: Row) -> bool:
        """Whether a row of this gate's measure, judged, is worse than allowed; CompareError if it cannot be told."""
        assert row.change is not None
        size = row.relative if self.relative else row.change.value
        if size is None:
            raise CompareError(f"--fail-on {self.text}: {title}: A's value is 0; give an absolute limit")
        worse = -better(self.measure)
        return worse * size > worse * self.limit and row.change.significant and worse * size > 0


def parse_gate(text: str) -> Gate:
    """Read ``measure=limit`` with an optional sign and %; raises CompareError that says what is allowed."""
    match = re.fullmatch(r"\s*(\w+)\s*=\s*([+-]?)(\d+\.?\d*|\.\d+)\s*(%?)\s*", text)
    if not match:
        raise CompareError(f"--fail-on {text!r}: write MEASURE=LIMIT, such as dice_max=-0.02 or latency=+10%")
    given, sign, number, percent = match.groups()
    name = SHORT.get(given, given)
    if name not in CHOICES:
        raise CompareError(
            f"--fail-on {text!r}: unknown measure {given!r}; choose from {listed((*TIMES, *SHORT, *CHOICES))}"
        )
    limit = float(number) / (100 if percent else 1) * (-1 if sign == "-" else 1)
    if limit * better(name) > 0:
        remedy = f"{given}={'+' if sign == '-' else '-'}{number}{percent}"
        worse = "above 0 (slower)" if name in TIMES else "below 0" if better(name) > 0 else "above 0"
        raise CompareError(f"--fail-on {text!r}: a limit on {given} is {worse}, such as {remedy}")
    return Gate(name, limit, bool(percent), text)


def verdicts(comparison: Comparison, gates: Sequence[Gate]) -> list[str]:
    """One line for each reason to fail, none when all gates pass.

    A row that is not judged fails its gate, with the reason why it is not. A case that A finished and B tried but did
    not finish fails every gate, for its loss is not in the averages. What B never had is only noted.
    """
    reasons: list[str] = []
    for one in comparison.pairs:
        title = one.pair.title
        for gate in gates:
            for row in one.rows:
                if row.measure == gate.measure and (reason := _broken(title, gate, row)):
                    reasons.append(f"{title}: {gate.text}: {reason}")
        if gates and (lost := _lost(one)):
            reasons.append(f"{title}: {lost} case{'s' * (lost > 1)} with a value in A but not in B")
    return reasons


def _broken(title: str, gate: Gate, row: Row) -> str:
    """Why a row fails its gate; "" when it does not."""
    if row.unjudged or row.change is None:
        return row.unjudged
    if not gate.fails(title, row):
        return ""
    size = f"{row.relative:+.1%}" if gate.relative else f"{row.change.value:+.4g}"
    return f"{row.measure} changed by {size}"


def _lost(one: Compared) -> int:
    return max((row.lost for row in one.rows), default=0)
