"""Random index files, images, cards, settings and run directories: only the project's own errors come out, in one line.

Draws are the same in every run. `pytest -m slow` draws many more.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from support import tiny_network as tiny
from support.faults import invoke, make_slices, only_ours
from support.runs import CELLS, make_run

from uadbench.bench.plan.config import load_config, make_config, parse_set
from uadbench.datasets.folder import open_folder
from uadbench.engine.networks.checkpoint import load_checkpoint, read_card, sha256_of
from uadbench.reports.leaderboard import write_reports
from uadbench.reports.rows import rows_of
from uadbench.reports.runs import load_run
from uadbench.reports.text import markdown, terminal_table

# A folder of one test's draws is made once and written over, so hypothesis' warning about it does not apply.
SHARED = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]


def draws(count: int) -> Any:
    """So many examples, always the same ones, however slow the machine."""
    return settings(
        max_examples=count, derandomize=True, deadline=None, database=None, suppress_health_check=SHARED
    )


def sizes(few: int, many: int) -> Any:
    """The test with few draws by default, and with many where slow tests are asked for."""
    return pytest.mark.parametrize(
        "count", [pytest.param(few, id="few"), pytest.param(many, id="many", marks=pytest.mark.slow)]
    )


# What is done to the bytes of a sound file: flips, cuts, and pieces put in.
CHANGES = st.lists(
    st.tuples(st.sampled_from(["flip", "cut", "insert", "zero"]), st.floats(0, 1), st.binary(max_size=8)),
    min_size=1,
    max_size=4,
)


def changed(data: bytes, changes: list[tuple[str, float, bytes]]) -> bytes:
    """The bytes after these changes; places are fractions of the length."""
    found = bytearray(data)
    for kind, where, more in changes:
        place = min(int(where * len(found)), max(0, len(found) - 1))
        if kind == "cut":
            del found[place:]
        elif kind == "insert":
            found[place:place] = more
        elif found:
            found[place] = 0 if kind == "zero" else found[place] ^ (1 << (len(more) % 8))
    return bytes(found)


CELL = st.one_of(
    st.sampled_from(
        ["", "a", "b.npy", "c.png", "v.nii", "train", "val", "test", "0", "1", "-1", "flair", "../x"]
    ),
    st.text(max_size=12),
)
HEADER = st.one_of(
    st.just(["case_id", "image", "mask", "split", "subject"]),
    st.permutations(["case_id", "image", "mask", "split", "subject", "slice", "lesion_sign", "modality"]),
    st.lists(CELL, max_size=9),
)


@st.composite
def tables(draw: Any) -> bytes:
    """An index.csv: a table that is nearly right, or any bytes."""
    if draw(st.booleans()) and draw(st.booleans()):
        return draw(st.binary(max_size=200))
    header = draw(HEADER)
    width = len(header)
    rows = draw(
        st.lists(st.lists(CELL, min_size=width, max_size=width + draw(st.integers(0, 1))), max_size=5)
    )
    quote = draw(st.sampled_from(["", '"', "'"]))
    lines = [",".join(f"{quote}{cell}{quote}" for cell in row) for row in [header, *rows]]
    text = draw(st.sampled_from(["\n", "\r\n", "\r"])).join(lines)
    return text.encode(draw(st.sampled_from(["utf-8", "utf-8-sig", "utf-16"])), "surrogatepass")


@sizes(40, 600)
def test_any_index_is_a_data_set_or_one_line(tmp_path: Path, count: int) -> None:
    make_slices(tmp_path / "data", {"test": 2}, side=16)

    @draws(count)
    @given(tables())
    def check(text: bytes) -> None:
        (tmp_path / "data" / "index.csv").write_bytes(text)
        with only_ours():
            dataset = open_folder(tmp_path / "data")
            for case in dataset.cases:
                with only_ours():
                    dataset.load(case)
        invoke("data", "check", "folder", "--data-root", str(tmp_path / "data"))

    check()


def image_files(folder: Path) -> list[Path]:
    """One sound image of each kind."""
    pixels = (np.random.default_rng(0).random((20, 18)) * 250).astype(np.uint8)
    paths = [folder / name for name in ("a.npy", "b.png", "c.nii", "d.nii.gz", "e.npy", "f.png")]
    np.save(paths[0], pixels.astype(np.float32))
    Image.fromarray(pixels).save(paths[1])
    for path in paths[2:4]:
        nibabel.Nifti1Image(pixels[..., None].astype(np.int16), np.diag([2.0, 2, 2, 1])).to_filename(path)
    np.save(paths[4], pixels > 100)
    Image.fromarray(pixels.astype(np.uint16) * 200).save(paths[5])
    return paths


@sizes(60, 3000)
@pytest.mark.filterwarnings("ignore")
def test_any_image_is_a_slice_or_one_line(tmp_path: Path, count: int) -> None:
    files = image_files(tmp_path)
    sound = {path.name: path.read_bytes() for path in files}
    lines = ["case_id,image,mask,split,subject", *(f"c{i},{p.name},,test,s{i}" for i, p in enumerate(files))]
    (tmp_path / "index.csv").write_text("\n".join(lines) + "\n")

    @draws(count)
    @given(st.sampled_from(sorted(sound)), CHANGES, st.floats(0, 1))
    def check(name: str, changes: list[tuple[str, float, bytes]], head: float) -> None:
        # headers are short and the most of what can go wrong, so most changes are put there
        near = [(kind, where * (0.1 if head < 0.8 else 1), more) for kind, where, more in changes]
        (tmp_path / name).write_bytes(changed(sound[name], near))
        with only_ours():
            dataset = open_folder(tmp_path)
            case = next(case for case in dataset.cases if case.case_id == f"c{sorted(sound).index(name)}")
            sample = dataset.load(case)
            assert sample.image.shape == (128, 128)
            assert np.isfinite(sample.image).all()
            assert 0 <= sample.image.min() <= sample.image.max() <= 1
        (tmp_path / name).write_bytes(sound[name])

    check()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**20), 10**20) | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
KEYS = ("kind", "prediction", "schedule", "network", "sha256", "noise", "bytes")
SHAPE = ("fold", "channels", "blocks", "attention", "head_channels", "groups", "embedding", "other")
LEVELS = ("kind", "length", "start", "end")
CARDS = st.one_of(
    st.tuples(st.just(()), st.dictionaries(st.sampled_from(KEYS), JSON, min_size=1, max_size=3)),
    st.tuples(st.just(("network",)), st.dictionaries(st.sampled_from(SHAPE), JSON, min_size=1, max_size=2)),
    st.tuples(st.just(("schedule",)), st.dictionaries(st.sampled_from(LEVELS), JSON, min_size=1, max_size=2)),
)


@sizes(60, 2000)
def test_any_card_is_a_checkpoint_s_or_one_line(tmp_path: Path, count: int) -> None:
    path = tiny.make_checkpoint(tmp_path)
    card_path = path.with_suffix(".json")
    card = json.loads(card_path.read_text())

    @draws(count)
    @given(CARDS)
    def check(change: tuple[tuple[str, ...], dict[str, Any]]) -> None:
        where, values = change
        found = {**card, **({where[0]: {**card[where[0]], **values}} if where else values)}
        card_path.write_text(json.dumps(found))
        with only_ours():
            read_card(path)
            load_checkpoint(path)

    check()


@sizes(60, 2000)
def test_any_bytes_of_a_card_or_of_weights_are_a_checkpoint_s_or_one_line(tmp_path: Path, count: int) -> None:
    path = tiny.make_checkpoint(tmp_path)
    card_path = path.with_suffix(".json")
    card, weights = card_path.read_bytes(), path.read_bytes()

    @draws(count)
    @given(CHANGES, st.booleans())
    def check(changes: list[tuple[str, float, bytes]], of_card: bool) -> None:
        if of_card:
            card_path.write_bytes(changed(card, changes))
        else:  # with the hash that it then has, so that the bytes themselves are read; the header is most of it
            data = changed(weights, [(kind, where * 0.2, more) for kind, where, more in changes])
            path.write_bytes(data)
            card_path.write_text(json.dumps({**json.loads(card), "sha256": sha256_of(data)}))
        with only_ours():
            load_checkpoint(path)
        path.write_bytes(weights)

    check()


SETTINGS = (
    "methods",
    "limit",
    "steps",
    "seed",
    "eta",
    "n_boot",
    "checkpoints",
    "thor.window",
    "ddpm",
    "device",
)
TOML = st.one_of(
    st.sampled_from(
        ["1", "-1", "1e9", "nan", "inf", "'a'", "[]", "[1, 'a']", "{a=1}", "true", "1979-05-27", "[[1]]"]
    ),
    st.integers().map(str),
    st.floats().map(str),
    st.text(max_size=10),
)


@sizes(60, 5000)
def test_any_settings_are_a_configuration_or_one_line(tmp_path: Path, count: int) -> None:
    file = tmp_path / "run.toml"

    @draws(count)
    @given(
        st.lists(st.tuples(st.sampled_from(SETTINGS) | st.text(max_size=6), TOML), max_size=4),
        st.lists(st.tuples(st.sampled_from(SETTINGS) | st.text(max_size=6), TOML), max_size=3),
        st.binary(max_size=40) | st.just(b""),
    )
    def check(lines: list[tuple[str, str]], sets: list[tuple[str, str]], junk: bytes) -> None:
        text = "".join(f"{key} = {value}\n" for key, value in lines)
        file.write_bytes(text.encode("utf-8", "surrogatepass") + junk)
        values: dict[str, Any] = {}
        with only_ours():
            values = load_config(file)
        pairs = []
        for key, value in sets:
            with only_ours():
                pairs.append(parse_set(f"{key}={value}"))
        with only_ours():
            make_config(values, {}, pairs)

    check()


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A small finished run of two methods and a floor."""
    return make_run(tmp_path / "run", cells=(CELLS[0], CELLS[1], CELLS[9]), n_lesion=2, n_healthy=1)


