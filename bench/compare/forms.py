"""A comparison as text of 80 columns, as JSON and as CSV."""

from __future__ import annotations

import csv
import io
import json
import textwrap
from collections.abc import Callable, Iterator
from typing import Any

from uadbench.bench.compare.measures import TIMES, Row
from uadbench.bench.compare.pairs import Side
from uadbench.bench.compare.runs import Compared, Comparison
from uadbench.reports.vocabulary import MEASURES

__all__ = ["as_csv", "as_json", "as_text"]

WIDTH = 80
_LINE = "{:<18}{:>7}{:>7}{:>8}{:>20}{:>9}  {}"


def as_text(comparison: Comparison) -> str:
    """A block for each pair, at most 80 columns wide unless a path is longer.

    Scores are in percent, times in milliseconds an image.
    """
    return "\n\n".join("\n".join(_block(one)) for one in comparison.pairs)


def as_json(comparison: Comparison) -> str:
    """Everything, scores as fractions; null where something is not known."""
    pairs = [
        {
            "a": _side(one.pair.a),
            "b": _side(one.pair.b),
            "n_cases": one.n_cases,
            "differs": [{"setting": s.name, "a": s.a, "b": s.b} for s in one.differs],
            "notes": list(one.notes),
            "rows": [_record(row) for row in one.rows],
        }
        for one in comparison.pairs
    ]
    return json.dumps({"pairs": pairs, "notes": list(comparison.notes)}, indent=1, ensure_ascii=False)


def as_csv(comparison: Comparison) -> str:
    """One line a measure of a pair, scores as fractions; empty where something is not known."""
    lines = [
        {f"{name}_a": value for name, value in _side(one.pair.a).items()}
        | {f"{name}_b": value for name, value in _side(one.pair.b).items()}
        | _record(row)
        | {"differs": "; ".join(setting.text for setting in one.differs)}
        for one in comparison.pairs
        for row in one.rows
    ]
    out = io.StringIO()
    writer = csv.DictWriter(out, list(lines[0]) if lines else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return out.getvalue()


def _side(side: Side) -> dict[str, str]:
    return {
        "run": str(side.run.path),
        "cell": side.cell.slug,
        "variant": side.variant.label,
        "arm": side.arm.label,
    }


def _record(row: Row) -> dict[str, Any]:
    change = row.change
    return {
        "measure": row.measure,
        "unit": _unit(row.measure),
        "a": change and change.a,
        "b": change and change.b,
        "difference": change and change.value,
        "lo": change and change.lo,
        "hi": change and change.hi,
        "relative": row.relative,
        "p": change and change.p,
        "p_holm": row.p_holm,
        "cases": change.n_cases if change else 0,
        "units": change.n_subjects if change else 0,
        "lost": row.lost,
        "verdict": row.verdict,
        "unjudged": row.unjudged,
    }


def _percent(measure: str) -> bool:
    return measure in MEASURES and MEASURES[measure].unit == "%"


def _unit(measure: str) -> str:
    """Of the stored value."""
    if measure in TIMES:
        return "ms"
    return "fraction" if _percent(measure) else MEASURES[measure].unit


def _block(one: Compared) -> Iterator[str]:
    a, b = one.pair.a, one.pair.b
    two_runs = a.run.path != b.run.path
    for letter, side in (("A", a), ("B", b)):
        yield from _wrapped(f"{letter}  ", side.label + (f" · {side.run.path}" if two_runs else ""))
    if one.differs:
        yield from _wrapped("   differs (A | B): ", "; ".join(setting.text for setting in one.differs))
    for note in one.notes:
        yield from _wrapped("   note: ", note)
    yield _LINE.format("", "A", "B", "B - A", "95 % interval", "p", "").rstrip()
    for row in one.rows:
        yield _line(row)
    yield from _wrapped("   ", _counted(one))


def _wrapped(first: str, text: str) -> list[str]:
    """Lines of at most 80 columns; paths and names are never broken."""
    return textwrap.wrap(
        text,
        WIDTH,
        initial_indent=first,
        subsequent_indent="   ",
        break_long_words=False,
        break_on_hyphens=False,
    )


def _line(row: Row) -> str:
    """A row; of one that is not judged the reason stands in place of interval and p."""
    if row.change is None:
        return f"{_title(row.measure):<18}  {row.unjudged}"
    number = _number(row)
    a, b, value = number(row.change.a), number(row.change.b), number(row.change.value, "+")
    if row.change.lo is None or row.change.hi is None:
        return f"{_title(row.measure):<18}{a:>7}{b:>7}{value:>8}  {row.unjudged}"
    interval = f"{number(row.change.lo, '+')} .. {number(row.change.hi, '+')}"
    p = "-" if row.p_holm is None else f"{row.p_holm:.2g}"
    return _LINE.format(_title(row.measure), a, b, value, interval, p, row.verdict)


def _title(measure: str) -> str:
    if measure in TIMES:
        return f"{measure.capitalize()} ms"
    title = MEASURES[measure].title if len(MEASURES[measure].title) < 16 else measure
    return f"{title} %" if _percent(measure) else title


def _number(row: Row) -> Callable[..., str]:
    """(stored value, sign) -> how it is printed: scores with a digit more than in a table, for the differences."""
    if row.measure in TIMES:
        largest = max(abs(row.change.a), abs(row.change.b)) if row.change else 0.0
        digits, factor = (0 if largest >= 1000 else 1 if largest >= 10 else 3), 1.0
    else:
        measure = MEASURES[row.measure]
        digits, factor = measure.digits + 1, measure.factor
    return lambda value, sign="": f"{value * factor:{sign}.{digits}f}"


def _counted(one: Compared) -> str:
    """What the rows rest on: 'Max Dice, Average Dice: 24 cases, 24 subjects; Latency: ...'."""
    titles: dict[str, list[str]] = {}
    for row in one.rows:
        if row.change is not None:
            unit = "batches" if row.measure in TIMES else "subjects"
            text = f"{row.change.n_cases} cases, {row.change.n_subjects} {unit}"
            if row.measure in TIMES and row.relative is not None:
                text += f", {row.relative:+.1%} of A"
            titles.setdefault(text, []).append(_title(row.measure).removesuffix(" %").removesuffix(" ms"))
    return "; ".join(f"{', '.join(names)}: {text}" for text, names in titles.items())
