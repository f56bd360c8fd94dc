"""A page in a real browser for the tests: what a reader does, and what the page then says."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from screenshot import BrowserError, find_programs, open_browser, show

__all__ = ["Reader", "reading"]


class Reader:
    """A reader of one page at a time, in a browser that it owns."""

    def __init__(self, browser: Any) -> None:
        self.browser = browser

    def open(
        self, page: Path, *, width: int = 1280, height: int = 900, dark: bool = False, at: str = ""
    ) -> None:
        """Open a page in a window of CSS pixels, at a fragment."""
        show(self.browser, page, width=width, height=height, dark=dark, at=at)

    def run(self, script: str) -> Any:
        """The value of a JavaScript expression."""
        return self.browser.execute_script(f"return ({script});")

    def click(self, selector: str) -> None:
        """Click the first element that a CSS selector finds, as a user would (it must be visible)."""
        self._find(selector).click()

    def type(self, selector: str, text: str) -> None:
        """Type into the first element that a CSS selector finds."""
        self._find(selector).send_keys(text)

    def slide(self, selector: str, value: float) -> None:
        """Move a slider."""
        script = "arguments[0].value = arguments[1]; arguments[0].dispatchEvent(new Event('input'))"
        self.browser.execute_script(script, self._find(selector), str(value))

    def wait(self, condition: str) -> None:
        """Wait until a JavaScript expression is true, 10 seconds at most."""
        from selenium.webdriver.support.wait import WebDriverWait

        WebDriverWait(self.browser, 10).until(lambda _: self.run(condition))

    def without_script(self, off: bool) -> None:
        """Switch the page's JavaScript off or on, from the next page on."""
        self.browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": off})

    def pdf(self) -> bytes:
        """The page as it prints."""
        return base64.b64decode(self.browser.print_page())

    def _find(self, selector: str) -> Any:
        return self.browser.find_element("css selector", selector)


@contextmanager
def reading() -> Iterator[Reader]:
    """A reader with a fresh browser; skips the test where there is no chromium."""
    try:
        find_programs()
    except BrowserError as error:
        pytest.skip(str(error))
    with open_browser() as browser:
        yield Reader(browser)
