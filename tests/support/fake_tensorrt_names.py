"""The names of TensorRT's Python API that the fake of it shares: types, layers, and what a log is told."""

from __future__ import annotations

from enum import Enum, IntEnum


class Severity(IntEnum):
    INTERNAL_ERROR = 0
    ERROR = 1
    WARNING = 2
    INFO = 3


class DataType(Enum):
    FLOAT = 1
    HALF = 10
    BF16 = 16


class LayerType(Enum):
    CONVOLUTION = 0
    OTHER = 1


class ILogger:
    Severity = Severity

    def log(self, severity: Severity, msg: str) -> None:
        raise NotImplementedError
