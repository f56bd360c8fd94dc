"""The templates of the pages, and the files that stand beside them."""

from __future__ import annotations

import base64
from importlib.resources import files

import jinja2

__all__ = ["asset", "icon", "page_environment"]


def asset(name: str) -> str:
    """The text of a file in the folder of templates."""
    return files("uadbench.reports.page").joinpath("templates", name).read_text(encoding="utf-8")


def icon() -> str:
    """The pages' icon as a data address."""
    return f"data:image/svg+xml;base64,{base64.b64encode(asset('icon.svg').encode()).decode()}"


def page_environment() -> jinja2.Environment:
    """Escapes everything that is not marked safe, and raises on a name that it does not know."""
    return jinja2.Environment(
        loader=jinja2.FunctionLoader(asset),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
