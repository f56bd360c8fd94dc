"""What all verbs share: options that mean the same everywhere, and how errors become one line and an exit code."""

from __future__ import annotations

import functools
import math
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import click
from click.core import ParameterSource

from uadbench.bench.plan.plugins import connect
from uadbench.bench.run.interrupt import Interrupted, ignore_signals

__all__ = [
    "FiniteRange",
    "data_root",
    "device",
    "no_progress",
    "one_line_errors",
    "output",
    "reason",
    "refuse_unheeded",
    "resumable",
    "say",
    "seed",
    "threads",
    "warn_of_plugins",
    "white_of",
]

P = ParamSpec("P")
R = TypeVar("R")


class FiniteRange(click.FloatRange):
    """A range of numbers, of which NaN is none; click's own lets it pass, as it is neither below nor above."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The number, or click's refusal."""
        number = float(super().convert(value, param, ctx))
        if not math.isfinite(number):
            self.fail(f"{value} is not in the range {self._describe_range()}.", param, ctx)
        return number


def refuse_unheeded(names: Iterable[str], why: str) -> None:
    """ConfigError where one of these options of the running command was given: it would be passed over in silence."""
    from uadbench.bench.plan.config import ConfigError

    context = click.get_current_context()
    for name in names:
        if context.get_parameter_source(name) is not ParameterSource.DEFAULT:
            raise ConfigError(f"--{name.replace('_', '-')} means nothing here: {why}; leave it out")


data_root = click.option(
    "--data-root",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Folder of the data; for `folder`, the one with index.csv. UADBENCH_DATA by default.",
)
threads = click.option(
    "--threads",
    type=click.IntRange(1, 1024),
    metavar="N",
    help="CPU threads of the network; OMP_NUM_THREADS or the cores of this process by default.",
)
device = click.option("--device", metavar="NAME", help="cpu (default), cuda or cuda:N.")
seed = click.option("--seed", metavar="N[,N]", help="Of noise and bootstrap; 0 is the default.")
no_progress = click.option("--no-progress", is_flag=True, help="No progress bar.")


def output(text: str, **more: Any) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """``--output``, which every verb writes something else to; ``text`` says what, and the default."""
    kind = more.pop("type", click.Path(path_type=Path))
    return click.option("--output", type=kind, help=text, **{"metavar": "DIR", **more})


def white_of(text: str) -> float | None:
    """What ``--map-white`` says: a value above 0, or None for each map's own largest."""
    if text == "max":
        return None
    try:
        white = float(text)
    except ValueError:
        white = 0.0
    if not 0 < white < math.inf:
        raise click.BadParameter(f"{text[:80]!r} is no number above 0, nor max.", param_hint="'--map-white'")
    return white


def say(line: str) -> None:
    """A line to the user beside the results, on stderr."""
    click.echo(f"note: {line}", err=True)


@contextmanager
def resumable(hint: str) -> Iterator[None]:
    """Where the work is stopped, or the disk fails, say what is kept and how to go on; exit code 130 or 1."""
    try:
        yield
    except Interrupted:
        ignore_signals()
        click.echo(f"interrupted; {hint}", err=True)
        sys.exit(130)
    except OSError as error:
        click.echo(f"error: {reason(error)}; {hint}", err=True)
        sys.exit(1)


def one_line_errors(function: Callable[P, R]) -> Callable[P, R]:
    """Turn the project's own errors into one line on stderr and exit code 2, the system's into exit code 1.

    What other packages add is known from here on, see ``bench.plan.plugins``.

    Exit codes of every verb: 0 done, 1 something failed while working, 2 the command, its files or the machine do not
    allow it, 130 interrupted.
    """

    @functools.wraps(function)
    def command(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            connect()
            return function(*args, **kwargs)
        except click.ClickException:
            raise
        except KeyboardInterrupt:
            ignore_signals()
            click.echo("interrupted", err=True)
            sys.exit(130)
        except BrokenPipeError:  # whoever read our output has gone, as in `bench list | head`
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(1)
        except OSError as error:
            click.echo(f"error: {reason(error)}", err=True)
            sys.exit(1)
        except Exception as error:
            if not _ours(error):
                raise
            click.echo(f"error: {error}", err=True)
            sys.exit(1 if isinstance(error, ArithmeticError) else 2)

    return command


def reason(error: OSError) -> str:
    """What the system refused, with the file."""
    place = f"{error.filename}: " if error.filename else ""
    return f"{place}{error.strerror or error}"


def warn_of_plugins() -> None:
    """Name on stderr what of other packages cannot be used; the rest works."""
    from uadbench.bench.plan.plugins import faults

    for plugin in faults():
        click.echo(f"warning: {plugin.kind} {plugin.name} is left out: {plugin.fault}", err=True)


def _ours(error: Exception) -> bool:
    """Whether an error is one of those that the project raises for its users, whose message is one line."""
    return type(error).__module__.startswith("uadbench.") or isinstance(error, FloatingPointError)
