"""The page "Your data in ten minutes", followed literally; the tables of volumes against the code."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from support.pages import code, fenced, page, table

from uadbench.bench.cli import cli
from uadbench.datasets import DATASETS, Volumes
from uadbench.datasets.layouts import Layout, parse_options
from uadbench.datasets.public.bids import KEYS

PAGE = page("your-data.md")
COMMANDS = [line for block in fenced(PAGE, "sh") for line in block.splitlines()]
LAYOUTS = {name: opener.layout for name, opener in DATASETS.items() if isinstance(opener, Volumes)}


def typed(verb: str) -> Result:
    """The page's command of that verb, as it stands."""
    found = next(line for line in COMMANDS if line.startswith(f"bench {verb}"))
    return CliRunner().invoke(cli, shlex.split(found)[1:])


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """In an empty folder, the tree that the page makes up."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    exec(compile(fenced(PAGE, "python")[0], "your-data.md", "exec", dont_inherit=True), {"__name__": "page"})
    return tmp_path / "lab"


def without_hash(text: str) -> str:
    return re.sub(r"fingerprint \w+", "fingerprint", text)


def test_the_page_is_true_up_to_the_dry_run(lab: Path) -> None:
    _, refusal, answer = fenced(PAGE, "text")
    first = typed("data check")
    assert (first.exit_code, first.stderr) == (2, refusal)
    (lab / "uadbench.toml").write_text(fenced(PAGE, "toml")[0])
    second = typed("data check")
    assert (second.exit_code, without_hash(second.stdout)) == (0, without_hash(answer))
    assert typed("data preview").exit_code == 0
    assert (lab.parent / "bids-flair-test.png").is_file()
    dry = next(line for line in COMMANDS if line.endswith("--dry-run"))
    planned = CliRunner().invoke(cli, shlex.split(dry)[1:])
    assert planned.exit_code == 0, planned.output
    assert "nothing was computed" in planned.stdout
    assert not (lab.parent / "runs").exists()


@pytest.mark.slow
def test_the_page_ends_with_a_report(lab: Path) -> None:
    (lab / "uadbench.toml").write_text(fenced(PAGE, "toml")[0])
    done = typed("run")
    assert done.exit_code == 0, done.output
    assert "bids:flair" in done.stdout
    assert (lab.parent / "try" / "leaderboard.html").is_file()


def test_every_key_of_the_settings_has_its_row() -> None:
    assert [code(row["key"]) for row in table(PAGE, "settings")] == list(KEYS)


def test_every_note_of_the_page_is_one_that_check_may_give() -> None:
    from uadbench.datasets.expected import find_faults
    from uadbench.datasets.layouts import Modality
    from uadbench.datasets.volumes import Measured

    strange = {
        "v": Measured("", spacing=(1, 2, 1), shape=(9, 9, 9), straight=False, litres=5, tissue=(20_000,))
    }
    whole, bare = Modality("T1w", -1, stripped=False), Modality("FLAIR", 1, stripped=True)
    said = [finding for kind in (bare, Modality("T2w", 1)) for finding in find_faults(kind, "all", strange)]
    said += find_faults(whole, "all", {"v": Measured("", spacing=(1, 1, 1), litres=1)})
    text = " ".join(finding.what + finding.remedy for finding in said).lower()
    for row in table(PAGE, "notes"):
        assert row["so many volumes ..."].lower() in text
        assert all(tool.lower() in text for tool in re.findall(r"`([\w. -]+)`", row["what to run"])), row


def test_every_layout_has_its_row_with_its_kinds_and_shares() -> None:
    rows = {code(row["data set"]): row for row in table(page("data.md"), "layouts")}
    assert list(rows) == list(LAYOUTS)
    for name, layout in LAYOUTS.items():
        assert re.findall(r"`(\w+)`", rows[name]["kinds, the first by default"]) == list(layout.modalities)
        for share, split in zip(layout.shares, ("train", "val"), strict=True):
            assert not share or f"{share:.0%} {split}".replace("%", " %") in rows[name]["split"]


def test_every_choice_of_the_table_is_one() -> None:
    layout: Layout = LAYOUTS["bids"]
    words = [
        word for row in table(page("data.md"), "choices") for word in re.findall(r"`([^`]+)`", row["choice"])
    ]
    assert len(words) == 9
    chosen = [parse_options(layout, (word,)) for word in words]
    assert len({(choice.slices, choice.scaled) for choice in chosen}) == 8, (
        "mid-axial and slice are the defaults"
    )
