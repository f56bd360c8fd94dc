"""What all verbs share: how errors become one line and an exit code."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import click

__all__ = ["one_line_errors"]

P = ParamSpec("P")
R = TypeVar("R")


def one_line_errors(function: Callable[P, R]) -> Callable[P, R]:
    """Turn the project's own errors into one line on stderr and exit code 2, the system's into exit code 1.

    Exit codes of every verb: 0 done, 1 something failed while working, 2 the command, its files or the machine do not
    allow it, 130 interrupted.
    """

    @functools.wraps(function)
    def command(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return function(*args, **kwargs)
        except click.ClickException:
            raise
        except KeyboardInterrupt:
            click.echo("interrupted", err=True)
            sys.exit(130)
        except OSError as error:
            place = f"{error.filename}: " if error.filename else ""
            click.echo(f"error: {place}{error.strerror or error}", err=True)
            sys.exit(1)
        except Exception as error:
            if not _ours(error):
                raise
            click.echo(f"error: {error}", err=True)
            sys.exit(1 if isinstance(error, ArithmeticError) else 2)

    return command


def _ours(error: Exception) -> bool:
    """Whether an error is one of those that the project raises for its users, whose message is one line."""
    from uadbench.bench.compare.runs import CompareError
    from uadbench.bench.plan.config import ConfigError
    from uadbench.datasets.case import CaseError
    from uadbench.engine.backends import BackendError
    from uadbench.engine.networks.checkpoint import CheckpointError
    from uadbench.engine.perceptual.weights import PerceptualError
    from uadbench.reports.store import RunError

    ours = (
        BackendError,
        CaseError,
        CheckpointError,
        CompareError,
        ConfigError,
        FloatingPointError,
        PerceptualError,
        RunError,
    )
    return isinstance(error, ours)