def damaged_runs(run: Path, count: int, check: Any) -> None:
    """Calls check for many states of the run, each with one or two of its files changed or gone."""
    files = sorted(path for path in run.rglob("*") if path.is_file())
    sound = {path: path.read_bytes() for path in files}

    @draws(count)
    @given(st.lists(st.tuples(st.integers(0, len(files) - 1), CHANGES | st.none()), min_size=1, max_size=2))
    def state(damages: list[tuple[int, Any]]) -> None:
        for index, changes in damages:
            if changes is None:
                files[index].unlink(missing_ok=True)
            else:
                files[index].write_bytes(changed(sound[files[index]], changes))
        check()
        for index, _ in damages:
            files[index].write_bytes(sound[files[index]])

    state()


@sizes(60, 2000)
def test_any_damage_to_a_run_is_a_table_or_one_line(run: Path, count: int) -> None:
    def check() -> None:
        with only_ours():
            loaded = load_run(run)
            rows_of([loaded])
            for cell in loaded.cells:
                for case in cell.cases:
                    with only_ours():
                        cell.arrays(case["case_id"])
                        loaded.directory.read_input(case["case_id"])

    damaged_runs(run, count, check)


@sizes(3, 200)
@pytest.mark.filterwarnings("ignore")
def test_any_damage_to_a_run_is_a_report_or_one_line(run: Path, tmp_path: Path, count: int) -> None:
    def check() -> None:
        with only_ours():
            write_reports([run], tmp_path / "out")

    damaged_runs(run, count, check)


