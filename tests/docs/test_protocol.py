"""The page on the protocol says what is measured."""

from __future__ import annotations

import re
from collections import Counter

import pytest
from support.pages import page, table

from uadbench.bench.compare.judge import N_CASES
from uadbench.bench.compare.runs import RESAMPLES
from uadbench.bench.plan.config import RunConfig
from uadbench.bench.run.fitting import FIT_LIMIT
from uadbench.bench.run.timing import PERCENTILES
from uadbench.bench.run.variance import VARIANCE_LIMIT
from uadbench.bench.score.boxes import CAP, SHARE
from uadbench.bench.score.cases import KLD_BINS
from uadbench.bench.score.froc import RATES
from uadbench.bench.score.operating import CANDIDATES
from uadbench.bench.score.paired import A_PAIR, BINS, LEAST, MOST
from uadbench.bench.score.scorers import PAPERS_WEIGHTS, SCORERS
from uadbench.bench.score.statistics import MIN_SUBJECTS, N_BOOT
from uadbench.datasets import DATASETS
from uadbench.datasets.case import SIZES, TOO_SMALL
from uadbench.datasets.preprocess import PREPROCESSING
from uadbench.datasets.public.grazpedwri import SHARES
from uadbench.datasets.selection import read_split
from uadbench.datasets.shifts import SHIFTS
from uadbench.engine.post import EROSIONS, FOREGROUND, MEDIAN
from uadbench.exporters.gates import GATES
from uadbench.exporters.levels import LEVELS
from uadbench.exporters.parity import SEEDS
from uadbench.reports.ranking import ALPHA
from uadbench.reports.vocabulary import LOAD_LIMIT, MEASURES, STAGES

TEXT = re.sub(r"\s+", " ", page("protocol.md"))


def test_every_measure_of_the_vocabulary_has_its_row() -> None:
    wanted = [
        {
            "name": f"`{measure.name}`",
            "title": measure.title,
            "unit": measure.unit or "-",
            "better": "higher" if measure.better > 0 else "lower",
            "meaning": measure.about,
        }
        for measure in MEASURES.values()
    ]
    assert table(page("protocol.md"), "measures") == wanted
    assert set(MEASURES) == set(SCORERS)


def test_the_parity_gates_are_those_of_the_code() -> None:
    told = {row["part"]: row for row in table(page("protocol.md"), "gates")}
    assert set(told) == {"network", "probability", "trajectory", "scores"}
    for part, row in told.items():
        assert {name: float(row[name]) for name in GATES} == {
            name: getattr(g, part) for name, g in GATES.items()
        }


