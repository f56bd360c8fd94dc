"""The page: self-contained, safe against what users supply, reproducible, complete; and the choice of cases."""

from __future__ import annotations

import base64
import hashlib
import io
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from support.runs import CELLS, make_run

from uadbench.reports.leaderboard import write_reports
from uadbench.reports.page.cases import (
    Chosen,
    anomaly_image,
    choose,
    colour_range,
    grey_image,
    outline_image,
    size_group,
)
from uadbench.reports.published import published_tables
from uadbench.reports.store import append_case, load_run, read_json, write_arrays, write_json

EVIL = "</script></title></style><img src=x onerror=alert(1)>\"'&$x^2$"


class Tags(HTMLParser):
    """Collects (tag, attributes) of a page and fails on crossed or unclosed elements."""

    VOID = frozenset(("meta", "img", "input", "br", "path", "use", "rect"))

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self.open.pop() == tag


def parse(text: str) -> Tags:
    parser = Tags()
    parser.feed(text)
    parser.close()
    assert not parser.open
    return parser


def page_of(run: Path, output: Path) -> str:
    return write_reports([run], output)[2].read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("runs") / "a")


@pytest.fixture(scope="module")
def text(run: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    return page_of(run, tmp_path_factory.mktemp("page"))


def test_the_page_asks_nothing_of_any_network(text: str) -> None:
    """No address but data: and #fragments anywhere, and a policy that forbids the rest; scripts only by hash."""
    parser = parse(text)
    for tag, attributes in parser.tags:
        assert tag not in ("link", "iframe", "object", "embed", "base")
        for name in ("src", "href", "action", "xlink:href"):
            value = attributes.get(name)
            assert value is None or value.startswith(("data:image/", "#")), (tag, name, value)
        assert not any(name.startswith("on") for name in attributes)
    assert "http://" not in text
    assert "https://" not in text
    assert not re.search(r"url\((?!#)", text)
    assert "@import" not in text
    script = re.search(r"<script>(.*?)</script>", text, re.S)
    assert script is not None
    digest = base64.b64encode(hashlib.sha256(script[1].encode()).digest()).decode()
    policy = next(a["content"] for t, a in parser.tags if a.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None
    assert policy.startswith("default-src 'none'")
    assert f"script-src 'sha256-{digest}'" in policy


def test_the_same_runs_give_the_same_bytes(run: Path, text: str, tmp_path: Path) -> None:
    """Nothing of the moment or the process gets in."""
    assert page_of(run, tmp_path) == text


def test_every_id_is_unique_and_every_reference_is_met(text: str) -> None:
    """Four plots with matplotlib's ids share a page without sharing ids."""
    tags = parse(text).tags
    ids = [attributes["id"] for _, attributes in tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    wanted = set(re.findall(r'(?:href="|url\()#([^")]+)', text))
    assert wanted
    assert wanted <= set(ids)


def test_what_users_supply_is_text(tmp_path: Path) -> None:
    """Titles, caveats, names, reasons, case ids and environment with markup add no element and no attribute."""
    dataset = {
        "name": EVIL,
        "title": EVIL,
        "caveats": [EVIL],
        "licence": EVIL,
        "citation": EVIL,
        "modality": EVIL,
    }
    outputs = []
    for name, poison in (("good", "x"), ("evil", EVIL)):
        run = make_run(
            tmp_path / name,
            run_id=poison,
            dataset={key: [poison] if key == "caveats" else poison for key in dataset},
            reason=poison,
            n_lesion=3,
            n_healthy=2,
            cells=CELLS[:3] + CELLS[-1:],
        )
        manifest = read_json(run / "manifest.json")
        manifest["environment"]["cpu"] = manifest["command"] = manifest["config"]["methods"] = poison
        write_json(run / "manifest.json", manifest)
        for cell in load_run(run).cells:
            info = cell.info | {"method": f"{poison}{cell.info['method']}", "noise": poison}
            write_json(cell.path / "cell.json", info)
            record = cell.cases[0] | {"case_id": poison, "status": "failed", "reason": poison}
            append_case(cell.path, record)
        parity = read_json(run / "parity.json")
        write_json(run / "parity.json", {slug: entry | {"reason": poison} for slug, entry in parity.items()})
        outputs.append(page_of(run, tmp_path / f"page-{name}"))
    plot = re.compile(
        r'<svg viewBox="[^"]*" role="img".*?</svg>', re.S
    )  # ticks depend on the labels' lengths
    for output in outputs:
        parse(output)
    good, evil = (
        [(tag, sorted(found)) for tag, found in parse(plot.sub("", output)).tags] for output in outputs
    )
    assert evil == good
    assert "<img src=x" not in outputs[1]
    assert outputs[1].count("</script>") == 1


def test_the_page_says_all_that_it_must(text: str) -> None:
    """Results, floors, ties, parity, plots, cases, method of measuring, machine, failures, licences, published rows."""
    for part in (
        "Phantom: brain slices made from the MNI152 tissue maps",
        '<span class="tag origin">synthetic</span>',
        "Synthetic: slices and lesions are generated",
        "CC0-1.0",
        "40.6–47.6",
        "below the floor asymmetry (30.1)",
        "its interval overlaps the best row",
        "1 failed",
        "image is constant (min = max = 0.0)",
        "lesion of 3 px or fewer",
        "max Dice differs by 1.4 points",
        "Accuracy against latency",
        "Time by stage",
        "Dice by lesion size",
        "Precision-recall",
        "chosen by rule",
        "share one colour scale",
        "How it was measured",
        "bootstrap over subjects",
        "Test CPU @ 2.60GHz",
        "onnxruntime</dt><dd>1.27.0",
        "brain-squeeze (sha256 3434343434343434)",
        "not comparable",
        "29.74",
        "arXiv:2403.08464",
    ):
        assert part in text, part


def test_plots_read_in_either_theme(text: str) -> None:
    """No plot holds a fixed colour: all come from the page's variables, and text stays text."""
    plots = re.findall(r'<svg viewBox="[^"]*" role="img".*?</svg>', text, re.S)
    assert len(plots) == 4
    for plot in plots:
        assert not re.search(r"#[0-9a-f]{6}\b", plot)
        assert "var(--" in plot
        assert "<text" in plot


def test_the_page_stays_small_whatever_the_number_of_methods(tmp_path: Path) -> None:
    """More methods mean fewer cases, never more than MAX_IMAGES pictures."""
    cell = _cell(tmp_path, [(f"c{number}", number, 0.5) for number in range(4, 90)])
    assert len(choose([cell] * 4)) == 24
    assert len(choose([cell] * 40)) == 700 // 82


def test_a_run_without_pictures_still_gives_a_page(run: Path, tmp_path: Path) -> None:
    """Committed results hold no arrays: the tables remain, and the page says that there are no pictures."""
    import shutil

    bare = tmp_path / "bare"
    shutil.copytree(run, bare, ignore=shutil.ignore_patterns("arrays", "inputs"))
    text = page_of(bare, tmp_path)
    assert "The runs hold no pictures of this data set." in text
    assert "44.1" in text


def test_a_run_with_nothing_done_gives_a_page(tmp_path: Path) -> None:
    """A manifest alone is reported as what it is."""
    write_json(tmp_path / "run" / "manifest.json", {"run_id": "r", "cells": ["thor-gaussian-25-torch-fp32"]})
    assert "No cell has been run yet." in page_of(tmp_path / "run", tmp_path)


def _cell(run: Path, values: list[tuple[str, int, float]]) -> Any:
    """A cell whose cases are (id, lesion pixels, per-case figure)."""
    path = run / "cells" / "thor"
    write_json(run / "manifest.json", {"cells": ["thor"]})
    write_json(path / "cell.json", {"kind": "method", "method": "thor"})
    for case_id, pixels, _ in values:
        append_case(
            path,
            {"case_id": case_id, "split": "test", "status": "ok", "lesion": pixels > 0, "lesion_px": pixels},
        )
    scored = {case_id: {"dice": value, "score": value} for case_id, _, value in values}
    write_json(path / "metrics.json", {"per_case": scored})
    return load_run(run).cells[0]


def test_cases_are_spread_from_best_to_worst_over_sizes_and_healthy(tmp_path: Path) -> None:
    """8 places among 5 small, 5 large, 9 healthy: shared in turn, first and last of each group always among them."""
    values = [(f"s{number}", 50, number / 10) for number in range(5)]
    values += [(f"l{number}", 900, number / 10) for number in range(5)]
    values += [(f"h{number}", 0, number / 10) for number in range(9)]
    chosen = choose([_cell(tmp_path, values)], limit=8)
    assert [case.group for case in chosen] == ["small"] * 3 + ["large"] * 3 + ["healthy"] * 2
    assert [case.case_id for case in chosen] == ["s4", "s2", "s0", "l4", "l2", "l0", "h8", "h0"]
    assert [(case.rank, case.of) for case in chosen[-2:]] == [(1, 9), (9, 9)]


@pytest.mark.parametrize(
    ("pixels", "group"),
    [
        (0, "healthy"),
        (3, "tiny"),
        (4, "small"),
        (71, "small"),
        (72, "medium"),
        (570, "medium"),
        (571, "large"),
    ],
)
def test_sizes_are_grouped_as_in_the_papers(pixels: int, group: str) -> None:
    """Small (3, 71], medium (71, 570], large above."""
    assert size_group(pixels) == group


def decoded(address: str) -> np.ndarray:
    header, _, data = address.partition(",")
    assert header in ("data:image/webp;base64", "data:image/png;base64")
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB")).astype(int)


def test_pictures_show_what_they_are_made_from() -> None:
    """Grey keeps the order of values, the map's bright spot is where the anomaly is, the outline is on the mask."""
    ramp = np.tile(np.linspace(0, 1, 128, dtype=np.float32), (128, 1))
    grey = decoded(grey_image(ramp))
    assert np.abs(grey[64, :, 0] - np.linspace(0, 255, 128)).max() < 8
    anomaly = np.zeros((128, 128), np.float32)
    anomaly[30:50, 70:90] = 3.0
    shown = decoded(anomaly_image(anomaly, 3.0)).sum(axis=2)
    assert shown[40, 80] > 600
    assert shown[100, 20] < 40
    outline = decoded(outline_image(np.zeros((128, 128)), anomaly > 0))
    assert outline.shape == (256, 256, 3)
    assert outline[60:100, 140, 0].min() > 120
    assert outline[80, 160].sum() < 60


def test_a_colour_scale_is_a_cells_own_percentile(tmp_path: Path) -> None:
    """The scale's top is the 99.5th percentile over the chosen cases; a map of zeros has the scale 0 to 1."""
    cell = _cell(tmp_path, [("a", 50, 0.5), ("b", 50, 0.4)])
    cases = [Chosen("a", "small", 1, 2, 50), Chosen("b", "small", 2, 2, 50)]
    values = np.arange(128 * 128, dtype=np.float32).reshape(128, 128)
    for case in cases:
        write_arrays(cell.path, case.case_id, values, np.zeros((128, 128)))
    assert colour_range(cell, cases) == pytest.approx(0.995 * (128 * 128 - 1), rel=1e-3)
    for case in cases:
        write_arrays(cell.path, case.case_id, values * 0, np.zeros((128, 128)))
    assert colour_range(cell, cases) == 1.0


def test_published_tables_are_whole_and_cited() -> None:
    """Every row fits its header and every table names its source."""
    tables = published_tables()
    assert len(tables) == 3
    assert all(table.source and table.link for table in tables)
    atlas = {tuple(row[:2]): row[2] for row in tables[0].rows}
    assert atlas["simplex", "THOR"] == "29.74"
    assert atlas["Gaussian", "DDPM"] == "8.05"
