"""The ``bench`` command: a group that imports a verb's module only when that verb is called."""

from __future__ import annotations

import importlib
import importlib.util
import re
import sys
from typing import Any

import click

from uadbench.bench.run.interrupt import ignore_signals
from uadbench.bench.run.machine import prepare_process

__all__ = ["VERBS", "cli", "main"]

VERBS = {
    "run": "Run methods on a data set, score them and write the leaderboard.",
    "sweep": "Run a method with every combination of settings, and draw the scores over each.",
    "predict": "Write maps, reconstructions and masks of images of yours, in their own space.",
    "list": "List methods, data sets, back ends, noises and perceptual nets.",
    "train": "Train a denoising network.",
    "train-perceptual": "Train the perceptual net brain-squeeze.",
    "import-weights": "Make a checkpoint from the weights that THOR's and AutoDDPM's authors publish.",
    "merge": "Put the shards of a run together, score it and write the leaderboard.",
    "report": "Write the leaderboard again from one run or several.",
    "rescore": "Score the maps of a run again, with other measures, bootstrap or post-processing.",
    "data": "List, check, fetch and preview data sets.",
    "doctor": "Say what works on this machine, and the remedy for what does not.",
    "cases": "Write one row a case and cell of any runs, as CSV or Parquet.",
    "failures": "Show the lesions that a method misses most and its largest false alarms.",
    "export-maps": "Write maps, reconstructions, inputs and truths of a run as NIfTI, PNG or npy.",
    "export": "Export networks for other back ends.",
    "parity": "Hold back ends against torch: network, trajectory, scores.",
    "profile": "Time back ends call by call: interleaved, with parity, ceilings, memory and a verdict on the times.",
    "compare": "Test the differences between methods or runs, case by case.",
}

UNUSABLE = re.compile(r"[\x00-\x1f\x7f\ud800-\udfff]")


def _module(verb: str) -> str:
    return f"uadbench.bench.commands.{verb.replace('-', '_')}"


class LazyGroup(click.Group):
    """Verbs come from ``VERBS``; one whose module is not installed is not listed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [verb for verb in VERBS if importlib.util.find_spec(_module(verb)) is not None]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.list_commands(ctx):
            return None
        return importlib.import_module(_module(cmd_name)).command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """From the table, because asking the commands themselves would import them all."""
        with formatter.section("Commands"):
            formatter.write_dl([(verb, VERBS[verb]) for verb in self.list_commands(ctx)])

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Refuse at once what can be no name, number or path, of whatever verb."""
        for word in args:
            if UNUSABLE.search(word):
                ctx.fail(
                    f"{word[:80]!r} holds a control character or is no Unicode text; type it without that"
                )
        return super().parse_args(ctx, args)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        verbs = self.list_commands(ctx)
        if args and args[0] not in verbs and not args[0].startswith("-"):
            from uadbench.bench.plan.config import unknown

            ctx.fail(str(unknown("command", args[0], verbs)))
        return super().resolve_command(ctx, args)


def _print_version(ctx: click.Context, parameter: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        from importlib.metadata import version

        click.echo(f"uadbench {version('uadbench')}")
        ctx.exit()


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--version", is_flag=True, is_eager=True, expose_value=False, callback=_print_version)
def cli() -> None:
    """Benchmark diffusion-based unsupervised anomaly detection on medical images.

    \b
    Exit codes: 0 done, 1 a cell or case failed, 2 wrong usage, 130 interrupted.
    """


def main(args: list[str] | None = None) -> None:
    """Entry point of the console script; never returns."""
    prepare_process()  # for every verb, before one of them imports torch
    try:
        code: Any = cli.main(args=args, prog_name="bench", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        ignore_signals()
        click.echo("interrupted", err=True)
        sys.exit(130)
    sys.exit(code if isinstance(code, int) else 0)


if __name__ == "__main__":
    main()