@pytest.mark.parametrize(
    "sentence",
    [
        pytest.param(f"above the {PREPROCESSING.percentile:g}th percentile", id="percentile"),
        pytest.param(f"resized to {PREPROCESSING.size} x {PREPROCESSING.size}", id="size"),
        pytest.param(f"lesions of **{TOO_SMALL} pixels or fewer**", id="too small"),
        pytest.param(
            f"small ({SIZES['small'][0]}, {SIZES['small'][1]}], medium ({SIZES['medium'][0]}, "
            f"{SIZES['medium'][1]}], large above {SIZES['large'][0]}.",
            id="size groups",
        ),
        pytest.param(f"at most {RunConfig().val_limit} cases (`--set val_limit=N`)", id="validation cases"),
        pytest.param(f"`--variance exact`, at most {VARIANCE_LIMIT};", id="cases for the exact variance"),
        pytest.param(f"{N_BOOT} draws", id="bootstrap"),
        pytest.param(f"`bench compare` takes {RESAMPLES}", id="bootstrap of compare"),
        pytest.param(f"with fewer than {MIN_SUBJECTS} subjects", id="least subjects"),
        pytest.param(
            ", ".join(f"p{p} from {n}" + " batches" * (p == 90) for p, n in PERCENTILES.items() if p > 50),
            id="percentiles",
        ),
        pytest.param(f"its median over {MEDIAN} x {MEDIAN} pixels", id="median"),
        pytest.param(f"eroded {EROSIONS} times with a cross of 3 x 3", id="erosions"),
        pytest.param(f"The head is what is brighter than {FOREGROUND} in the input, its", id="foreground"),
        pytest.param(f"at most {FIT_LIMIT}), whose maps", id="validation lesions"),
        pytest.param(f"of {CANDIDATES} values, which lie just below quantiles", id="thresholds"),
        pytest.param(f"fewer than {RunConfig().component_px} pixels", id="components"),
        pytest.param(f"The first {RunConfig().shift_limit} healthy test cases", id="shifted cases"),
        pytest.param(f"its pixels is above: {SHARE} |b ∩ above| > |b|", id="a box is found"),
        pytest.param(f"{SHARE} |c ∩ boxes| <= |c|", id="a component is false"),
        pytest.param(f"FP = min({CAP}, their number)", id="cap of false positives"),
        pytest.param(
            f"the mean at R = 1/8, 1/4, 1/2, {', '.join(f'{rate:g}' for rate in RATES[3:])}.",
            id="rates of FROC",
        ),
        pytest.param(f"{KLD_BINS} equal bins over [0, 1], one added", id="KLD"),
        pytest.param(
            f"{A_PAIR} draws a pair, at least {LEAST}, at most {MOST}. A bootstrap's p",
            id="draws of the ranks",
        ),
        pytest.param(f"Average precision is taken from {BINS} bins here", id="bins of the ranks"),
        pytest.param(f"where the corrected p is below {ALPHA:g}.", id="significance"),
        pytest.param(f"The head is what is brighter than {FOREGROUND} in the input, with", id="head"),
        pytest.param(
            f"The weights {', '.join(map(str, PAPERS_WEIGHTS.values()))} give all six rows",
            id="papers' weights",
        ),
        pytest.param(f"Above {LOAD_LIMIT} times the threads in use", id="load"),
        pytest.param(f"Each moment belongs to one stage: {', '.join(STAGES)}.", id="stages"),
        pytest.param(f"on {N_CASES} cases, with the noise of the run", id="parity cases"),
        pytest.param(f"at levels {', '.join(map(str, LEVELS[:-1]))} and {LEVELS[-1]}", id="parity levels"),
        pytest.param(f"with seeds {', '.join(map(str, SEEDS[:-1]))} and {SEEDS[-1]}", id="parity seeds"),
    ],
)
def test_a_number_of_the_protocol_is_that_of_the_code(sentence: str) -> None:
    assert sentence in TEXT


def test_the_numbers_of_cases_are_those_of_the_splits() -> None:
    phantom = DATASETS["phantom"](None, 0, None)
    counts = [
        (split, sum(case.lesion == lesion for case in phantom.split(split)))
        for split in ("train", "val", "test")
        for lesion in (False, True)
    ]
    assert counts == [("train", 64), ("train", 0), ("val", 6), ("val", 6), ("test", 6), ("test", 18)]
    assert "train 64 healthy; val 6 healthy, 6 lesion; test 6 healthy, 18 lesion" in TEXT
    wrist = DATASETS["phantom-wrist"](None, 0, None)
    counts = [
        (split, sum(case.lesion == lesion for case in wrist.split(split)))
        for split in ("train", "val", "test")
        for lesion in (False, True)
    ]
    assert counts == [("train", 64), ("train", 0), ("val", 8), ("val", 5), ("test", 8), ("test", 30)]
    assert "train 64 healthy; val 8 healthy, 5 with boxes; test 8 healthy, 30 with boxes" in TEXT
    assert " % ".join(f"{100 * share:g}" for share in SHARES.values()) == "60 % 10 % 30"
    assert "60 % of the patients train, 10 % val, 30 % test" in TEXT
    ixi, soop = read_split("ixi-stroke"), read_split("soop-flair")
    n = Counter((row["split"], bool(row["mask"])) for row in ixi if row["natural"] == "1")
    balanced = sum(row["split"] == "test" and bool(row["mask"]) for row in ixi if row["balanced"] == "1")
    assert (
        f"train {n['train', False]} healthy; val {n['val', False]} healthy, {n['val', True]} lesion; "
        f"test {n['test', False]} healthy, {n['test', True]} lesion" in TEXT
    )
    assert f"test {balanced} lesion, as many of each size" in TEXT
    part = {
        (split, flag): sum((row["split"], row["lesion"]) == (split, flag) for row in soop)
        for split in ("train", "val", "test")
        for flag in "01"
    }
    assert (
        f"train {part['train', '0']} healthy; val {part['val', '0']} healthy, {part['val', '1']} lesion; "
        f"test {part['test', '0']} healthy, {part['test', '1']} lesion" in TEXT
    )


def test_every_kind_of_shift_has_its_row_in_the_page() -> None:
    told = re.findall(r"^\| `(\w+)` \| (?:m|g|x)\b", page("protocol.md"), re.MULTILINE)
    assert told == list(SHIFTS)
