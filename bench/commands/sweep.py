"""``bench sweep``: one run of many variants of a method, and what Dice and time are over each thing varied."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from uadbench.bench.commands import options
from uadbench.bench.commands.run import Way, carry_out
from uadbench.bench.plan.config import ConfigError, load_config, make_config, parse_set
from uadbench.bench.plan.vary import count_variants, parse_vary

LIMIT = 64  # variants; more is seldom meant


@click.command(name="sweep")
@click.option(
    "--method",
    "--methods",
    "methods",
    metavar="NAMES",
    help="What to sweep; comma-separated, each NAME or NAME:NOISE; see `bench list`.",
)
@click.option(
    "--vary",
    multiple=True,
    metavar="NAME=V,V",
    help="A field of the method, as t_start=100,200 or thor.window=9,13, or noise, steps, perceptual, post, seed, "
    "checkpoint; repeatable, all combinations are run. Lists as harmonize_at=[300,50],[200,50].",
)
@click.option(
    "--limit-variants",
    type=click.IntRange(1),
    default=LIMIT,
    show_default=True,
    metavar="N",
    help="Refuse more combinations than that.",
)
@click.option(
    "--split",
    type=click.Choice(["val", "test"]),
    help="Whose lesion cases are scored: val (default), which choices are made on, or test, for figures of a paper.",
)
@options.dataset
@options.data_root
@click.option("--noise", metavar="KIND", help="gaussian, simplex or default, where it is not varied.")
@click.option("--steps", metavar="N", help="Network calls of a chain, where they are not varied.")
@options.backends
@click.option("--limit", type=int, metavar="N", help="At most so many scored cases.")
@options.batch_size("Cases")
@options.seed
@options.device
@options.threads
@options.output("Default: runs/DATASET-HASH.")
@options.config_file("Settings of a run, and a table [vary]; flags win.")
@options.sets
@options.resume("Finish the sweep that is there (default), or start it anew.")
@click.option("--dry-run", is_flag=True, help="Show the variants and their calls, and compute nothing.")
@options.no_progress
@options.one_line_errors
def command(
    file: Path | None,
    vary: tuple[str, ...],
    sets: tuple[str, ...],
    limit_variants: int,
    output: Path | None,
    resume: bool,
    dry_run: bool,
    no_progress: bool,
    **flags: Any,
) -> None:
    """Run a method with every combination of the given values, on the same cases and noise.

    What comes out is a run: taken up by the same command, compared and reported like any other, with sweep.csv and
    curves of Dice and milliseconds over each thing varied. Choices belong to validation cases, so these are scored by
    default; --split test is for figures. Exit codes as of `bench run`.
    """
    given = load_config(file) if file else {}
    pairs = [parse_vary(text) for text in vary]
    table = {**_table(given.pop("vary", {})), **dict(pairs)}
    if len({name for name, _ in pairs}) < len(pairs):
        raise ConfigError("--vary names one thing twice; give all its values at once, as t_start=100,200")
    config = make_config({"split": "val", **given, "vary": table}, flags, [parse_set(text) for text in sets])
    if not config.vary:
        raise ConfigError("nothing is varied; use --vary, such as --vary t_start=100,200,350")
    if (count := count_variants(config.vary, len(config.methods))) > limit_variants:
        product = " x ".join(str(len(values)) for values in config.vary.values())
        raise ConfigError(
            f"{len(config.methods)} x {product} are up to {count} variants, more than {limit_variants}; "
            f"give fewer values, or --limit-variants {count}"
        )
    carry_out(config, Way(output, resume, dry_run, no_progress))


def _table(found: Any) -> dict[str, Any]:
    """A configuration's table [vary]."""
    if not isinstance(found, dict):
        raise ConfigError("vary is no table; write [vary] and below it lines such as t_start = [100, 200]")
    return found
