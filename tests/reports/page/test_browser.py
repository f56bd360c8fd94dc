"""The page in a real browser: headless Chromium clicks through it (Debian's chromium and chromium-driver)."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image
from screenshot import BrowserError, find_programs, screenshot
from support.browser import Reader, reading
from support.runs import CELLS, make_run

from uadbench.reports.leaderboard import write_reports
from uadbench.reports.vocabulary import MEASURES, TABLE

EVIL = "</script><img src=x onerror=\"document.title='broken'\">"
SHOWN = "document.querySelector('article.case:not([hidden])')"
DICE = """(article, level) => {
  const read = (image) => {
    const canvas = new OffscreenCanvas(image.naturalWidth, image.naturalHeight), context = canvas.getContext("2d");
    context.drawImage(image, 0, 0);
    return context.getImageData(0, 0, canvas.width, canvas.height).data.filter((_, at) => at % 4 === 0);
  };
  const map = read(article.querySelector(".map img")), truth = read(article.querySelector(".truth img"));
  const both = map.filter((value, at) => value > level && truth[at] > 127).length;
  return 2 * both / (map.filter((value) => value > level).length + truth.filter((value) => value > 127).length);
}"""
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
def chromium() -> Iterator[Reader]:
    with reading() as reader:
        yield reader


@pytest.fixture
def browser(chromium: Reader, page: Path) -> Reader:
    chromium.open(page)
    chromium.run("localStorage.clear()")
    return chromium


def test_the_script_runs_and_nothing_that_users_supply_does(browser: Reader) -> None:
    """The policy lets the page's script through; a poisoned title and reason are shown as text."""
    assert browser.run("document.documentElement.classList.contains('js')")
    assert browser.run("document.title") == "uadbench leaderboard"
    assert EVIL in browser.run("document.body.textContent")
    fetched = "performance.getEntriesByType('resource').filter((e) => !e.name.startsWith('data:')).length"
    assert browser.run(fetched) == 0


def test_a_column_sorts_both_ways_and_floors_stay_below(browser: Reader) -> None:
    """Clicking a head sorts by number, again reverses, aria-sort follows, and no floor rises above a method."""
    n_scores = sum(MEASURES[name].applies_to("mask") for name in TABLE)
    head = f"table.results thead th:nth-child({4 + n_scores})"
    browser.click(f"{head} button")
    values = [float(value) for value in browser.run(column(3 + n_scores))]
    first = values[:9]
    assert first == sorted(first)
    assert browser.run(f"document.querySelector({json.dumps(head)}).getAttribute('aria-sort')") == "ascending"
    browser.click(f"{head} button")
    again = [float(value) for value in browser.run(column(3 + n_scores))][:9]
    assert again == sorted(first, reverse=True)
    kinds = browser.run("[...document.querySelectorAll('table.results')][0].innerText.split('\\n').join(' ')")
    assert kinds.index("Floors") < kinds.index("residual-median")


def test_the_filter_counts_and_hides_rows(browser: Reader) -> None:
    """Words narrow the rows, the kind narrows further, an empty floors part hides its line."""
    assert browser.run("document.getElementById('filter-count').textContent") == "18 rows"
    browser.type("#filter-text", "thor simplex")
    assert browser.run(f"{ROWS}.filter((r) => !r.hidden).map((r) => r.dataset.kind)") == ["method", "method"]
    assert browser.run("document.getElementById('filter-count').textContent") == "2 of 18 rows"
    assert browser.run("[...document.querySelectorAll('tr.divider')].every((r) => r.hidden)")


def test_choosing_a_data_set_shows_it_alone(browser: Reader) -> None:
    """The data set's list hides the other section."""
    browser.click("#filter-data option:nth-child(2)")
    hidden = browser.run("[...document.querySelectorAll('section.dataset')].map((s) => s.hidden)")
    assert hidden == [False, True]


def test_cases_are_browsed_by_buttons_list_and_keys(browser: Reader) -> None:
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
    assert browser.run(f"{images}.length") == 2 + 2 * 9  # input and truth, five methods, four floors
    assert browser.run(f"{images}.every((i) => i.complete && i.naturalWidth >= 128)")


def test_a_link_to_a_case_opens_it_and_choosing_one_makes_the_link(browser: Reader, page: Path) -> None:
    """#case=ID is restored on load, followed when it changes, and kept up with what is shown."""
    address = "decodeURIComponent(location.hash)"
    names = browser.run("[...document.querySelectorAll('article.case')].map((a) => a.id)")
    browser.open(page, at=names[3])
    assert browser.run(f"{SHOWN}.id") == names[3]
    place = browser.run(f"{SHOWN}.getBoundingClientRect().top")
    assert 0 <= place < 450
    browser.click(".browser .next")
    assert browser.run(address) == f"#{names[4]}"
    browser.run(f"location.hash = {json.dumps(names[1])}")
    browser.wait(f"{SHOWN}.id === {json.dumps(names[1])}")
    browser.open(page, at="case=nobody")
    assert browser.run(f"{SHOWN}.id") == names[0]


