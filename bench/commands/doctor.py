"""``bench doctor``: what works here, tried out and not guessed; and for what does not, why and the remedy."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import click

from uadbench.bench.run.machine import prepare_process


@dataclass(frozen=True)
class Check:
    """One thing that was tried.

    needed : whether the default job hangs on it
    note : what was found, or what is wrong and what to do
    """

    area: str
    name: str
    ok: bool
    needed: bool
    note: str


@click.command(name="doctor")
@click.option(
    "--data-root", type=click.Path(path_type=Path), metavar="DIR", help="Where to look for data sets."
)
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def command(data_root: Path | None, as_json: bool) -> None:
    """Say what is installed and what works here; exit code 1 only if the default job cannot run."""
    prepare_process()
    checks = list(examine(data_root))
    if as_json:
        click.echo(json.dumps([asdict(check) for check in checks], indent=1))
    else:
        _show(checks)
    if any(check.needed and not check.ok for check in checks):
        sys.exit(1)


def examine(data_root: Path | None) -> Iterator[Check]:
    """Try everything, one check after the other."""
    yield from _installed()
    yield from _devices()
    yield from _checkpoints()
    yield from _backends()
    yield from _perceptuals()
    yield from _datasets(data_root)


def _installed() -> Iterator[Check]:
    from uadbench.bench.run.machine import packages

    found = packages()
    versions = ", ".join(f"{name} {version}" for name, version in found.items())
    yield Check("installed", "python", True, True, f"{sys.version.split()[0]}; {versions}")
    if "onnxruntime" in found and "onnxruntime-gpu" in found:
        remedy = (
            "both own the module onnxruntime; pip uninstall both, then install uadbench[cpu] or uadbench[gpu]"
        )
        yield Check("installed", "onnxruntime", False, False, remedy)


def _devices() -> Iterator[Check]:
    import torch

    from uadbench.bench.run.machine import available_cores

    yield Check(
        "device", "cpu", True, True, f"{available_cores()} cores, {torch.backends.cpu.get_cpu_capability()}"
    )
    if torch.cuda.is_available():
        yield Check("device", "cuda", True, False, torch.cuda.get_device_name(0))
    elif torch.version.cuda is None:
        yield Check(
            "device", "cuda", False, False, "this torch is a CPU build; install a CUDA build of torch"
        )
    else:
        yield Check("device", "cuda", False, False, "no GPU or no driver; check nvidia-smi")


def _checkpoints() -> Iterator[Check]:
    from uadbench.engine.networks.checkpoint import load_checkpoint, shipped
    from uadbench.engine.rng import NOISES

    def read_card(noise: str) -> str:
        card = load_checkpoint(shipped(noise))[1]
        return f"sha256 {card['sha256'][:12]}, {card.get('steps', '?')} training steps"

    for noise in NOISES:
        # the default job (thor, ddpm, autoddpm) runs with Gaussian noise
        yield _tried("checkpoint", noise, noise == "gaussian", partial(read_card, noise))


def _backends() -> Iterator[Check]:
    import torch

    from uadbench.bench.run.machine import available_cores
    from uadbench.bench.run.networks import open_denoiser
    from uadbench.engine.backends import BACKENDS, check_backend
    from uadbench.engine.networks.checkpoint import shipped

    threads = available_cores()
    torch.set_num_threads(threads)

    def forward(name: str, precision: str) -> str:
        check_backend(name, precision, "cpu")
        denoiser = open_denoiser(name, shipped("gaussian"), precision, "cpu", threads, 1)
        try:
            x_t, t = torch.zeros(1, 1, 128, 128), torch.ones(1, dtype=torch.int64)
            denoiser.denoise(x_t, t)
            start = time.perf_counter()
            eps = denoiser.denoise(x_t, t)
            denoiser.synchronize()
            elapsed_ms = (time.perf_counter() - start) * 1e3
            if eps.shape != x_t.shape or not bool(torch.isfinite(eps).all()):
                raise ValueError(f"a forward gave {tuple(eps.shape)} with NaN or infinity")
            return f"{elapsed_ms:.0f} ms a call; {denoiser.describe().get('provider', '')}"
        finally:
            denoiser.close()

    for name in BACKENDS:
        for precision in ("fp32", "bf16"):
            needed = (name, precision) == ("torch", "fp32")
            yield _tried("back end", f"{name} {precision}", needed, partial(forward, name, precision))


def _perceptuals() -> Iterator[Check]:
    import torch

    from uadbench.engine.perceptual.distance import PERCEPTUALS, open_perceptual

    def compare(name: str) -> str:
        net = open_perceptual(name, None, "cpu")
        x = torch.linspace(-1, 1, 128).expand(1, 1, 128, 128)
        here, there = float(net.distance(x, x)[0]), float(net.distance(x, -x)[0])
        if not 0 <= here < there:
            raise ValueError(f"distance of an image to itself is {here}, to its inverse {there}")
        return f"sha256 {net.sha256[:12]}"

    for name in PERCEPTUALS:
        yield _tried("perceptual", name, name == "brain-squeeze", partial(compare, name))


def _datasets(data_root: Path | None) -> Iterator[Check]:
    from uadbench.datasets import DATASETS

    def read(name: str) -> str:
        dataset = DATASETS[name](None if name == "phantom" else data_root, 0, 4)
        sample = dataset.load(dataset.split("test")[0])
        sizes = ", ".join(f"{len(dataset.split(split))} {split}" for split in ("train", "val"))
        return f"{dataset.title}; {sizes}; slices {sample.image.shape[0]} x {sample.image.shape[1]}"

    for name in DATASETS:
        yield _tried("data set", name, name == "phantom", partial(read, name))


def _tried(area: str, name: str, needed: bool, attempt: Callable[[], str]) -> Check:
    """The attempt's note, or the reason why it failed: our own errors name the remedy."""
    try:
        return Check(area, name, True, needed, attempt())
    except Exception as error:  # whatever is wrong with an installation, doctor is there to say it
        message = str(error).strip().splitlines()
        own = type(error).__module__.startswith("uadbench")
        text = message[0] if message else "no message"
        return Check(area, name, False, needed, text if own else f"{type(error).__name__}: {text}")


def _show(checks: list[Check]) -> None:
    area = ""
    for check in checks:
        if check.area != area:
            area = check.area
            click.echo(click.style(area, bold=True))
        mark = (
            click.style("ok", fg="green")
            if check.ok
            else click.style("--", fg="red" if check.needed else "yellow")
        )
        click.echo(f"  {mark} {check.name:<20} {check.note}")
    broken = [f"{check.area} {check.name}" for check in checks if check.needed and not check.ok]
    click.echo(
        f"the default job cannot run: {', '.join(broken)}" if broken else "the default job can run here"
    )
