"""ONNX Runtime's module and sessions: imported without telemetry, made without a fallback, asked who computes what."""

from __future__ import annotations

import importlib
import os
from collections import Counter
from importlib import metadata
from typing import Any

from uadbench.engine.backends.errors import BackendError, first_line

__all__ = [
    "PACKAGES",
    "REMEDY",
    "import_it",
    "installed_packages",
    "load_runtime",
    "make_session",
    "placement",
    "session_options",
]

PACKAGES = ("onnxruntime", "onnxruntime-gpu")
REMEDY = "use another --precision or --backends"
NO_PROVIDER = "install CUDA 13 and cuDNN 9 with `pip install 'uadbench[gpu]'`, or use --device cpu"


def installed_packages() -> list[str]:
    """Which of the two packages that provide the module ``onnxruntime`` are installed."""
    found = []
    for package in PACKAGES:
        try:
            metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
        found.append(package)
    return found


def load_runtime() -> Any:
    """The module ``onnxruntime``, imported with its telemetry off; raises ImportError.

    From 1.31 on it reports to its makers unless told otherwise before the import, and writes an id into the user's
    cache folder when imported. Medical work wants neither; a user's own setting of the variable stands.
    """
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    return importlib.import_module("onnxruntime")


def import_it(extra: str, provider: str | None = None) -> Any:
    """The module, with this provider where one is named; BackendError, naming the extra that has it, otherwise."""
    if installed_packages() == list(PACKAGES):
        raise BackendError(
            "onnxruntime and onnxruntime-gpu are both installed and overwrite each other; uninstall both, "
            "then `pip install 'uadbench[cpu]'` or `pip install 'uadbench[gpu]'`"
        )
    try:
        onnxruntime = load_runtime()
    except ImportError as error:
        raise BackendError(
            f"onnxruntime cannot be imported ({error}); `pip install 'uadbench[{extra}]'`"
        ) from error
    if provider is not None and provider not in onnxruntime.get_available_providers():
        raise BackendError(
            f"this onnxruntime has no {provider}; uninstall onnxruntime, then `pip install 'uadbench[{extra}]'`"
        )
    return onnxruntime


def session_options(onnxruntime: Any, threads: int, device: str) -> Any:
    """threads : of the session's own pool on the CPU"""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads  # explicit: the default counts cores that a container may not use
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    # Between two calls torch and Numba work on the same cores; threads that spin would steal them.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # session.set_denormal_as_zero stays off: it switches the calling thread, hence torch's and NumPy's arithmetic.
    # Without VNNI 8-bit products of mixed sign saturate; then weights are made unsigned, which does not.
    options.add_session_config_entry("session.x64quantprecision", "1")
    if device != "cpu":
        options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
        options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    options.log_severity_level = 3
    return options


def make_session(onnxruntime: Any, data: bytes, options: Any, name: str, choices: dict[str, str]) -> Any:
    """A session whose every node this provider runs.

    Left to itself ONNX Runtime drops a provider whose libraries do not load, prints that an error of a provider makes
    it retry on the CPU, and gives single nodes to the CPU; a figure must hide none of it.
    Raises BackendError.
    """
    try:
        session = onnxruntime.InferenceSession(data, options, providers=[(name, choices)], enable_fallback=0)
    except Exception as error:  # its exceptions share no base class of their own
        raise BackendError(
            f"onnxruntime cannot open the network on {name}: {first_line(error)}; {REMEDY}"
        ) from error
    if session.get_providers()[0] != name:
        # It logs why the libraries do not load and goes on.
        raise BackendError(
            f"onnxruntime could not start {name} and would run on {session.get_providers()[0]}; {NO_PROVIDER}"
        )
    elsewhere = {provider: nodes for provider, nodes in placement(session).items() if provider != name}
    if elsewhere:
        provider, nodes = next(iter(elsewhere.items()))
        shown = ", ".join(f"{count} {kind}" for kind, count in nodes.most_common(3))
        raise BackendError(f"onnxruntime would run {shown} on {provider}, not on {name}; {REMEDY}")
    return session


def placement(session: Any) -> dict[str, Counter[str]]:
    """Provider -> its nodes by operator, of a session that was asked to keep it (see ``session_options``)."""
    found: dict[str, Counter[str]] = {}
    for part in session.get_provider_graph_assignment_info():
        found.setdefault(part.ep_name, Counter()).update(node.op_type for node in part.get_nodes())
    return found
