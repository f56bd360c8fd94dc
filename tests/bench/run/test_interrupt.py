"""Signals: the first is noted, the second stops at once, more change nothing; the last line is always said."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from uadbench.bench.run.interrupt import Interrupted, stop_on_signal


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_waits_for_a_safe_point(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with stop_on_signal() as stop:
        stop()
        os.kill(os.getpid(), number)
        with pytest.raises(Interrupted):
            stop()
    assert signal.getsignal(number) is before


def test_the_second_signal_stops_at_once_and_a_third_does_not_disturb_the_clearing_up() -> None:
    with stop_on_signal():
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(Interrupted):
            os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)


IMPATIENT = """
import os, signal, click
from uadbench.bench import cli
from uadbench.bench.commands import options
say = click.echo
def echo(*args, **kwargs):
    os.kill(os.getpid(), signal.SIGINT)
    say(*args, **kwargs)
click.echo = echo
@options.one_line_errors
def verb(*args, **kwargs):
    raise KeyboardInterrupt
cli.cli.main = {target}
cli.main(["list"])
"""


@pytest.mark.parametrize(
    "target",
    [
        pytest.param("verb", id="in a verb"),
        pytest.param("verb.__wrapped__", id="outside of every verb"),
    ],
)
def test_ctrl_c_once_more_while_the_last_line_is_printed_gives_no_traceback(target: str) -> None:
    code = IMPATIENT.replace("{target}", target)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 130
    assert done.stderr == "interrupted\n"
