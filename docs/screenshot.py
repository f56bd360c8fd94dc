"""Pictures of a page by headless Chromium: ``python docs/screenshot.py PAGE.html OUT.png --dark``.

Chromium is driven through chromedriver's WebDriver interface on the loopback device (Debian: packages chromium and
chromium-driver); nothing else is needed. The tests click through the page with the same ``open_browser``.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import json
import re
import shutil
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["Browser", "BrowserError", "find_programs", "open_browser", "screenshot"]

_FLAGS = [
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
]


class BrowserError(Exception):
    """The browser is missing or refused a command; the message says which and the remedy."""


@dataclass(frozen=True)
class Browser:
    """A running browser with one tab. session : address of the WebDriver session."""

    session: str

    def call(self, path: str, body: dict[str, Any]) -> Any:
        """A WebDriver command; BrowserError with the driver's message when it fails."""
        request = urllib.request.Request(
            f"{self.session}/{path}", json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        return _answer(request)

    def cdp(self, command: str, **params: Any) -> Any:
        """A command of the Chrome DevTools protocol."""
        return self.call("goog/cdp/execute", {"cmd": command, "params": params})

    def run(self, script: str) -> Any:
        """The value of a JavaScript expression."""
        return self.call("execute/sync", {"script": f"return ({script});", "args": []})

    def open(self, page: Path, *, width: int, height: int, dark: bool = False, scale: float = 1.0) -> None:
        """Show a local page in a window of ``width`` x ``height`` CSS pixels, in the light or dark colour scheme."""
        self.cdp(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=scale,
            mobile=width < 600,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.cdp("Emulation.setEmulatedMedia", features=[scheme])
        self.call("url", {"url": page.resolve().as_uri()})

    def click(self, selector: str) -> None:
        """Click the first element that a CSS selector finds, as a user would (it must be visible)."""
        found = self.call("element", {"using": "css selector", "value": selector})
        self.call(f"element/{next(iter(found.values()))}/click", {})

    def type(self, selector: str, text: str) -> None:
        """Type into the first element that a CSS selector finds."""
        found = self.call("element", {"using": "css selector", "value": selector})
        self.call(f"element/{next(iter(found.values()))}/value", {"text": text})

    def png(self, full: bool = False) -> bytes:
        """The window, or the whole page, as PNG bytes."""
        answer = self.cdp(
            "Page.captureScreenshot", format="png", captureBeyondViewport=full, **self._clip(full)
        )
        return base64.b64decode(answer["data"])

    def pdf(self) -> bytes:
        """The page as it prints."""
        answer = self.cdp("Page.printToPDF", preferCSSPageSize=True, printBackground=False)
        return base64.b64decode(answer["data"])

    def _clip(self, full: bool) -> dict[str, Any]:
        if not full:
            return {}
        size = self.cdp("Page.getLayoutMetrics")["cssContentSize"]
        return {"clip": {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}}


def find_programs() -> tuple[str, str]:
    """Paths of (chromium, chromedriver); BrowserError with the remedy where one is missing."""
    chromium = next((path for name in ("chromium", "google-chrome") if (path := shutil.which(name))), None)
    driver = shutil.which("chromedriver")
    if not chromium or not driver:
        missing = "chromium" if not chromium else "chromedriver"
        raise BrowserError(f"{missing} is not installed; on Debian: apt-get install chromium chromium-driver")
    return chromium, driver


@contextlib.contextmanager
def open_browser() -> Iterator[Browser]:
    """A fresh headless Chromium with an empty profile, gone at the end. BrowserError where it cannot start."""
    chromium, driver = find_programs()
    with tempfile.TemporaryDirectory(prefix="uadbench-browser-", ignore_cleanup_errors=True) as profile:
        process = subprocess.Popen(
            [driver, "--port=0"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        try:
            address = f"http://127.0.0.1:{_port(process)}"
            options = {"binary": chromium, "args": [*_FLAGS, f"--user-data-dir={profile}"]}
            wanted = {"capabilities": {"alwaysMatch": {"goog:chromeOptions": options}}}
            request = urllib.request.Request(
                f"{address}/session", json.dumps(wanted).encode(), {"Content-Type": "application/json"}
            )
            session = f"{address}/session/{_answer(request)['sessionId']}"
            try:
                yield Browser(session)
            finally:
                with contextlib.suppress(BrowserError):
                    _answer(urllib.request.Request(session, method="DELETE"))
        finally:
            process.terminate()
            process.wait(timeout=10)


def _port(process: subprocess.Popen[str]) -> int:
    """The port that chromedriver says it listens on."""
    assert process.stdout is not None
    for line in process.stdout:
        if found := re.search(r"started successfully on port (\d+)", line):
            return int(found[1])
    raise BrowserError("chromedriver ended before it listened; run `chromedriver --version` to see why")


def _answer(request: urllib.request.Request) -> Any:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # loopback: never through a proxy
    try:
        with opener.open(request, timeout=60) as response:
            return json.load(response)["value"]
    except urllib.error.HTTPError as error:
        message = json.load(error)["value"]["message"].splitlines()[0]
        raise BrowserError(f"chromedriver: {message}") from error
    except OSError as error:
        raise BrowserError(f"chromedriver does not answer ({error})") from error


# Picks a case in the page's own list, as a reader would; true when one was found.
_CHOOSE = """function (wanted) {
  for (const select of document.querySelectorAll("select")) {
    const option = Array.from(select.options).find((one) => one.text.startsWith(wanted + ":"));
    if (option) {
      select.value = option.value;
      select.dispatchEvent(new Event("change"));
      return true;
    }
  }
  return false;
}"""


def screenshot(
    page: Path,
    output: Path,
    *,
    width: int,
    height: int,
    dark: bool = False,
    anchor: str = "",
    scale: float = 1.0,
    case: str = "",
) -> None:
    """Write a PNG of the page, scrolled to the element that the CSS selector ``anchor`` finds.

    case : id of the case that the page's case browser is to show
    Raises BrowserError when nothing matches the selector or the page does not hold the case.
    """
    with open_browser() as browser:
        browser.open(page, width=width, height=height, dark=dark, scale=scale)
        if case and not browser.run(f"({_CHOOSE})({json.dumps(case)})"):
            raise BrowserError(f"{page}: shows no case {case!r}; its case list names those that it holds")
        if anchor and not browser.run(f"document.querySelector({json.dumps(anchor)}) !== null"):
            raise BrowserError(f"{page}: nothing matches the selector {anchor!r}")
        if anchor:
            browser.run(f"document.querySelector({json.dumps(anchor)}).scrollIntoView()")
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_bytes(browser.png())


def main() -> int:
    """Command line; 0, or 1 with one line on stderr."""
    parser = argparse.ArgumentParser(prog="python docs/screenshot.py", description=__doc__)
    parser.add_argument("page", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--width", type=int, default=1280)
    parser.add_argument("--height", type=int, default=900)
    parser.add_argument("--scale", type=float, default=1.0, help="device pixels a CSS pixel")
    parser.add_argument("--dark", action="store_true")
    parser.add_argument("--case", default="", help="id of the case to show in the case browser")
    parser.add_argument("--anchor", default="", help="CSS selector of what is to stand at the top")
    given = parser.parse_args()
    if not given.page.is_file():
        print(f"{given.page}: no such page; `bench report` writes one", file=sys.stderr)
        return 1
    try:
        screenshot(
            given.page,
            given.output,
            width=given.width,
            height=given.height,
            dark=given.dark,
            anchor=given.anchor,
            scale=given.scale,
            case=given.case,
        )
    except BrowserError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
