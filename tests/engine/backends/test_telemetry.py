"""No back end reports to its makers or leaves an id behind, unless the user has agreed to it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

# Written to stderr, as openvino_telemetry asks from a child of its own.
WATCH = """
import os, socket, threading
def watched(name):
    def call(*args, **kwargs):
        os.write(2, f"asked {name} {args[:2]}\\n".encode())
        raise OSError("no network in this test")
    return call
for name in ("getaddrinfo", "gethostbyname", "create_connection"):
    setattr(socket, name, watched(name))
socket.socket.connect = watched("connect")
"""
# Whatever is still asking has its chance.
QUIT = """
for thread in threading.enumerate():
    thread is threading.current_thread() or thread.join(20)
"""


def in_a_new_home(code: str, home: Path) -> subprocess.CompletedProcess[str]:
    """Run the code as a new user, with no settings, on no build server, with each way to the network watched."""
    unset = (
        "CI",
        "TF_BUILD",
        "JENKINS_URL",
        "XDG_CACHE_HOME",
        "XDG_CONFIG_HOME",
        "XDG_DATA_HOME",
        "ORT_DISABLE_TELEMETRY",
    )
    environment = {k: v for k, v in os.environ.items() if k not in unset} | {"HOME": str(home)}
    return subprocess.run(
        [sys.executable, "-c", WATCH + code], env=environment, capture_output=True, text=True, check=True
    )


def test_onnxruntime_is_imported_without_a_file_or_a_query(tmp_path: Path) -> None:
    """It writes an id into the cache folder as soon as it is imported otherwise."""
    done = in_a_new_home("from uadbench.engine.backends.onnxruntime import check\ncheck()\n" + QUIT, tmp_path)
    assert "asked" not in done.stderr
    assert not (tmp_path / ".cache" / "Microsoft").exists()


@pytest.mark.parametrize("consent", [None, "0"])
def test_openvino_is_imported_without_a_file_or_a_query(tmp_path: Path, consent: str | None) -> None:
    """It writes an id into the home folder and looks up its makers' host as soon as it is imported otherwise."""
    if consent is not None:
        (tmp_path / "intel").mkdir()
        (tmp_path / "intel" / "openvino_telemetry").write_text(consent)
    before = sorted(tmp_path.rglob("*"))
    done = in_a_new_home(
        "from uadbench.engine.backends.openvino import check, load_runtime\n"
        "check()\n"
        "assert load_runtime().convert_model\n"
        + QUIT
        + "import openvino_telemetry\n"  # what else uses it still can
        "print('silent')",
        tmp_path,
    )
    assert "asked" not in done.stderr
    assert done.stdout == "silent\n"
    assert sorted(tmp_path.rglob("*")) == before


def test_who_has_agreed_to_openvinos_telemetry_keeps_it(tmp_path: Path) -> None:
    (tmp_path / "intel").mkdir()
    (tmp_path / "intel" / "openvino_telemetry").write_text("1")
    done = in_a_new_home(
        "from uadbench.engine.backends.openvino import load_runtime\n"
        "load_runtime()\n"
        "import sys\n"
        "print(sys.modules['openvino.tools.ovc.telemetry_utils'].tm.__name__)",
        tmp_path,
    )
    assert done.stdout == "openvino_telemetry\n"
