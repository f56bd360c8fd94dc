"""The templates of the pages, and the files that stand beside them."""

from __future__ import annotations

import base64
from importlib.resources import files
from typing import Any

import jinja2

__all__ = ["asset", "render"]


def asset(name: str) -> str:
    """The text of a file in the folder of templates."""
    return files("uadbench.reports.page").joinpath("templates", name).read_text(encoding="utf-8")


def render(template: str, **context: Any) -> str:
    """A page with the style sheet and the icon, which all have.

    Escapes everything that is not marked safe, and raises on a name that is not in the context.
    """
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(asset),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    icon = base64.b64encode(asset("icon.svg").encode()).decode()
    return environment.get_template(template).render(
        css=asset("page.css"), icon=f"data:image/svg+xml;base64,{icon}", **context
    )
