"""NVIDIA's TensorRT for RTX: the exported U-Net as an engine for GeForce and RTX cards."""

from functools import partial

from uadbench.engine.backends import tensorrt_library as library
from uadbench.engine.backends.tensorrt_run import open_engine

__all__ = ["check", "open_denoiser"]

check = partial(library.check, library.RTX)
open_denoiser = partial(open_engine, library.RTX)
