"""``--executor ray``: workers on a cluster of Ray, or on this machine alone. Ray is imported only here.

Of what is started here nothing is told to Ray's makers, and its dashboard is off; a cluster is as its owner started it.
Token authentication is on, unless RAY_AUTH_MODE says otherwise: whoever reaches a cluster's ports without a token could
run code there.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout, suppress
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from uadbench.bench.plan.config import ConfigError, RunConfig
from uadbench.bench.plan.grid import Cell
from uadbench.bench.plan.plan import Plan
from uadbench.bench.run.crew import Crew, WorkerDied
from uadbench.bench.run.evaluate import one_line
from uadbench.bench.run.executors import Here
from uadbench.bench.run.inputs import Loader
from uadbench.bench.run.worker import Job, Order, Worker
from uadbench.datasets.case import Sample
from uadbench.reports.atomic import RunError

__all__ = ["EXECUTORS", "Cluster", "check_cluster", "executor_of"]

EXECUTORS = ("here", "ray")
REACH_S = 10
DEATHS = "A worker died or was killed"  # how Ray's own paragraph on each begins; ours is a line, see ``Crew``
STORE_MIB = 1024  # of a cluster that is started here: shared memory for what comes back


@dataclass(frozen=True)
class Cluster:
    """Where batches are computed. address : of a cluster, "" to start one here; workers : None for all room"""

    address: str = ""
    workers: int | None = None


def check_cluster(plan: Plan, cluster: Cluster) -> None:
    """ConfigError where Ray is missing, or the run is none for workers; RunError where nobody is at the address.

    Quick, Ray is not imported; it would try for minutes to reach an address where nobody is.
    """
    if find_spec("ray") is None:
        raise ConfigError("--executor ray needs Ray, which is not installed; pip install 'uadbench[ray]'")
    if plan.config.streams != 1:
        raise ConfigError("--streams shares out threads of one process; give --workers in its place")
    if plan.config.device not in ("cpu", "cuda"):
        raise ConfigError(f"device is {plan.config.device!r}, and Ray says which GPU a worker has; give cuda")
    address = _address(cluster)
    if address in ("", "auto", "local"):
        return
    host, colon, port = address.rpartition(":")
    if "://" in address or not colon or not port.isdecimal():
        raise ConfigError(
            f"--ray-address is {address!r}; HOST:PORT is needed, as `ray start --head` prints it, or auto"
        )
    try:
        socket.create_connection((host, int(port)), REACH_S).close()
    except (OSError, OverflowError) as error:
        raise RunError(
            f"nobody answers at --ray-address {address} ({error}); is `ray start` done there?"
        ) from error


def _address(cluster: Cluster) -> str:
    return cluster.address or os.environ.get("RAY_ADDRESS", "")


@contextmanager
def executor_of(
    cluster: Cluster | None,
    here: Here,
    plan: Plan,
    cells: Sequence[Cell],
    identity: str,
    state: dict[str, Any],
    say: Callable[[str], None],
) -> Iterator[Here | Crew]:
    """``here``, or workers on the cluster, which end with the block.

    identity : the whole run's; state : gets "executor", what ran where, when the block ends
    """
    if cluster is None:
        yield here
        return
    loader, threads, gpu = here.loader, plan.threads, plan.config.device == "cuda"
    assert isinstance(loader, Loader), "of the process that owns the run"
    with _connected(cluster, threads, gpu) as ray:
        count = _room(ray, cluster, threads, gpu, say)
        pool = _RayPool(ray, _order(here, plan, cells, identity), threads, gpu)
        crew = Crew(pool, count, threads, loader, here.bench.stop, say)
        say(
            f"Ray {ray.__version__}: {count} worker{'s' * (count != 1)} of "
            f"{threads} thread{'s' * (threads != 1)} each"
        )
        try:
            yield crew
        finally:
            state["executor"] = {**crew.record(), "version": ray.__version__, "gpus_each": int(gpu)}


def _order(here: Here, plan: Plan, cells: Sequence[Cell], identity: str) -> Order:
    shape = next(
        (found.image.shape for case in plan.cases if isinstance(found := here.loader.read(case), Sample)),
        None,
    )
    healthy = (here.bench.median, here.bench.mean, here.bench.spread)
    decided = {cell.slug: (cell.method, dict(cell.x0_variance)) for cell in cells}
    return Order(
        _anywhere(plan.config),
        identity,
        plan.threads,
        decided,
        tuple(None if one is None else one.numpy() for one in healthy),
        shape,
    )


def _anywhere(config: RunConfig) -> RunConfig:
    """The settings with whole paths, as a worker's folder is another; where things lie is no part of the identity."""

    def whole(place: str) -> str:
        return str(Path(place).resolve())

    weights, root = config.perceptual_weights, config.data_root or os.environ.get("UADBENCH_DATA")
    return replace(
        config,
        data_root=whole(root) if root else None,
        checkpoints={name: whole(file) for name, file in config.checkpoints.items()},
        perceptual_weights=whole(weights)
        if isinstance(weights, str)
        else weights and {name: whole(file) for name, file in weights.items()},
    )


