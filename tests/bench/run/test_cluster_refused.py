"""What cannot be given to workers is refused before Ray is imported, and what Ray is told; it need not be here."""

from __future__ import annotations

import os
import re
import socket
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from support.cells import make_work

from uadbench.bench.plan.config import ConfigError
from uadbench.bench.plan.plan import Plan
from uadbench.bench.run import cluster
from uadbench.bench.run.cluster import Cluster, check_cluster
from uadbench.reports.atomic import RunError


@pytest.fixture
def plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Plan:
    monkeypatch.setattr(cluster, "find_spec", lambda name: object())
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    return make_work(tmp_path).plan


def changed(plan: Plan, **settings: Any) -> Plan:
    return replace(plan, config=replace(plan.config, **settings))


def test_without_ray_the_extra_is_named(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    check_cluster(plan, Cluster())
    monkeypatch.setattr(cluster, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install 'uadbench\[ray\]'"):
        check_cluster(plan, Cluster())


def test_streams_and_a_gpu_by_number_are_refused(plan: Plan) -> None:
    with pytest.raises(ConfigError, match="give --workers in its place"):
        check_cluster(changed(plan, streams=2), Cluster())
    with pytest.raises(ConfigError, match="give cuda"):
        check_cluster(changed(plan, device="cuda:1"), Cluster())
    check_cluster(changed(plan, device="cuda"), Cluster())


@pytest.mark.parametrize("address", ["ray://head:10001", "head", "head:", "head:x"])
def test_an_address_of_another_form_is_refused(plan: Plan, address: str) -> None:
    with pytest.raises(ConfigError, match="HOST:PORT is needed"):
        check_cluster(plan, Cluster(address))


def test_an_address_where_nobody_is_is_refused_at_once(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(RunError, match="nobody answers at --ray-address"):
            check_cluster(plan, Cluster(address))
        monkeypatch.setenv("RAY_ADDRESS", address)
        with pytest.raises(RunError, match="nobody answers"):
            check_cluster(plan, Cluster())
        taken.listen()
        check_cluster(plan, Cluster())


@pytest.mark.parametrize("own", [None, "mine"])
def test_ray_keeps_still_unless_the_user_says_otherwise(
    own: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What Ray is told before it is imported and as it is started."""
    names = ("RAY_USAGE_STATS_ENABLED", "RAY_AUTH_MODE", "RAY_DEDUP_LOGS_SKIP_REGEX", "RAY_ADDRESS")
    for name in names:
        monkeypatch.setenv(name, "")  # so that it is as before when the test is over
        monkeypatch.delenv(name)
    if own:
        monkeypatch.setenv("RAY_DEDUP_LOGS_SKIP_REGEX", own)
    told: dict[str, Any] = {}

    def init(**options: Any) -> None:
        told.update(options, skipped=os.environ["RAY_DEDUP_LOGS_SKIP_REGEX"])

    monkeypatch.setitem(sys.modules, "ray", SimpleNamespace(init=init, shutdown=lambda: None))
    with cluster._connected(Cluster(), 1, False):
        assert os.environ["RAY_USAGE_STATS_ENABLED"] == "0"
        assert os.environ["RAY_AUTH_MODE"] == "token"
    assert (told["include_dashboard"], told["log_to_driver"]) == (False, False)
    paragraph = (
        "A worker died or was killed while executing a task by an unexpected system error. To troubleshoot"
    )
    assert bool(re.search(told["skipped"], paragraph)) == (own is None)
    assert not re.search(told["skipped"], "The node with node id: 1 has been marked dead")
