"""Data sets, networks, back ends, measures and post-processings of another package: the sound ones make a run, the
broken ones are named and harm nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support.faults import environment
from support.pages import fenced, page
from support.places import python_path

EXTEND = fenced(page("extend.md"), "python")
PARTS = {"squares": "open_squares", "plain_net": "class Plain(nn.Module)", "fast": "class PlainDenoiser"}
PARTS |= {"measure": "def recall(", "post": "def smallest"}
MORE = """
KIND = None
NUMBER = 3
def no_arguments(): pass
def raises(root=None, seed=0, limit=None, params=None): raise OSError("first line\\nsecond line")
def nothing(root=None, seed=0, limit=None, params=None): return None
from uadbench.reports.vocabulary import Measure
ODD = (Measure("odd", "Odd", "", "It raises.", place="further", ranked=False), lambda sample: 1 / 0)
OTHER = (Measure("another_name", "Odd", "", "Nothing."), lambda sample: None)
"""
# Entry point -> what is said of it; ours are never replaced.
LEFT_OUT = {
    "data set number": "is a int; a function (root, seed, limit, params) -> Dataset is needed",
    "data set bare": "cannot be called with (root, seed, limit, params=)",
    "data set phantom": "the name is that of a data set of uadbench itself",
    "data set absent": "cannot be imported: ModuleNotFoundError",
    "data set ../../evil": "is not allowed",
    "network number": "is a int; a uadbench.engine.networks.NetworkKind is needed",
    "back end torch": "the name is that of a back end of uadbench itself",
    "back end number": "is a int; a uadbench.engine.backends.Backend is needed",
    "measure other": "its Measure is named 'another_name', not 'other'",
    "measure dice-max": "use small letters, digits and '_'",
    "measure number": "is a int; a pair (Measure, function of a Sample) is needed",
    "post-processing number": "is a int; a uadbench.engine.post.Post is needed",
}
POINTS = """
[uadbench.datasets]
squares = squares:open_squares
number = more:NUMBER
bare = more:no_arguments
phantom = squares:open_squares
absent = no_such_module:x
../../evil = squares:open_squares
raising = more:raises
nothing = more:nothing
[uadbench.networks]
plain = plain_net:KIND
number = more:NUMBER
[uadbench.backends]
plain = fast:RECORD
torch = fast:RECORD
number = more:NUMBER
[uadbench.measures]
recall_healthy_fpr5 = measure:PAIR
odd = more:ODD
other = more:OTHER
dice-max = more:ODD
number = more:NUMBER
[uadbench.posts]
smallest = post:POST
number = more:NUMBER
"""
SCRIPT = """
import json, sys
from pathlib import Path
from support.faults import invoke, refused
from uadbench.bench.commands.doctor import examine
from itertools import takewhile
found = {"heavy": "torch" in sys.modules}
listed = invoke("list", "--json")
found["list"], found["said"] = json.loads(listed.stdout), listed.stderr.splitlines()
checks = takewhile(lambda check: check.area in ("installed", "plug-in"), examine(None))
found["doctor"] = {check.name: (check.ok, check.note) for check in checks if check.area == "plug-in"}
for name in ("raising", "nothing"):
    found[name] = refused(invoke("run", "--methods", "ddpm", "--dataset", name, "--output", "out"))
from plain_net import Plain, PlainConfig
from uadbench.engine.networks.checkpoint import save_checkpoint
save_checkpoint(Path("plain.safetensors"), Plain(PlainConfig()), {"prediction": "x0", "noise": "gaussian"})
words = ("run", "--methods", "ddpm", "--steps", "2", "--dataset", "squares", "--backends", "plain", "--threads", "1")
words += ("--set", "checkpoints.unet-gaussian=plain.safetensors", "--set", "n_boot=20", "--post", "smallest")
done = invoke(*words, "--output", "run")
found["run"] = (done.exit_code, done.stderr.splitlines())
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a process finds in whose environment the snippets of the page are a package, among broken ones."""
    folder = tmp_path_factory.mktemp("kinds")
    for module, sign in PARTS.items():
        (text,) = [text for text in EXTEND if sign in text]
        (folder / f"{module}.py").write_text(text.split("# Tried out:")[0])
    (folder / "more.py").write_text(MORE)
    info = folder / "kinds-2.5.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: kinds\nVersion: 2.5\n")
    (info / "entry_points.txt").write_text(POINTS)
    tests = Path(__file__).resolve().parents[1]
    env = environment(PYTHONPATH=f"{python_path(folder)}{os.pathsep}{tests}")
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, env=env, cwd=folder, timeout=300
    )
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer | {
        "metrics": [json.loads(p.read_text()) for p in folder.glob("run/cells/ddpm*/metrics.json")]
    }


def test_each_broken_one_is_a_line_on_stderr_and_in_doctor(found: dict[str, Any]) -> None:
    said = dict(
        line.removeprefix("warning: ").split(" is left out: ", 1)
        for line in found["said"]
        if " is left out: " in line
    )
    assert set(said) == set(LEFT_OUT)
    for name, what in LEFT_OUT.items():
        assert what in said[name], name
        ok, note = found["doctor"][name]
        assert not ok
        assert what in note
    assert found["doctor"]["data set squares"] == [True, "from kinds 2.5"]


def test_the_list_says_where_each_comes_from_and_ours_are_ours(found: dict[str, Any]) -> None:
    listed = found["list"]
    assert listed["data sets"]["squares"] == "from kinds 2.5"
    assert listed["data sets"]["phantom"] == ""
    assert listed["back ends"]["plain"] == "cpu: fp32; from kinds 2.5"
    assert "kinds" not in listed["back ends"]["torch"]
    assert listed["networks"] == {"plain": "from kinds 2.5"}
    assert listed["post-processings"] == {"smallest": "from kinds 2.5"}
    assert set(listed["measures"]) == {"recall_healthy_fpr5", "odd"}


def test_a_data_set_that_cannot_be_opened_is_refused_in_one_line(found: dict[str, Any]) -> None:
    assert found["raising"] == "error: data set raising cannot be opened: OSError: first line"
    assert found["nothing"] == "error: data set nothing opens as a NoneType; a Dataset is needed"


def test_a_run_of_nothing_but_plug_ins_is_scored_and_a_scorer_that_raises_costs_its_score(
    found: dict[str, Any],
) -> None:
    code, said = found["run"]
    assert code == 0, said
    assert said.count("warning: measure odd gives no score: ZeroDivisionError: division by zero") == 1
    (metrics,) = found["metrics"]
    assert metrics["odd"]["value"] is None
    assert metrics["recall_healthy_fpr5"]["value"] is not None
    assert metrics["dice_max"]["value"] > 0
