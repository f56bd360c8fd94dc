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
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from support import tiny_network as tiny
from support.draws import CHANGES, changed, draws, sizes
from support.faults import invoke, make_slices, only_ours

from uadbench.bench.plan.config import load_config, make_config, parse_set
from uadbench.datasets.folder import open_folder
from uadbench.engine.networks.checkpoint import load_checkpoint, read_card, sha256_of

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