@contextmanager
def _connected(cluster: Cluster, threads: int, gpu: bool) -> Iterator[Any]:
    """Ray, connected to the cluster or started here; shut down at the end. RunError where that fails."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ.setdefault("RAY_AUTH_MODE", "token")
    os.environ.setdefault("RAY_DEDUP_LOGS_SKIP_REGEX", DEATHS)
    import ray

    address = _address(cluster)
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    if address:
        options["address"] = address
    else:
        workers = cluster.workers or max(1, (os.cpu_count() or 1) // threads)
        options |= {"address": "local", "include_dashboard": False, "num_cpus": workers * threads}
        options |= {"object_store_memory": STORE_MIB * 2**20}
    with _own_signals():
        try:
            ray.init(**options)
        except (Exception, SystemExit) as error:
            where = f"no cluster of Ray answers at {address!r}" if address else "Ray cannot be started here"
            raise RunError(
                f"{where} ({one_line(error)}); give --ray-address as `ray start` printed it, and the cluster's token "
                "as RAY_AUTH_TOKEN"
            ) from error
    try:
        with redirect_stdout(
            sys.stderr
        ):  # Ray prints there what happens to a cluster, and ours is for results
            yield ray
    finally:
        with _own_signals():
            ray.shutdown()


@contextmanager
def _own_signals() -> Iterator[None]:
    """Ray puts its own handler in the place of ours, with which the run would not end as it should."""
    ours = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in ours.items():
            signal.signal(number, handler)


def _room(ray: Any, cluster: Cluster, threads: int, gpu: bool, say: Callable[[str], None]) -> int:
    """How many workers the cluster has room for, at most those that are asked for; RunError for none."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    room = sum(_fit(resources, threads, gpu) for resources in nodes)
    if room == 0:
        cpus = ", ".join(f"{resources.get('CPU', 0):g} CPUs" for resources in nodes)
        need = f"{threads} CPU{'s' * (threads != 1)}{' and a GPU' if gpu else ''}"
        raise RunError(
            f"no node of the cluster ({cpus}) has room for a worker of {need}; give fewer --threads"
        )
    if cluster.workers and cluster.workers > room:
        say(f"the cluster has room for {room} of {cluster.workers} workers")
    return min(cluster.workers or room, room)


def _fit(resources: Mapping[str, float], threads: int, gpu: bool) -> int:
    workers = int(resources.get("CPU", 0)) // threads
    return min(workers, int(resources.get("GPU", 0))) if gpu else workers


class _RayPool:
    """Actors, each a ``Worker`` with its share of CPUs, and a GPU where the networks run on one."""

    def __init__(self, ray: Any, order: Order, threads: int, gpu: bool) -> None:
        self._ray, self._order = ray, ray.put(order)
        self._actor = ray.remote(_Actor).options(
            num_cpus=threads,
            num_gpus=int(gpu),
            max_restarts=0,
            max_task_retries=0,
            scheduling_strategy="SPREAD",
        )

    def start(self) -> Any:
        return self._actor.remote()

    def open(self, worker: Any) -> Any:
        return worker.open.remote(self._order)

    def submit(self, worker: Any, job: Job) -> Any:
        return worker.evaluate.remote(job)

    def wait(self, tickets: Sequence[Any], seconds: float) -> list[Any]:
        ready, _ = self._ray.wait(list(tickets), num_returns=len(tickets), timeout=0)
        if ready or seconds == 0:
            return list(ready)
        return list(self._ray.wait(list(tickets), num_returns=1, timeout=seconds)[0])

    def answer(self, ticket: Any) -> Any:
        errors = self._ray.exceptions
        try:
            return self._ray.get(ticket)
        except errors.RayTaskError as error:
            cause = getattr(error, "cause", None) or error
            raise RunError(f"a worker {_reason(cause)}; what is done is kept") from error
        except errors.RayError as error:
            raise WorkerDied(_first_line(error)) from error

    def end(self, worker: Any) -> None:
        with suppress(Exception):  # it is gone already
            self._ray.kill(worker)


class _Actor(Worker):
    """A worker that says on which node it is."""

    def open(self, order: Order) -> Any:
        import ray

        found = super().open(order)
        return ray.get_runtime_context().get_node_id()[:8], found


def _reason(error: BaseException) -> str:
    """Our own errors are a line already, which names the remedy."""
    own = type(error).__module__.startswith("uadbench.")
    return f"says: {str(error).strip()}" if own else f"raised {one_line(error)}"


def _first_line(error: BaseException) -> str:
    """What Ray says of a death, without its paragraphs; no folder of a machine is named."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return next(
        (line for line in lines if "died" in line.lower() or "killed" in line.lower()),
        lines[0] if lines else "-",
    )
