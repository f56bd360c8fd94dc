"""``--cases`` and ``--subjects``: which test cases, by id; the rest of a data set stays."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.cells import make_dataset
from support.faults import invoke, make_slices, refused

from uadbench.bench.plan.config import ConfigError, RunConfig, config_hash, make_config
from uadbench.bench.plan.plan import make_plan
from uadbench.bench.plan.selection import read_ids, select_test

DATA = make_dataset()  # test: case0 to case3 with a lesion, case4 to case6 without, of subjects s0 to s6


def chosen(
    *, cases: tuple[str, ...] = (), subjects: tuple[str, ...] = (), limit: int | None = None
) -> list[str]:
    return [case.case_id for case in select_test(DATA, cases, subjects, limit).split("test")]


def test_the_named_test_cases_are_left_in_the_data_sets_order_and_other_splits_untouched() -> None:
    left = select_test(DATA, ("case5", "case1"), ())
    assert [case.case_id for case in left.split("test")] == ["case1", "case5"]
    for split in ("train", "val"):
        assert left.split(split) == DATA.split(split)
    assert left.n_test == 7, "so that reports call it a part"


def test_subjects_bring_their_cases_and_both_together_what_both_name() -> None:
    assert chosen(subjects=("s6", "s0")) == ["case0", "case6"]
    assert chosen(cases=("case0", "case1"), subjects=("s1", "s2")) == ["case1"]
    with pytest.raises(ConfigError, match="no test case is among both"):
        chosen(cases=("case0",), subjects=("s1",))


def test_a_limit_takes_of_the_named_alone_in_their_proportion() -> None:
    named = ("case0", "case1", "case4", "case5")
    found = chosen(cases=named, limit=2)
    assert len(found) == 2
    assert len(set(found) & {"case0", "case1"}) == 1
    assert set(found) <= set(named)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        pytest.param(("case7",), "the case 'case7'; the nearest are case6", id="near"),
        pytest.param(("zzz",), "the case 'zzz'; it has such as case0, case1, case2", id="far"),
        pytest.param(("val0",), "'val0' is in the split val; only test cases", id="another split"),
    ],
)
def test_an_unknown_id_is_named_with_the_nearest(names: tuple[str, ...], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        chosen(cases=names)


def test_a_selection_is_part_of_the_runs_identity_and_its_order_is_not() -> None:
    one, two = make_config({}, {"cases": "a,b"}), make_config({}, {"cases": ["b", "a"]})
    assert config_hash(one) == config_hash(two) != config_hash(RunConfig())
    assert config_hash(make_config({}, {"subjects": "a,b"})) != config_hash(one)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(b"a\nb\na\n", "names 'a' twice", id="twice"),
        pytest.param(b"\n# all of them\n", "names no id", id="none"),
        pytest.param(b"\xff\xfe\x00", "no UTF-8 text", id="no text"),
        pytest.param(None, "cannot be read", id="no file"),
    ],
)
def test_a_list_of_ids_that_is_none_is_refused(tmp_path: Path, content: bytes | None, message: str) -> None:
    if content is not None:
        (tmp_path / "ids").write_bytes(content)
    with pytest.raises(ConfigError, match=message):
        read_ids(tmp_path / "ids")


def test_a_list_of_ids_is_one_a_line_with_remarks(tmp_path: Path) -> None:
    (tmp_path / "ids").write_text("\ufeffs1\r\n\n  s2  # left out before\n# s3\n", encoding="utf-8")
    assert read_ids(tmp_path / "ids") == ["s1", "s2"]


def test_a_plan_runs_the_named_cases_and_keeps_the_validation_cases(tmp_path: Path) -> None:
    folder = make_slices(tmp_path / "data", {"val": 2, "test": 4}, side=32)
    config = make_config(
        {}, {"methods": "blur", "dataset": "folder", "data_root": folder, "cases": "test2,test1"}
    )
    plan = make_plan(config)
    assert [case.case_id for case in plan.cases] == ["val0", "val1", "test1", "test2"]


def test_the_command_reads_the_list_and_refuses_what_is_not_there(tmp_path: Path) -> None:
    folder = make_slices(tmp_path / "data", {"val": 1, "test": 2}, side=32)
    (tmp_path / "ids").write_text("test0\n")
    words = ["run", "--methods", "blur", "--dataset", "folder", "--data-root", str(folder), "--dry-run"]
    done = invoke(*words, "--subjects", str(tmp_path / "ids"), "--output", str(tmp_path / "out"))
    assert "1 test, 1 healthy for thresholds" in done.stdout
    assert "no test case has the case 'test9'" in refused(invoke(*words, "--cases", "test9"))
