"""Pictures of a page by headless Chromium: ``python docs/screenshot.py PAGE.html OUT.png --dark``.

Needs the extra ``dev`` (selenium) and Debian's chromium and chromium-driver. The tests click through the page with
the same ``open_browser`` and ``show``.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from unittest.mock import patch

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

__all__ = ["BrowserError", "find_programs", "open_browser", "screenshot", "show"]

_FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
    "--force-color-profile=srgb",
)


class BrowserError(Exception):
    """The browser is missing or the page lacks what was asked for; the message says which and the remedy."""


def find_programs() -> tuple[str, str]:
    """Paths of (chromium, chromedriver); BrowserError with the remedy where one is missing."""
    chromium = next((path for name in ("chromium", "google-chrome") if (path := shutil.which(name))), None)
    driver = shutil.which("chromedriver")
    if not chromium or not driver:
        missing = "chromium" if not chromium else "chromedriver"
        raise BrowserError(f"{missing} is not installed; on Debian: apt-get install chromium chromium-driver")
    return chromium, driver


@contextlib.contextmanager
def open_browser() -> Iterator[Chrome]:
    """A fresh headless Chromium with an empty profile, gone at the end; BrowserError where it cannot start."""
    try:
        from selenium.common import WebDriverException
        from selenium.webdriver import Chrome, ChromeOptions, ChromeService
    except ImportError as error:
        raise BrowserError("selenium is not installed; pip install -e '.[dev]'") from error
    chromium, driver = find_programs()  # given explicitly: selenium downloads nothing
    options = ChromeOptions()
    options.binary_location = chromium
    with tempfile.TemporaryDirectory(prefix="uadbench-browser-", ignore_cleanup_errors=True) as profile:
        for flag in (*_FLAGS, f"--user-data-dir={profile}"):
            options.add_argument(flag)
        try:
            with patch.dict(os.environ, no_proxy="localhost"):  # the driver is on this machine
                browser = Chrome(options=options, service=ChromeService(driver))
        except WebDriverException as error:
            raise BrowserError(f"chromium does not start ({str(error.msg).splitlines()[0]})") from error
        try:
            yield browser
        finally:
            browser.quit()


def show(
    browser: Chrome,
    page: Path,
    *,
    width: int,
    height: int,
    dark: bool = False,
    scale: float = 1.0,
    at: str = "",
) -> None:
    """Show a local page in a window of ``width`` x ``height`` CSS pixels, light or dark, at the fragment ``at``."""
    size = {"width": width, "height": height, "deviceScaleFactor": scale, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
    browser.get("about:blank")  # a page that differs in its fragment only would not be loaded again
    browser.get(page.resolve().as_uri() + (f"#{at}" if at else ""))


def screenshot(
    page: Path,
    output: Path,
    *,
    width: int = 1280,
    height: int = 900,
    dark: bool = False,
    scale: float = 1.0,
    case: str = "",
    anchor: str = "",
    alone: bool = False,
) -> None:
    """Write a PNG of the page, scrolled to the element that the CSS selector ``anchor`` finds.

    height : 0 for all of the page; case : id of the case that the page's case browser is to show
    alone : nothing but that element
    Raises BrowserError when nothing matches the selector or the page does not hold the case.
    """
    with open_browser() as browser:
        at = f"case={case}" if case else ""
        show(browser, page, width=width, height=height or 900, dark=dark, scale=scale, at=at)
        if case and not browser.execute_script("return document.getElementById(arguments[0])", at):
            raise BrowserError(f"{page}: shows no case {case!r}; its case list names those that it holds")
        found = None
        if anchor:
            found = browser.execute_script("return document.querySelector(arguments[0])", anchor)
            if found is None:
                raise BrowserError(f"{page}: nothing matches the selector {anchor!r}")
            browser.execute_script("arguments[0].scrollIntoView()", found)
        if not height or alone:  # what is out of sight is cut from an element's picture
            height = browser.execute_script("return document.documentElement.scrollHeight")
            size = {"width": width, "height": height, "deviceScaleFactor": scale, "mobile": width < 600}
            browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        output.parent.mkdir(parents=True, exist_ok=True)
        picture = found.screenshot_as_png if found is not None and alone else browser.get_screenshot_as_png()
        output.write_bytes(picture)


def main() -> int:
    """Command line; 0, or 1 with one line on stderr."""
    parser = argparse.ArgumentParser(prog="python docs/screenshot.py", description=__doc__)
    parser.add_argument("page", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--width", type=int, default=1280)
    parser.add_argument("--height", type=int, default=900, help="0 for all of the page")
    parser.add_argument("--scale", type=float, default=1.0, help="device pixels a CSS pixel")
    parser.add_argument("--dark", action="store_true")
    parser.add_argument("--case", default="", help="id of the case to show in the case browser")
    parser.add_argument("--anchor", default="", help="CSS selector of what is to stand at the top")
    parser.add_argument("--alone", action="store_true", help="nothing but that element")
    given = parser.parse_args()
    if not given.page.is_file():
        print(f"{given.page}: no such page; `bench report` writes one", file=sys.stderr)
        return 1
    try:
        screenshot(**vars(given))
    except BrowserError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
