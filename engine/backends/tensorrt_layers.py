"""Which precision an engine really has, as its inspector tells it.

TensorRT 10 and 11 give a JSON object whose "Layers" are objects with "Inputs" and "Outputs"; each tensor has a
"Format/Datatype" such as "Half" or "Row major linear FP16 format". Without detailed profiling a layer is its name only.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping
from typing import Any

__all__ = ["contradiction", "count_types"]

# In this order, because "BF16" holds no "FP16" but "BFloat16" holds "Float".
NAMES = (("bf16", r"bf16|bfloat16"), ("fp16", r"fp16|half|float16"), ("fp32", r"fp32|float"))
TF32 = "tf32 kernels"


def count_types(text: str) -> dict[str, int]:
    """Layers by the floating-point type of their first output, {"fp16": 80, "fp32": 3}; {} where it is not told.

    Kernels whose name says that they compute in TF32 are counted besides, as "tf32 kernels".
    """
    try:
        layers = json.loads(text).get("Layers", [])
    except (ValueError, AttributeError, RecursionError):
        return {}
    counts: Counter[str] = Counter()
    for layer in layers if isinstance(layers, list) else []:
        if not isinstance(layer, dict):
            continue
        kind = _type(layer.get("Outputs"))
        if kind is not None:
            counts[kind] += 1
        if "tf32" in str(layer.get("TacticName", "")).lower():
            counts[TF32] += 1
    return dict(sorted(counts.items()))


def contradiction(counts: Mapping[str, int], precision: str) -> str | None:
    """What in an engine is not as asked for; None where nothing is. fp16 and bf16 networks keep some layers in fp32."""
    if not counts:
        return None
    foreign = {"fp16", "bf16"} - {precision}
    if found := sorted(foreign & set(counts)):
        return f"{counts[found[0]]} layers in {found[0]}"
    if precision not in counts:
        return f"no layer in {precision}"
    if precision == "fp32" and TF32 in counts:
        return f"{counts[TF32]} kernels in TF32"
    return None


def _type(outputs: Any) -> str | None:
    first = outputs[0] if isinstance(outputs, list) and outputs else None
    if not isinstance(first, dict):
        return None
    told = " ".join(str(first.get(key, "")) for key in ("Format/Datatype", "DataType")).lower()
    return next((name for name, pattern in NAMES if re.search(pattern, told)), None)
