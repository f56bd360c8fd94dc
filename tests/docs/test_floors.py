"""What the pages say of fitting floors is what the code does."""

from __future__ import annotations

from support.pages import page

from uadbench.engine.methods import FITTED_FLOORS
from uadbench.engine.methods.tuning import SIGMAS

FLOORS_PAGE = page("methods/floors.md")


def test_the_widths_of_the_page_are_those_that_are_tried() -> None:
    *some, last = (f"{sigma:g}" for sigma in SIGMAS)
    assert f"`sigma` among {', '.join(some)} and {last} px" in " ".join(FLOORS_PAGE.split())
    assert all(f"`{name}`" in FLOORS_PAGE for name in FITTED_FLOORS)
