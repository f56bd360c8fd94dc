"""The page: self-contained, safe against what users supply, reproducible, complete; and the choice of cases."""

from __future__ import annotations

import base64
import hashlib
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest
from support.profiled import made_profile, made_row
from support.runs import CELLS, make_run

from uadbench.reports.leaderboard import write_reports
from uadbench.reports.published import published_tables
from uadbench.reports.runs import load_run
from uadbench.reports.store import RunDirectory

EVIL = "</script></title></style><img src=x onerror=alert(1)>\"'&$x^2$"


class Tags(HTMLParser):
    """Collects (tag, attributes) of a page and fails on crossed or unclosed elements."""

    VOID = frozenset(("meta", "link", "img", "input", "br", "path", "use", "rect"))

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
    """No address but data:, #fragments and the CSV beside it; a policy forbids the rest, scripts run by hash only."""
    parser = parse(text)
    for tag, attributes in parser.tags:
        assert tag not in ("iframe", "object", "embed", "base")
        assert tag != "link" or attributes["rel"] == "icon"
        for name in ("src", "href", "action", "xlink:href"):
            value = attributes.get(name)
            beside = (tag, name, value) == ("a", "href", "leaderboard.csv")
            assert value is None or value.startswith(("data:image/", "#")) or beside, (tag, name, value)
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
    """Plots with matplotlib's ids share a page without sharing ids, and so do the cases' outlines."""
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
            cells=CELLS[:3] + CELLS[-2:],
            not_applicable={"blur": poison},
        )
        loaded = load_run(run)
        manifest = loaded.manifest
        manifest["environment"]["cpu"] = manifest["command"] = manifest["config"]["methods"] = poison
        loaded.directory.write_manifest(manifest)
        for cell in loaded.cells:
            named = {key: f"{poison}{cell.info[key]}" for key in ("method", "title")}
            cell.directory.write_info(cell.info | named | {"noise": poison})
            record = loaded.cells[0].cases[0] | {"case_id": poison, "status": "failed", "reason": poison}
            cell.directory.append_case(record)
        parity = loaded.parity or {}
        loaded.directory.write_parity({slug: entry | {"reason": poison} for slug, entry in parity.items()})
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
        "no row is significantly better",
        "No ranks: the run has no paired.json",
        "1 failed",
        "image is constant (min = max = 0.0)",
        "lesion of 3 px or fewer",
        "max Dice differs by 1.4 points",
        "Accuracy against latency",
        "Max Dice by lesion size",
        "Precision-recall",
        "Dice against threshold",
        "Dice of each case",
        "Paired differences",
        "Time by stage",
        "Time outside the network",
        'href="leaderboard.csv"',
        "chosen by rule",
        "share one colour scale",
        "How it was measured",
        "bootstrap over subjects",
        "Test CPU @ 2.60GHz",
        "onnxruntime</dt><dd>1.27.0",
        "3434343434343434",
        "not comparable",
        "29.74",
        "arXiv:2403.08464",
    ):
        assert part in text, part


def test_a_case_has_one_address_on_the_page(tmp_path: Path) -> None:
    """The same case in two sections gets two fragments, the first of them the plain one."""
    runs = [
        make_run(
            tmp_path / name,
            run_id=name,
            n_lesion=3,
            n_healthy=1,
            cells=CELLS[:1],
            dataset={"fingerprint": name * 32},
        )
        for name in ("ab", "cd")
    ]
    text = write_reports(runs, tmp_path / "out")[2].read_text(encoding="utf-8")
    ids = re.findall(r'<article class="case" id="([^"]+)"', text)
    assert len(ids) == len(set(ids))
    assert "case=sub-000" in ids
    assert sum(name.startswith("case=sub-000&amp;in=d") for name in ids) == 1


def test_plots_read_in_either_theme(text: str) -> None:
    """No plot holds a fixed colour: all come from the page's variables, and text stays text."""
    plots = re.findall(r'<svg viewBox="[^"]*" role="img".*?</svg>', text, re.S)
    assert len(plots) == 9
    for plot in plots:
        assert not re.search(r"#[0-9a-f]{6}\b", plot)
        assert "var(--" in plot
        assert "<text" in plot


def test_a_profile_stands_behind_the_runs(run: Path, tmp_path: Path) -> None:
    """Its table, plots, notes and machine, as text, with ids of its own."""
    rows = [made_row(), made_row(method="thor", label=EVIL, stages_ms={"network": 2.0})]
    profile = made_profile(rows, left_out={"openvino": EVIL})
    text = write_reports([run], tmp_path, profile=profile)[2].read_text(encoding="utf-8")
    tags = parse(text).tags
    ids = [attributes["id"] for _, attributes in tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'(?:href="|url\()#([^")]+)', text)) <= set(ids)
    assert "profile" in ids
    assert EVIL not in text
    for told in ("Roofline", "Time by stage", "Left out: openvino", "Some CPU", "matrix product 150 GFLOP/s"):
        assert told in text


def test_a_run_without_pictures_still_gives_a_page(run: Path, tmp_path: Path) -> None:
    """Committed results hold no arrays: the tables remain, and the page says that there are no pictures."""
    bare = tmp_path / "bare"
    shutil.copytree(run, bare, ignore=shutil.ignore_patterns("arrays", "inputs"))
    text = page_of(bare, tmp_path)
    assert "The runs hold no pictures of this data set." in text
    assert "44.1" in text


def test_a_run_with_nothing_done_gives_a_page(tmp_path: Path) -> None:
    """A manifest alone is reported as what it is."""
    manifest = {"run_id": "r", "cells": ["thor-gaussian-25-torch-fp32"]}
    RunDirectory(tmp_path / "run").write_manifest(manifest)
    assert "No cell has been run yet." in page_of(tmp_path / "run", tmp_path)


def test_published_tables_are_whole_and_cited() -> None:
    """Every row fits its header and every table names its source."""
    tables = published_tables()
    assert len(tables) == 3
    assert all(table.source and table.link for table in tables)
    atlas = {tuple(row[:2]): row[2] for row in tables[0].rows}
    assert atlas["simplex", "THOR"] == "29.74"
    assert atlas["Gaussian", "DDPM"] == "8.05"
