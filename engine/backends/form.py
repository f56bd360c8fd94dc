"""How a network is exported for a back end; loads no torch, so that back ends can be listed at once."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["ATTENTIONS", "FORM_PRECISIONS", "IN_8_BITS", "LAYOUTS", "Form"]

FORM_PRECISIONS = ("fp32", "fp16", "bf16", "int8")
IN_8_BITS = ("int8", "int8-bf16")
"""A back end's precisions whose file is in int8; what that leaves in floating point is computed in fp32, or in bf16."""
ATTENTIONS = ("fused", "plain")
LAYOUTS = ("channels-first", "channels-last")


@dataclass(frozen=True)
class Form:
    """How a network is exported. What a back end is given is what it asks for, see ``backends.Backend``.

    precision : of convolutions, linear layers and attention's products: "fp32", "fp16" or "bf16". Below fp32, group
        and layer norms, plain attention's softmax and the level's sines stay in fp32, and so do the graph's inputs and
        outputs; how fused attention sums is up to what runs it. "int8" is fp32 but for most convolutions, see
        ``exporters.int8``
    attention : "fused" is one Attention operator, which needs opset 23; "plain" is MatMul, Softmax, MatMul in opset 21
        (22 in bf16), for TensorRT in fp32 and for consumers older than opset 23
    batch : the fixed batch size; None leaves it open
    layout : "channels-first" is as torch has it; "channels-last" computes the same where convolutions keep an image so,
        without turning it round in between, see ``exporters.layout``
    Raises ValueError on anything else.
    """

    precision: str = "fp32"
    attention: str = "fused"
    batch: int | None = None
    layout: str = "channels-first"

    def __post_init__(self) -> None:
        for name, allowed in (
            ("precision", FORM_PRECISIONS),
            ("attention", ATTENTIONS),
            ("layout", LAYOUTS),
        ):
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name} is {getattr(self, name)!r}; allowed are {', '.join(allowed)}")
        if self.batch is not None and self.batch < 1:
            raise ValueError(f"batch is {self.batch}; allowed is a number from 1 on, or None for any")
