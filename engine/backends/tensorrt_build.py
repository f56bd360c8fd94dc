"""An engine from an ONNX network: parse and build, with everything that decides the result in one record.

The precision is the file's: the network is strongly typed and no builder flag asks for another, for from TensorRT 11 on
such flags no longer exist, and a flag that is silently absent would give fp32 under another name.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from uadbench.engine.backends.errors import BackendError
from uadbench.engine.backends.tensorrt_library import Library, Log, failure, make_log, target

__all__ = ["Built", "Recipe", "build"]

TYPES = {"FLOAT": "fp32", "HALF": "fp16", "BF16": "bf16"}
SHOWN = 3  # errors of the parser that a message repeats


@dataclass(frozen=True)
class Recipe:
    """What an engine is built as.

    shapes : of the inputs, fixed; one optimization profile, whose least, usual and largest shapes are these
    workspace : bytes of device memory that a kernel may use for intermediate results
    level : of the builder's optimization, 0 to 5
    mixed : some convolutions are meant to be fp32 beside those in ``precision``: the perceptual distance's weighted
        sums over channels, see ``exporters.onnx.export_perceptual``
    """

    precision: str
    shapes: Mapping[str, tuple[int, ...]]
    capability: tuple[int, int]
    workspace: int
    level: int = 3
    mixed: bool = False

    def record(self) -> dict[str, Any]:
        """Everything above and what is always so, as JSON takes it; it is part of an engine's key."""
        return {
            "precision": self.precision,
            "profile": {name: list(shape) for name, shape in self.shapes.items()},
            "capability": list(self.capability),
            "workspace": self.workspace,
            "optimization_level": self.level,
            "mixed": self.mixed,
            "strongly_typed": True,
            "tf32": False,
            "profiling_verbosity": "detailed",
        }


@dataclass(frozen=True)
class Built:
    """An engine as bytes, which are executable code.

    convolutions : their number by type in the network that was parsed, {"fp16": 33}
    timing : the kernels' times, for the next build; b"" where the library takes none
    """

    plan: bytes
    convolutions: Mapping[str, int]
    seconds: float
    timing: bytes


def build(trt: Any, library: Library, onnx: bytes, recipe: Recipe, timing: bytes = b"") -> Built:
    """Parse an exported network and build its engine.

    timing : of an earlier build on this GPU and version
    Raises BackendError: no driver, the network cannot be read, is in another precision, or cannot be built.
    """
    log, start = make_log(trt), time.monotonic()
    try:
        builder = trt.Builder(log.logger)
    except TypeError as error:  # the constructor returned a null pointer: no driver
        raise failure(library, "cannot start its builder", log) from error
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    if network is None:
        raise failure(library, "cannot make a network", log)
    parser = _parse(trt, library, network, onnx, log)
    convolutions = _convolutions(trt, network)
    meant = {recipe.precision, "fp32"} if recipe.mixed else {recipe.precision}
    if set(convolutions) - meant or (recipe.mixed and recipe.precision not in convolutions):
        raise BackendError(
            f"{library.title} read a network whose convolutions are {convolutions}, {recipe.precision} was asked for; "
            f"export it in {recipe.precision}"
        )
    config = _configure(trt, library, builder, recipe, log)
    cache = _timing_cache(library, config, timing)
    plan = builder.build_serialized_network(network, config)
    del parser  # it owns the weights that the network refers to, so it must live until here
    if plan is None:
        raise failure(library, f"cannot build a {recipe.precision} engine", log)
    kept = b"" if cache is None else bytes(config.get_timing_cache().serialize())
    return Built(bytes(plan), convolutions, time.monotonic() - start, kept)


def _parse(trt: Any, library: Library, network: Any, onnx: bytes, log: Log) -> Any:
    parser = trt.OnnxParser(network, log.logger)
    if not parser.parse(onnx):
        errors = [str(parser.get_error(i)) for i in range(parser.num_errors)]
        told = "; ".join(errors[:SHOWN])
        more = f" and {len(errors) - SHOWN} more" if len(errors) > SHOWN else ""
        log.lines.clear()  # it repeats the same
        raise failure(library, "cannot read the exported network", log, told + more)
    return parser


def _convolutions(trt: Any, network: Any) -> dict[str, int]:
    """Convolutions, nine tenths of the work, by the type they are computed in."""
    layers = (network.get_layer(i) for i in range(network.num_layers))
    types = [layer.get_output(0).dtype.name for layer in layers if layer.type == trt.LayerType.CONVOLUTION]
    return dict(sorted(Counter(TYPES.get(name, name) for name in types).items()))


def _configure(trt: Any, library: Library, builder: Any, recipe: Recipe, log: Log) -> Any:
    config = builder.create_builder_config()
    if config is None:
        raise failure(library, "cannot make a builder's configuration", log)
    config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, recipe.workspace)
    config.builder_optimization_level = recipe.level
    config.profiling_verbosity = (
        trt.ProfilingVerbosity.DETAILED
    )  # else the engine does not tell its precision
    config.clear_flag(
        trt.BuilderFlag.TF32
    )  # on by default; fp32 means fp32, TF32 keeps 10 bits of the mantissa
    if library.targets:
        config.num_compute_capabilities = 1
        if not config.set_compute_capability(target(trt, library, recipe.capability), 0):
            raise failure(library, f"takes no compute capability {recipe.capability}", log)
    profile = builder.create_optimization_profile()
    for name, shape in recipe.shapes.items():
        profile.set_shape(name, shape, shape, shape)
    if config.add_optimization_profile(profile) < 0:
        raise failure(library, f"takes no profile of {dict(recipe.shapes)}", log)
    return config


def _timing_cache(library: Library, config: Any, timing: bytes) -> Any:
    """The kernels' times, from before where the library takes those for its own; they only save time."""
    if not library.timing:
        return None
    cache = config.create_timing_cache(timing)
    if cache is None or not config.set_timing_cache(cache, False):
        cache = config.create_timing_cache(b"")
        config.set_timing_cache(cache, False)
    return cache
