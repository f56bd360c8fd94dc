"""The page in a real browser: headless Chromium clicks through it (Debian's chromium and chromium-driver)."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from screenshot import Browser, BrowserError, find_programs, open_browser
from support.runs import CELLS, make_run

from uadbench.reports.leaderboard import write_reports

EVIL = "</script><img src=x onerror=\"document.title='broken'\">"
ROWS = "[...document.querySelectorAll('table.results tbody tr[data-kind]')]"


def column(place: int) -> str:
    """JavaScript: the sort keys of a column of the first results table's methods, in shown order."""
    return f"{ROWS}.filter((r) => r.dataset.kind === 'method').map((r) => r.cells[{place}].dataset.sort)"


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("page")
    first = make_run(folder / "a", n_lesion=8, n_healthy=4)
    second = make_run(
        folder / "b",
        run_id="b",
        n_lesion=4,
        n_healthy=2,
        cells=CELLS[3:6] + CELLS[-2:],
        reason=EVIL,
        dataset={"name": "soop-flair", "title": f"IXI {EVIL}", "fingerprint": "cd" * 32},
    )
    return write_reports([first, second], folder / "out")[2]


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    try:
        find_programs()
    except BrowserError as error:
        pytest.skip(str(error))
    with open_browser() as browser:
        yield browser


@pytest.fixture
def browser(chromium: Browser, page: Path) -> Browser:
    chromium.open(page, width=1280, height=900)
    chromium.run("localStorage.clear()")
    return chromium


def test_the_script_runs_and_nothing_that_users_supply_does(browser: Browser) -> None:
    """The policy lets the page's script through; a poisoned title and reason are shown as text."""
    assert browser.run("document.documentElement.classList.contains('js')")
    assert browser.run("document.title") == "uadbench leaderboard"
    assert EVIL in browser.run("document.body.textContent")
    fetched = "performance.getEntriesByType('resource').filter((e) => !e.name.startsWith('data:')).length"
    assert browser.run(fetched) == 0


def test_a_column_sorts_both_ways_and_floors_stay_below(browser: Browser) -> None:
    """Clicking a head sorts by number, again reverses, aria-sort follows, and no floor rises above a method."""
    head = "table.results thead th:nth-child(10)"
    browser.click(f"{head} button")
    values = [float(value) for value in browser.run(column(9))]
    first = values[:9]
    assert first == sorted(first)
    assert browser.run(f"document.querySelector({json.dumps(head)}).getAttribute('aria-sort')") == "ascending"
    browser.click(f"{head} button")
    again = [float(value) for value in browser.run(column(9))][:9]
    assert again == sorted(first, reverse=True)
    kinds = browser.run("[...document.querySelectorAll('table.results')][0].innerText.split('\\n').join(' ')")
    assert kinds.index("Floors") < kinds.index("residual-median")


def test_the_filter_counts_and_hides_rows(browser: Browser) -> None:
    """Words narrow the rows, the kind narrows further, an empty floors part hides its line."""
    assert browser.run("document.getElementById('filter-count').textContent") == "18 rows"
    browser.type("#filter-text", "thor simplex")
    assert browser.run(f"{ROWS}.filter((r) => !r.hidden).map((r) => r.dataset.kind)") == ["method", "method"]
    assert browser.run("document.getElementById('filter-count').textContent") == "2 of 18 rows"
    assert browser.run("[...document.querySelectorAll('tr.divider')].every((r) => r.hidden)")


def test_choosing_a_data_set_shows_it_alone(browser: Browser) -> None:
    """The data set's list hides the other section."""
    browser.click("#filter-data option:nth-child(2)")
    hidden = browser.run("[...document.querySelectorAll('section.dataset')].map((s) => s.hidden)")
    assert hidden == [False, True]


def test_cases_are_browsed_by_buttons_list_and_keys(browser: Browser) -> None:
    """One case shows at a time; next, the strip and the arrow keys change it, with all methods beside each other."""
    cases = "[...document.querySelectorAll('.browser')[0].querySelectorAll('article.case')]"
    shown, count = f"{cases}.findIndex((a) => !a.hidden)", f"{cases}.filter((a) => !a.hidden).length"
    assert (browser.run(shown), browser.run(count)) == (0, 1)
    browser.click(".browser .next")
    assert (browser.run(shown), browser.run(count)) == (1, 1)
    browser.type(".browser .next", "\ue014")  # WebDriver's arrow right
    assert browser.run(shown) == 2
    browser.click(".browser .strip button:nth-child(5)")
    assert browser.run(shown) == 4
    assert browser.run("document.querySelector('.browser select').value") == "4"
    browser.click(".browser select option:nth-child(3)")
    assert browser.run(shown) == 2
    images = "[...document.querySelectorAll('article.case:not([hidden])')[0].querySelectorAll('img')]"
    assert browser.run(f"{images}.length") == 2 + 2 * 9
    assert browser.run(f"{images}.every((i) => i.complete && i.naturalWidth >= 128)")


def test_the_theme_follows_the_system_and_can_be_switched(browser: Browser, page: Path) -> None:
    """Dark paper under a dark system; the button turns it light and the page remembers."""
    paper = "getComputedStyle(document.body).backgroundColor"
    light = browser.run(paper)
    browser.open(page, width=1280, height=900, dark=True)
    dark = browser.run(paper)
    assert dark != light
    browser.click("#theme")
    assert browser.run(paper) == light
    browser.open(page, width=1280, height=900, dark=True)
    assert browser.run(paper) == light
    ink = browser.run("getComputedStyle(document.querySelector('.plot text')).fill")
    browser.click("#theme")
    assert browser.run("getComputedStyle(document.querySelector('.plot text')).fill") != ink


@pytest.mark.parametrize("width", [360, 390, 768, 1280])
def test_the_page_never_scrolls_sideways(browser: Browser, page: Path, width: int) -> None:
    """Wide tables scroll inside their own box."""
    browser.open(page, width=width, height=800)
    browser.run("document.querySelectorAll('details').forEach((d) => { d.open = true; })")
    assert browser.run("document.documentElement.scrollWidth") <= width


def test_without_script_tables_plots_and_all_cases_show(chromium: Browser, page: Path) -> None:
    """JavaScript off: everything is there, and controls that need it are not."""
    chromium.cdp("Emulation.setScriptExecutionDisabled", value=True)
    try:
        chromium.open(page, width=1280, height=900)
        assert not chromium.run("document.documentElement.classList.contains('js')")
        assert chromium.run("document.querySelector('.filters').offsetHeight") == 0
        assert chromium.run("document.querySelector('table.results').offsetHeight") > 300
        assert chromium.run(
            "[...document.querySelectorAll('.plot > svg')].every((s) => s.getBoundingClientRect().height > 100)"
        )
        assert chromium.run(
            "[...document.querySelectorAll('article.case')].every((a) => a.offsetHeight > 100)"
        )
    finally:
        chromium.cdp("Emulation.setScriptExecutionDisabled", value=False)


def test_it_prints(browser: Browser) -> None:
    """The printed page is a PDF of several pages."""
    assert browser.pdf().startswith(b"%PDF-")


def test_a_missing_browser_is_an_error_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    """No silent skip in the tool itself."""
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(BrowserError, match="apt-get install chromium"):
        find_programs()