def test_the_slider_cuts_every_map_and_says_what_that_scores(browser: Reader) -> None:
    """White above the threshold, black below, exactly as the Dice beside it counts; 0 gives the maps back."""
    value = f"{SHOWN}.querySelector('.map .value').textContent"
    whole = browser.run(value)
    assert "Dice" in whole
    browser.slide(".slider input", 40)
    assert browser.run("getComputedStyle(document.querySelector('.map img')).filter").endswith('#cut")')
    threshold, dice = (float(part) for part in re.findall(r"[\d.]+", browser.run(value)))
    top = float(browser.run(f"{SHOWN}.querySelector('.map').dataset.top"))
    assert threshold == pytest.approx(102 / 255 * top, rel=0.01)
    assert dice == pytest.approx(100 * browser.run(f"({DICE})({SHOWN}, 102)"), abs=0.06)
    table = browser.run("document.querySelector('#cut feFuncR').getAttribute('tableValues')").split()
    assert table == ["0"] * 103 + ["1"] * 153
    browser.slide(".slider input", 0)
    assert browser.run(value) == whole


def test_a_picture_is_enlarged_and_left_again(browser: Reader) -> None:
    """A click opens it in a dialog with its outline, arrow keys go through the case's pictures, Escape closes."""
    browser.click("article:not([hidden]) .map .picture")
    assert browser.run("document.getElementById('zoom').open")
    assert browser.run("document.querySelector('#zoom img').getBoundingClientRect().width") > 600
    assert browser.run("document.querySelector('#zoom .outline').getBoundingClientRect().width") > 600
    caption = "document.querySelector('#zoom span').textContent"
    assert "map" in browser.run(caption)
    browser.type("#zoom .close", "\ue012")  # WebDriver's arrow left
    assert browser.run(caption).endswith("reconstruction")
    browser.type("#zoom .close", "\ue00c")  # escape
    assert not browser.run("document.getElementById('zoom').open")


def test_pictures_are_large_and_outlines_thick_enough_to_be_seen(browser: Reader, page: Path) -> None:
    """At least 200 CSS pixels on a desktop over its whole width; the true outline on every one, until it is hidden."""
    pictures = f"[...{SHOWN}.querySelectorAll('.picture')].map((p) => p.getBoundingClientRect())"
    assert min(browser.run(f"{pictures}.map((p) => p.width)")) >= 200
    assert max(browser.run(f"{pictures}.map((p) => p.right)")) > 1200
    shown = f"[...{SHOWN}.querySelectorAll('.picture')].every((p) => p.querySelector('.outline').checkVisibility())"
    assert browser.run(shown)
    assert (
        float(browser.run("getComputedStyle(document.querySelector('article .lesion')).strokeWidth")[:-2])
        >= 1.5
    )
    browser.click(".truths")
    assert not browser.run(shown)
    browser.open(page, width=390)
    assert min(browser.run(f"{pictures}.map((p) => p.width)")) >= 150


def test_the_theme_follows_the_system_and_can_be_switched(browser: Reader, page: Path) -> None:
    """Dark paper under a dark system; the button turns it light and the page remembers."""
    paper = "getComputedStyle(document.body).backgroundColor"
    light = browser.run(paper)
    browser.open(page, dark=True)
    dark = browser.run(paper)
    assert dark != light
    browser.click("#theme")
    assert browser.run(paper) == light
    browser.open(page, dark=True)
    assert browser.run(paper) == light
    ink = browser.run("getComputedStyle(document.querySelector('.plot text')).fill")
    browser.click("#theme")
    assert browser.run("getComputedStyle(document.querySelector('.plot text')).fill") != ink


@pytest.mark.parametrize("width", [360, 390, 768, 1280])
def test_the_page_never_scrolls_sideways(browser: Reader, page: Path, width: int) -> None:
    """Wide tables scroll inside their own box."""
    browser.open(page, width=width)
    browser.run("document.querySelectorAll('details').forEach((d) => { d.open = true; })")
    assert browser.run("document.documentElement.scrollWidth") <= width


def test_without_script_tables_plots_and_all_cases_show(chromium: Reader, page: Path) -> None:
    """JavaScript off: everything is there, and controls that need it are not."""
    chromium.without_script(True)
    try:
        chromium.open(page)
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
        chromium.without_script(False)


def test_it_prints(browser: Reader) -> None:
    """The printed page is a PDF of several pages."""
    assert browser.pdf().startswith(b"%PDF-")


def test_a_missing_browser_is_an_error_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    """No silent skip in the tool itself."""
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(BrowserError, match="apt-get install chromium"):
        find_programs()


def test_the_command_takes_a_picture_of_a_case(chromium: Reader, page: Path, tmp_path: Path) -> None:
    """A PNG of the window's size; a case or a selector that the page lacks is an error that says so."""
    screenshot(
        page, tmp_path / "a.png", width=400, height=300, case="sub-002", anchor="article.case:not([hidden])"
    )
    assert Image.open(tmp_path / "a.png").size == (400, 300)
    screenshot(page, tmp_path / "plot.png", width=400, anchor="figure.plot", alone=True)
    plot = Image.open(tmp_path / "plot.png")
    assert plot.width < 400
    assert plot.height > 200
    with pytest.raises(BrowserError, match="shows no case 'nobody'"):
        screenshot(page, tmp_path / "b.png", case="nobody")
    with pytest.raises(BrowserError, match=r"nothing matches the selector '\.nothing'"):
        screenshot(page, tmp_path / "b.png", anchor=".nothing")
