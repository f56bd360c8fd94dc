"""The pages under docs, taken apart: marked tables, fenced blocks, commands."""

from __future__ import annotations

import re
from pathlib import Path

from support.places import ROOT

DOCS = ROOT / "docs"
PAGES = [*sorted(DOCS.rglob("*.md")), ROOT / "CONTRIBUTING.md"]


def page(name: str) -> str:
    """The text of a page, by its path below docs."""
    return (DOCS / name).read_text(encoding="utf-8")


def table(text: str, marker: str) -> list[dict[str, str]]:
    """The rows of the table that follows ``<!-- marker -->``, by the heads of its columns."""
    after = text.split(f"<!-- {marker} -->\n", 1)
    assert len(after) == 2, f"no table is marked {marker!r}"
    lines = after[1].split("\n\n", 1)[0].splitlines()
    head, _, *rows = [_cells(line) for line in lines if line.startswith("|")]
    return [dict(zip(head, row, strict=True)) for row in rows]


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


def code(cell: str) -> str:
    """What a cell holds between its backticks."""
    found = re.fullmatch(r"`(.*)`", cell)
    assert found, f"{cell!r} is no code"
    return found[1]


def fenced(text: str, language: str) -> list[str]:
    """The blocks between ```language and ```."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def blocks(language: str) -> list[tuple[str, str]]:
    """(where, text) of every fenced block of that language in all pages."""
    return [
        (f"{path.relative_to(ROOT)}-{number}", block)
        for path in PAGES
        for number, block in enumerate(fenced(path.read_text(encoding="utf-8"), language), 1)
    ]


def relative(path: Path) -> str:
    """How a page is called in a test's id."""
    return str(path.relative_to(ROOT))
