"""``--fail-on``: limits on what a change may cost, for use in CI."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from uadbench.bench.compare.runs import MEASURES, CompareError, Comparison, Key, Row

__all__ = ["Gate", "parse_gate", "verdicts"]


@dataclass(frozen=True)
class Gate:
    """A limit on the change for the worse: ``dice=-0.02``, ``latency=+10%``.

    A row fails when its mean change B - A is beyond the limit, in the direction of worse, and its 95 % interval
    leaves out 0. Relative limits are fractions of A's mean.
    """

    measure: str
    limit: float
    relative: bool
    text: str

    def fails(self, row: Row) -> bool:
        """Whether a row of this gate's measure is worse than allowed; CompareError if it cannot be told."""
        size = row.relative if self.relative else row.change.value
        if size is None:
            raise CompareError(
                f"--fail-on {self.text}: the mean of {'/'.join(row.cell)} in A is 0; give an absolute limit"
            )
        if row.change.lo is None:
            raise CompareError(
                f"--fail-on {self.text}: {'/'.join(row.cell)} has {row.change.n_subjects} independent unit "
                f"(subject or batch), too few for an interval; compare runs with more cases"
            )
        worse = -MEASURES[self.measure].better
        return worse * size > worse * self.limit and row.change.significant and worse * size > 0


def parse_gate(text: str) -> Gate:
    """Read ``measure=limit`` with an optional sign and %; raises CompareError that says what is allowed."""
    match = re.fullmatch(r"\s*(\w+)\s*=\s*([+-]?)(\d+\.?\d*|\.\d+)\s*(%?)\s*", text)
    if not match:
        raise CompareError(f"--fail-on {text!r}: write MEASURE=LIMIT, such as dice=-0.02 or latency=+10%")
    name, sign, number, percent = match.groups()
    if name not in MEASURES:
        raise CompareError(f"--fail-on {text!r}: unknown measure {name!r}; choose from {', '.join(MEASURES)}")
    limit = float(number) / (100 if percent else 1) * (-1 if sign == "-" else 1)
    if limit * MEASURES[name].better > 0:
        remedy = f"{name}={'+' if sign == '-' else '-'}{number}{percent}"
        worse = "below 0 (a loss)" if MEASURES[name].better > 0 else "above 0 (slower)"
        raise CompareError(f"--fail-on {text!r}: a limit on {name} is {worse}, such as {remedy}")
    return Gate(name, limit, bool(percent), text)


def verdicts(comparison: Comparison, gates: Sequence[Gate]) -> list[str]:
    """One line for each reason to fail, none when all gates pass.

    A case that A finished and B tried but did not finish fails every gate, for its loss is not in the averages;
    so does a cell where the gate's measure is missing. Cells and cases that B never had are only noted.
    """
    reasons: list[str] = []
    for gate in gates:
        rows = [row for row in comparison.rows if row.measure == gate.measure]
        reasons += [
            f"{'/'.join(cell)}: no case has {name} in both runs, so {gate.text} cannot be judged"
            for cell, name in comparison.missing
            if name == gate.measure
        ]
        for row in rows:
            if gate.fails(row):
                size = f"{row.relative:+.1%}" if gate.relative else f"{row.change.value:+.4g}"
                reasons.append(
                    f"{'/'.join(row.cell)}: {gate.measure} changed by {size}, allowed is {gate.text}"
                )
    if gates:
        lost: dict[Key, int] = {}
        for row in comparison.rows:
            lost[row.cell] = max(row.lost, lost.get(row.cell, 0))
        reasons += [
            f"{'/'.join(cell)}: {n} case(s) have a value in A but not in B" for cell, n in lost.items() if n
        ]
    return reasons
