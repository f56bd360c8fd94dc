"""An engine from an ONNX network: parse and build, with everything that decides the result in one record.

The precision is the file's: the network is strongly typed and no builder flag asks for another, for from TensorRT 11 on
such flags no longer exist, and a flag that is silently absent would give fp32 under another name.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping
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
    Raises BackendError: no driver, the network cannot be read, is in another precision, or cannot be built, and
    whatever else the library does not do.
    """
    log, start = make_log(trt), time.monotonic()
    # a null pointer here: no driver
    builder = _got(library, log, "cannot start its builder", lambda: trt.Builder(log.logger))
    flags = 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
    network = _got(library, log, "cannot make a network", lambda: builder.create_network(flags))
    parser = _parse(trt, library, network, onnx, log)
    convolutions = _convolutions(trt, network)
    meant = {recipe.precision, "fp32"} if recipe.mixed else {recipe.precision}
    if set(convolutions) - meant or (recipe.mixed and recipe.precision not in convolutions):
        raise BackendError(
            f"{library.title} read a network whose convolutions are {convolutions}, {recipe.precision} was asked for; "
            f"export it in {recipe.precision}"
        )
    config = _configure(trt, library, builder, recipe, log)
    cache = _timing_cache(library, config, timing, log)
    what = f"cannot build a {recipe.precision} engine"
    plan = _got(library, log, what, lambda: builder.build_serialized_network(network, config))
    del parser  # it owns the weights that the network refers to, so it must live until here
    kept = b"" if cache is None else _times(library, config, log)
    return Built(bytes(plan), convolutions, time.monotonic() - start, kept)


def _got(library: Library, log: Log, what: str, call: Callable[[], Any]) -> Any:
    """What a call of the library returns; BackendError where that says that it failed.

    Failures are None and False, a TypeError (a constructor returned a null pointer) and a ValueError, which says why.
    """
    try:
        found = call()
    except TypeError as error:
        raise failure(library, what, log) from error
    except ValueError as error:
        raise failure(library, what, log, error) from error
    if found is None or found is False:
        raise failure(library, what, log)
    return found


def _parse(trt: Any, library: Library, network: Any, onnx: bytes, log: Log) -> Any:
    parser = _got(library, log, "cannot start its parser", lambda: trt.OnnxParser(network, log.logger))
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
    config = _got(library, log, "cannot make a builder's configuration", builder.create_builder_config)
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
    profile = _got(library, log, "cannot make a profile of shapes", builder.create_optimization_profile)
    for name, shape in recipe.shapes.items():
        what = f"takes no shape {list(shape)} for {name}"  # None is its way to say that all is well
        _got(library, log, what, lambda n=name, s=shape: profile.set_shape(n, s, s, s) is not False)  # type: ignore[misc]
    if config.add_optimization_profile(profile) < 0:
        raise failure(library, f"takes no profile of {dict(recipe.shapes)}", log)
    return config


def _timing_cache(library: Library, config: Any, timing: bytes, log: Log) -> Any:
    """The kernels' times, from before where the library takes those for its own; they only save time."""
    if not library.timing:
        return None
    cache = config.create_timing_cache(timing)
    if cache is None or not config.set_timing_cache(cache, False):
        log.lines.clear()  # why it does not take the old ones is nobody's fault
        cache = _got(library, log, "cannot make a store of times", lambda: config.create_timing_cache(b""))
        _got(
            library,
            log,
            "does not take an empty store of times",
            lambda: config.set_timing_cache(cache, False),
        )
    return cache


def _times(library: Library, config: Any, log: Log) -> bytes:
    """The kernels' times after a build."""
    cache = _got(library, log, "does not give the times of kernels back", config.get_timing_cache)
    return bytes(_got(library, log, "cannot write the times of kernels", cache.serialize))
