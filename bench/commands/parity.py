"""``bench parity``: hold a finished run's back ends against torch fp32."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from rich.table import Table

    from uadbench.engine.interfaces import Denoiser
    from uadbench.reports.store import Cell, Run


@click.command(name="parity")
@click.argument("run_path", metavar="RUN", type=click.Path(path_type=Path))
@click.option(
    "--checkpoint",
    "checkpoints",
    multiple=True,
    metavar="NOISE=FILE",
    help="The network for a noise, where it no longer lies where the run found it. May be given again.",
)
@click.option(
    "--cases", type=click.IntRange(1), default=2, show_default=True, help="Cases for network and chain."
)
@click.option("--threads", type=click.IntRange(1), help="CPU threads; those of the run by default.")
def command(run_path: Path, checkpoints: tuple[str, ...], cases: int, threads: int | None) -> None:
    """Judge every cell of RUN that is not torch fp32, and write RUN/parity.json.

    Three parts: one network call (relative L2 at several levels and seeds), the method's whole chain with the
    same noise, and the scores of the run (max Dice, AUPRC). Write the leaderboard again afterwards with
    `bench report RUN`: it shows a speed-up only where all three hold.

    Exit codes: 0 none fails, 1 a cell fails or a file cannot be written, 2 the run cannot be judged.
    """
    from rich.console import Console

    from uadbench.bench.compare.judge import judge_run, needs_parity
    from uadbench.engine.backends import BackendError
    from uadbench.engine.networks.checkpoint import CheckpointError
    from uadbench.engine.perceptual.distance import open_perceptual
    from uadbench.engine.perceptual.weights import PerceptualError
    from uadbench.reports.store import RunError, load_run, write_json

    try:
        run = load_run(run_path)
        if not needs_parity(run):
            raise RunError(f"{run_path}: every cell ran on torch fp32, so there is nothing to compare")
        config = run.manifest.get("config", {})
        weights = config.get("perceptual_weights")
        device = config.get("device", "cpu")
        perceptual = open_perceptual(run.manifest["perceptual"]["name"], weights and Path(weights), device)
        if perceptual.sha256 != run.manifest["perceptual"]["sha256"]:
            raise RunError(f"{run_path}: was made with other weights of {perceptual.name} than are here")
        with ExitStack() as stack:
            opener = _opener(run, _parse(checkpoints), device, threads, stack)
            result = judge_run(
                run, opener, perceptual, cases, lambda slug: click.echo(f"comparing {slug}", err=True)
            )
        write_json(run_path / "parity.json", result)
    except (RunError, BackendError, CheckpointError, PerceptualError, KeyError) as error:
        text = f"{run_path}: the manifest lacks {error}" if isinstance(error, KeyError) else str(error)
        click.echo(f"error: {text}", err=True)
        sys.exit(2)
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        click.echo(f"error: {place}{error.strerror or error}", err=True)
        sys.exit(1)
    console = Console(file=sys.stdout)
    console = console if console.is_terminal else Console(file=sys.stdout, width=150)
    console.print(_table(result))
    click.echo(f"written: {run_path / 'parity.json'}", err=True)
    sys.exit(1 if any(entry["verdict"] == "fail" for entry in result.values()) else 0)


def _parse(pairs: tuple[str, ...]) -> dict[str, Path]:
    parsed = {}
    for pair in pairs:
        noise, equals, path = pair.partition("=")
        if not equals or not path:
            raise click.BadParameter(f"{pair!r} is not NOISE=FILE", param_hint="--checkpoint")
        parsed[noise] = Path(path)
    return parsed


def _opener(
    run: Run, given: dict[str, Path], device: str, threads: int | None, stack: ExitStack
) -> Callable[[Cell], Denoiser]:
    """cell -> its denoiser; cells with the same network, back end and precision share one."""
    import torch

    from uadbench.bench.run.networks import open_denoiser
    from uadbench.engine.networks.checkpoint import load_checkpoint, shipped
    from uadbench.reports.store import RunError

    count = threads or run.manifest.get("environment", {}).get("threads") or torch.get_num_threads()
    torch.set_num_threads(count)
    placed = {noise: Path(path) for noise, path in run.manifest["config"].get("checkpoints", {}).items()}
    paths: dict[str, Path] = {}
    opened: dict[tuple[str, str, str], Denoiser] = {}

    def checkpoint(noise: str) -> Path:
        if noise not in paths:
            path = given.get(noise) or placed.get(noise) or shipped(noise)
            wanted, found = run.manifest["checkpoints"][noise]["sha256"], load_checkpoint(path)[1]["sha256"]
            if wanted != found:
                raise RunError(
                    f"{path} is not the network of this run ({found[:12]}, not {wanted[:12]}); "
                    f"give it with --checkpoint {noise}=FILE"
                )
            paths[noise] = path
        return paths[noise]

    def open_cell(cell: Cell) -> Denoiser:
        noise, backend, precision = (cell.info[key] for key in ("noise", "backend", "precision"))
        key = (noise, backend, precision)
        if key not in opened:
            opened[key] = open_denoiser(backend, checkpoint(noise), precision, device, count, 2)
            stack.callback(opened[key].close)
        return opened[key]

    return open_cell


def _table(result: dict[str, dict[str, Any]]) -> Table:
    from rich.markup import escape
    from rich.table import Table

    table = Table(title="parity with torch fp32")
    for name in ("cell", "verdict"):
        table.add_column(name, no_wrap=True)
    table.add_column("why", overflow="fold")
    for slug, entry in result.items():
        table.add_row(escape(slug), entry["verdict"], escape(entry["reason"]))
    return table
