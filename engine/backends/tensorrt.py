"""NVIDIA's TensorRT: the exported U-Net as an engine that is built for the GPU that is there."""

from functools import partial

from uadbench.engine.backends import tensorrt_library as library
from uadbench.engine.backends.tensorrt_run import open_engine

__all__ = ["check", "open_denoiser"]

check = partial(library.check, library.TENSORRT)
open_denoiser = partial(open_engine, library.TENSORRT)
