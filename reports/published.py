"""The figures that the papers print, read from published.toml."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from importlib.resources import files

__all__ = ["NOT_COMPARABLE", "Published", "published_tables"]

NOT_COMPARABLE = (
    "Not comparable with the tables above: other data, a larger network, longer training. "
    "They show the order of magnitude that the papers report, nothing more."
)


@dataclass(frozen=True)
class Published:
    """One table of a paper: cells are text as printed there, in percent."""

    title: str
    note: str
    source: str
    link: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def published_tables() -> tuple[Published, ...]:
    """All published tables, in the order of the file; ValueError when a row's length is not the header's."""
    text = files("uadbench.reports").joinpath("published.toml").read_text(encoding="utf-8")
    tables = tuple(_table(entry) for entry in tomllib.loads(text)["table"])
    for table in tables:
        if any(len(row) != len(table.columns) for row in table.rows):
            raise ValueError(f"published.toml: table {table.title!r} has a row that does not fit its columns")
    return tables


def _table(entry: dict) -> Published:
    rows = tuple(tuple(row) for row in entry["rows"])
    return Published(
        entry["title"], entry["note"], entry["source"], entry["link"], tuple(entry["columns"]), rows
    )