JSON_FILES = ("manifest.json", "cell.json", "metrics.json", "latency.json", "parity.json")


def replaced(value: Any, path: list[float], new: Any) -> Any:
    """A JSON value with one of its parts, found by walking down by fractions, replaced."""
    if not path or not isinstance(value, dict | list) or not value:
        return new
    keys = sorted(value) if isinstance(value, dict) else list(range(len(value)))
    key = keys[min(int(path[0] * len(keys)), len(keys) - 1)]
    copy = value.copy()
    copy[key] = replaced(value[key], path[1:], new)
    return copy


def replaced_values(run: Path, count: int, check: Any) -> None:
    """Calls check for many states of the run, in each of which one value of its records is another."""
    files = sorted(file for file in run.rglob("*.json") if file.name in JSON_FILES)
    sound = {file: json.loads(file.read_text()) for file in files}

    @draws(count)
    @given(st.sampled_from(files), st.lists(st.floats(0, 1), min_size=1, max_size=3), JSON)
    def state(file: Path, path: list[float], new: Any) -> None:
        file.write_text(json.dumps(replaced(sound[file], path, new)))
        check()
        file.write_text(json.dumps(sound[file]))

    state()


@sizes(60, 3000)
@pytest.mark.filterwarnings("ignore")
def test_any_value_in_the_place_of_another_is_a_table_or_one_line(run: Path, count: int) -> None:
    def check() -> None:
        with only_ours():
            loaded = load_run(run)
            frame = rows_of([loaded])
            terminal_table(frame)
            markdown([loaded], frame)

    replaced_values(run, count, check)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_any_value_in_the_place_of_another_is_exit_code_0_1_or_2(run: Path) -> None:
    def check() -> None:
        invoke("report", str(run))
        invoke("compare", str(run))

    replaced_values(run, 150, check)
