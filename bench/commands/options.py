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
    "backends",
    "batch_size",
    "cells",
    "config_file",
    "data_root",
    "dataset",
    "device",
    "map_white",
    "no_progress",
    "noise_trained_with",
    "one_line_errors",
    "output",
    "overwrite",
    "reason",
    "refuse_unheeded",
    "resumable",
    "resume",
    "say",
    "seed",
    "sets",
    "threads",
    "training_seed",
    "warn_of_plugins",
]

P = ParamSpec("P")
R = TypeVar("R")
F = TypeVar("F", bound=Callable[..., Any])


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


def _names(context: click.Context, option: click.Parameter, text: str | None) -> tuple[str, ...]:
    """'a, b' -> ('a', 'b')."""
    return () if text is None else tuple(name.strip() for name in text.split(","))


def _white(context: click.Context, option: click.Parameter, text: str) -> float | None:
    """A value above 0, or None for each map's own largest."""
    if text == "max":
        return None
    try:
        white = float(text)
    except ValueError:
        white = 0.0
    if not 0 < white < math.inf:
        raise click.BadParameter(f"{text[:80]!r} is no number above 0, nor max.")
    return white


dataset = click.option("--dataset", metavar="NAME", help="phantom (default), or another; see `bench list`.")
data_root = click.option(
    "--data-root",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Folder of the data; for `folder`, the one with index.csv. UADBENCH_DATA by default.",
)
backends = click.option(
    "--backends", metavar="NAMES", help="Comma-separated, each NAME or NAME:PRECISION; torch is the default."
)
threads = click.option(
    "--threads",
    type=click.IntRange(1, 1024),
    metavar="N",
    help="CPU threads of the network; OMP_NUM_THREADS or the cores of this process by default.",
)
device = click.option("--device", metavar="NAME", help="cpu (default), cuda or cuda:N.")
seed = click.option("--seed", metavar="N[,N]", help="Of noise and bootstrap; 0 is the default.")
training_seed = click.option("--seed", type=click.IntRange(0, 2**63 - 1), default=0, show_default=True)
sets = click.option(
    "--set", "sets", multiple=True, metavar="KEY=VALUE", help="Any setting, or METHOD.FIELD=VALUE."
)
cells = click.option(
    "--cells",
    metavar="NAMES",
    callback=_names,
    help="Only these, comma-separated; patterns such as 'thor*' too.",
)
map_white = click.option(
    "--map-white",
    "white",
    default="1",
    metavar="V",
    callback=_white,
    help="Map value that is white in a PNG, 1 by default; `max` for each map's own largest.",
)
no_progress = click.option("--no-progress", is_flag=True, help="No progress bar.")


def batch_size(what: str) -> Callable[[F], F]:
    """``--batch-size`` of a run's settings; ``what`` a batch is of."""
    return click.option(
        "--batch-size", type=int, metavar="N", help=f"{what} in one network call; 4 is the default."
    )


def config_file(text: str = "Settings; flags win.") -> Callable[[F], F]:
    """``--config``, a file of settings."""
    return click.option("--config", "file", type=click.Path(path_type=Path), metavar="FILE.toml", help=text)


def resume(text: str) -> Callable[[F], F]:
    """``--resume/--overwrite`` of work that is taken up by the same command."""
    return click.option("--resume/--overwrite", default=True, help=text)


def overwrite(text: str = "Replace what is there under the same names.") -> Callable[[F], F]:
    """``--overwrite`` of work that is done at once."""
    return click.option("--overwrite", is_flag=True, help=text)


def noise_trained_with(text: str | None = None) -> Callable[[F], F]:
    """``--noise`` of one network, in training or of a file."""
    kinds = click.Choice(["gaussian", "simplex"])
    return click.option("--noise", type=kinds, default="gaussian", show_default=True, help=text)


def output(text: str, **more: Any) -> Callable[[F], F]:
    """``--output``, which every verb writes something else to; ``text`` says what, and the default."""
    kind = more.pop("type", click.Path(path_type=Path))
    return click.option("--output", type=kind, help=text, **{"metavar": "DIR", **more})


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
