"""TensorRT for RTX itself, which the extra ``dev`` installs where there are wheels of it; elsewhere its tests skip."""

import platform
import sys

import pytest

if sys.platform != "linux" or platform.machine() != "x86_64":
    pytest.skip("tensorrt-rtx is not to be had for this system", allow_module_level=True)

import tensorrt_rtx as trt

__all__ = ["trt"]
