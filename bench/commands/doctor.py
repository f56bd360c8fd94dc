"""``bench doctor``: what works here, tried out and not guessed; and for what does not, why and the remedy."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from statistics import median

import click

from uadbench.bench.commands.options import data_root, one_line_errors

DEFAULT_NETWORK = "unet-gaussian"  # what the default job (thor, ddpm, autoddpm) runs with
CALLS = (3, 7)  # timed calls of a network, at least and at most
BUDGET_S = 0.4  # above the least, no further call once so much time was spent on a network


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
@data_root
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@one_line_errors
def command(data_root: Path | None, as_json: bool) -> None:
    """Say what is installed and what works here; exit code 1 only if the default job cannot run."""
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
    yield from _plugins()
    yield from _devices()
    yield from _networks()
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


def _plugins() -> Iterator[Check]:
    """What other packages add; whether it works is tried with ours. What comes with this one is not listed."""
    from uadbench.bench.plan.plugins import faults, sources
    from uadbench.engine.methods import FLOORS, METHODS, all_methods, build_method

    known = all_methods()

    def build(name: str) -> str:
        build_method(name, known[name].noises[0])
        return f"{known[name].title}, {known[name].paper}"

    for plugin in faults():
        name = plugin.name if plugin.kind == "method" else f"{plugin.kind} {plugin.name}"
        yield Check("plug-in", name, False, False, plugin.fault)
    for (kind, name), package in sources().items():
        if kind != "method":
            yield Check("plug-in", f"{kind} {name}", True, False, f"from {package}")
    for name in known:
        if name not in METHODS and name not in FLOORS:
            yield _tried("plug-in", name, False, partial(build, name))


def _devices() -> Iterator[Check]:
    import psutil
    import torch

    from uadbench.bench.run.machine import available_cores, thread_limits

    load, capability = psutil.getloadavg()[0], torch.backends.cpu.get_cpu_capability()
    busy = f"; load {load:.1f}: something else is running, which slows what follows"
    note = f"{thread_limits()}; {capability}{busy if load > available_cores() else ''}"
    yield Check("device", "cpu", True, True, note)
    if torch.cuda.is_available():
        yield Check("device", "cuda", True, False, torch.cuda.get_device_name(0))
    elif torch.version.cuda is None:
        yield Check(
            "device", "cuda", False, False, "this torch is a CPU build; install a CUDA build of torch"
        )
    else:
        yield Check("device", "cuda", False, False, "no GPU or no driver; check nvidia-smi")


def _networks() -> Iterator[Check]:
    from uadbench.engine.methods import all_methods
    from uadbench.engine.networks.checkpoint import load_checkpoint, shipped

    def read(name: str) -> str:
        card = load_checkpoint(shipped(name))[1]
        return f"sha256 {card['sha256'][:12]}, {card.get('steps', '?')} training steps"

    names = (
        n for info in all_methods().values() for noise in info.noises for n in info.networks(noise).values()
    )
    for name in dict.fromkeys(names):
        yield _tried("network", name, name == DEFAULT_NETWORK, partial(read, name))


def _backends() -> Iterator[Check]:
    import torch

    from uadbench.bench.run.machine import available_cores
    from uadbench.engine.backends import BACKENDS
    from uadbench.engine.backends.form import IN_8_BITS

    torch.set_num_threads(available_cores())
    devices = ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",)
    for name, backend in BACKENDS.items():
        if not set(devices) & set(backend.precisions):  # what is missing here, or only the device
            kind, precisions = next(iter(backend.precisions.items()))
            yield _tried("back end", name, False, partial(_available, name, precisions[0], kind))
        for device in devices:
            for precision in backend.precisions.get(device, ()):
                needed = (name, precision, device) == ("torch", "fp32", "cpu")
                title = f"{name} {precision}" + ("" if device == "cpu" else f" {device}")
                # Minutes for each precision to compile or to build, half a minute to calibrate.
                long = backend.slow or precision in IN_8_BITS
                attempt = partial(_available if long else _forward, name, precision, device)
                yield _tried("back end", title, needed, attempt)


def _available(name: str, precision: str, device: str) -> str:
    """Raises BackendError with what is missing; a device of that kind may be."""
    from uadbench.engine.backends import check_backend

    check_backend(name, precision, device)
    there = "" if device == "cpu" else f" --device {device}"
    return f"all that it needs is here; not made ready now, `bench profile --backends {name}:{precision}{there}` does"


def _forward(name: str, precision: str, device: str) -> str:
    """Open the default network on a back end and call it: the median time of some calls, and who computed."""
    import torch

    from uadbench.bench.run.machine import available_cores
    from uadbench.bench.run.networks import open_denoiser
    from uadbench.engine.networks.checkpoint import shipped
    from uadbench.reports.identity import Arm

    threads, say = available_cores(), partial(click.echo, err=True)
    denoiser = open_denoiser(Arm(name, precision, device), shipped(DEFAULT_NETWORK), threads, say=say)
    try:
        x_t = torch.zeros(1, 1, 128, 128, device=device)
        t = torch.ones(1, dtype=torch.int64, device=device)
        eps = denoiser.denoise(x_t, t)
        if eps.shape != x_t.shape or not bool(torch.isfinite(eps).all()):
            raise ValueError(f"a forward gave {tuple(eps.shape)} with NaN or infinity")
        times_ms: list[float] = []
        while len(times_ms) < CALLS[0] or (len(times_ms) < CALLS[1] and sum(times_ms) < BUDGET_S * 1e3):
            start = time.perf_counter()
            denoiser.denoise(x_t, t)
            denoiser.synchronize()
            times_ms.append((time.perf_counter() - start) * 1e3)
        provider = denoiser.describe().get("provider", "")
        return f"{median(times_ms):.0f} ms a call, median of {len(times_ms)}; {provider}"
    finally:
        denoiser.close()


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
    except (Exception, SystemExit) as error:  # whatever is wrong here, doctor is there to say it
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
