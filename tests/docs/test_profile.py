"""The page on profiles names every column, key, limit and verdict, and no other."""

from __future__ import annotations

import re
from collections.abc import Callable
from importlib.util import find_spec

import torch
from support.pages import code, page, table
from support.profiled import made_profile
from torch import nn

from uadbench.bench.profile.count import count_call
from uadbench.bench.profile.inputs import JUDGED
from uadbench.bench.profile.opened import PARITY_LEVELS
from uadbench.bench.profile.stability import DRIFT, LEAST, SPREAD
from uadbench.bench.run.streams import WORTH
from uadbench.bench.run.timing import PERCENTILES
from uadbench.engine.backends.form import Form
from uadbench.engine.networks.diffusion_unet import DiffusionUNet
from uadbench.engine.networks.unet import UNet
from uadbench.exporters.precision import in_form
from uadbench.reports.profile import IDLE
from uadbench.reports.profile_files import COLUMNS, timings
from uadbench.reports.vocabulary import LOAD_LIMIT

TEXT = page("profile.md")
FLAT = " ".join(TEXT.split())


def test_every_column_of_the_csv_is_explained_in_its_order() -> None:
    assert tuple(code(row["name"]) for row in table(TEXT, "columns")) == COLUMNS


def test_every_key_of_a_timed_call_is_explained_in_its_order() -> None:
    assert [code(row["name"]) for row in table(TEXT, "times")] == list(timings(made_profile())[0])


def test_limits_are_those_of_the_code() -> None:
    assert f"more than {DRIFT * 100:.0f} % of the median, and" in FLAT
    assert f"inter-quartile range is more than {SPREAD * 100:.0f} % of the median" in FLAT
    assert f"fewer than {LEAST} calls" in FLAT
    assert f"load average of {LOAD_LIMIT} times the threads" in FLAT
    assert f"Below {IDLE * 100:.0f} % the report says so" in FLAT
    assert f"more than {WORTH} times the images a second of the other" in FLAT
    assert f"p90 from {PERCENTILES[90]} calls, p99 from {PERCENTILES[99]}" in FLAT
    assert f"at least {JUDGED} cases, three with a lesion to one without" in FLAT
    assert "levels {}, {} and {}".format(*PARITY_LEVELS) in FLAT


def test_every_file_of_a_profile_is_named() -> None:
    named = set(re.findall(r"`((?:profile|times|trace-ROW)\.\w+)`", TEXT))
    assert named == {
        *(f"profile.{end}" for end in ("csv", "json", "md", "html")),
        "times.json",
        "trace-ROW.json",
    }


def test_the_layout_takes_as_many_fewer_operations_as_the_page_says() -> None:
    """Counted without data, as `bench profile` counts; the papers' network where MONAI is installed."""
    networks: dict[str, Callable[[], nn.Module]] = {"the small network": UNet}
    if find_spec("monai"):
        networks["the papers' network"] = DiffusionUNet
    for name, make in networks.items():
        model, last = make(), Form(layout="channels-last")
        x, t = torch.zeros(1, 1, 128, 128, device="meta"), torch.zeros(1, dtype=torch.int64, device="meta")
        usual, fewer = (count_call(one.to("meta"), x, t).flops for one in (model, in_form(model, last)))
        assert f"{100 * (1 - fewer / usual):.0f} % fewer of {name}" in FLAT
