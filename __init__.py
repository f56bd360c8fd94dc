"""uadbench: a benchmark harness for diffusion-based unsupervised anomaly detection in medical images.

``detect``, ``load_run``, ``methods`` and ``predict`` are those of ``uadbench.bench.api``; nothing is imported before
its use.
"""

from __future__ import annotations

from typing import Any

__all__ = ["__version__", "detect", "load_run", "methods", "predict"]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("uadbench")
    if name in __all__:
        from uadbench.bench import api

        return getattr(api, name)
    raise AttributeError(f"module 'uadbench' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
