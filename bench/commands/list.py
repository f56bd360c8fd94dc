"""``bench list``: every name that other commands take."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from uadbench.bench.commands.options import one_line_errors, warn_of_plugins

if TYPE_CHECKING:
    from uadbench.engine.methods import MethodInfo


@click.command(name="list")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
@one_line_errors
def command(as_json: bool) -> None:
    """List methods, floors, data sets, back ends, noises and perceptual nets.

    Of each method: title, paper, network calls a case by default, and the checkpoint for each kind of noise.
    """
    listing = names()
    warn_of_plugins()
    if as_json:
        click.echo(json.dumps(listing, indent=1))
        return
    for heading, entries in listing.items():
        click.echo(heading)
        for name, text in entries.items():
            click.echo(f"  {name:<26} {text}".rstrip())


HEADINGS = {"post-processing": "post-processings"}  # of kinds of plug-ins, where it is not the kind and an s


def names() -> dict[str, dict[str, str]]:
    """Kind -> {name: what it is}; none of the registries that it reads loads torch."""
    from uadbench.bench.plan.plugins import sources
    from uadbench.datasets import DATASETS
    from uadbench.engine.backends import BACKENDS, PRECISIONS
    from uadbench.engine.interfaces import NOISES
    from uadbench.engine.methods import FLOORS, all_methods
    from uadbench.engine.perceptual import PERCEPTUALS

    known = all_methods()
    floors = {name: info.title for name, info in known.items() if info.floor}
    named = {name: title for name, title in floors.items() if name not in FLOORS}
    listing = {
        "methods": {name: _account(info) for name, info in known.items() if not info.floor},
        "floors (always run)": {name: title for name, title in floors.items() if name in FLOORS},
        "floors (run where named; `fitted-floors` is all that are fitted)": named,
        "data sets": {name: _choices(opener) for name, opener in DATASETS.items()},
        "back ends": {
            name: "; ".join(f"{device}: {', '.join(found)}" for device, found in backend.precisions.items())
            for name, backend in BACKENDS.items()
        },
        "precisions": dict.fromkeys(PRECISIONS, ""),
        "noises": dict.fromkeys(NOISES, ""),
        "perceptual nets": dict(PERCEPTUALS),
    }
    for (kind, name), package in sources().items():
        heading = HEADINGS.get(kind, f"{kind}s")
        heading = "floors (always run)" if name in listing["floors (always run)"] else heading
        text = listing.setdefault(heading, {}).get(name, "")
        listing[heading][name] = f"{text}; from {package}" if text else f"from {package}"
    return listing


def _choices(opener: object) -> str:
    """What may follow the name of a data set of volumes."""
    from uadbench.datasets import Volumes

    return f"volumes; NAME:CHOICE with {opener.layout.options}" if isinstance(opener, Volumes) else ""


def _account(info: MethodInfo) -> str:
    """Title, paper, network calls a case, and for each kind of noise the checkpoint."""
    calls = [] if info.calls is None else [f"{info.calls} call{'s' * (info.calls != 1)} a case"]
    networks = [
        ("" if noise == "none" else f"{noise}: ") + _checkpoints(info, noise) for noise in info.noises
    ]
    return "; ".join([f"{info.title}, {info.paper}", *calls, *networks])


def _checkpoints(info: MethodInfo, noise: str) -> str:
    from importlib.resources import files

    folder = files("uadbench.models")
    return ", ".join(
        name if (folder / f"{name}.safetensors").is_file() else f"{name} (not shipped)"
        for name in info.networks(noise).values()
    )
