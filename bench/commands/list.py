"""``bench list``: every name that other commands take."""

from __future__ import annotations

import json

import click

from uadbench.bench.run.machine import prepare_process


@click.command(name="list")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def command(as_json: bool) -> None:
    """List methods, floors, data sets, back ends, noises and perceptual nets."""
    prepare_process()
    from uadbench.bench.plan.grid import PRECISIONS
    from uadbench.datasets import DATASETS
    from uadbench.engine.backends import BACKENDS
    from uadbench.engine.methods import FLOORS, all_methods
    from uadbench.engine.perceptual.distance import PERCEPTUALS
    from uadbench.engine.rng import NOISES

    methods = {name: info for name, info in all_methods().items() if name not in FLOORS}
    listing = {
        "methods": {
            name: f"{info.title}, {info.paper}; noise: {', '.join(info.noises)}"
            for name, info in methods.items()
        },
        "floors (always run)": {name: info.title for name, info in FLOORS.items()},
        "data sets": dict.fromkeys(DATASETS, ""),
        "back ends": dict.fromkeys(BACKENDS, ""),
        "precisions": dict.fromkeys(PRECISIONS, ""),
        "noises": dict.fromkeys(NOISES, ""),
        "perceptual nets": dict.fromkeys(PERCEPTUALS, ""),
    }
    if as_json:
        click.echo(json.dumps(listing, indent=1))
        return
    for heading, entries in listing.items():
        click.echo(heading)
        for name, text in entries.items():
            click.echo(f"  {name:<16} {text}".rstrip())
