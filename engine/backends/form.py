"""How a network is exported for a back end; loads no torch, so that back ends can be listed at once."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["ATTENTIONS", "FORM_PRECISIONS", "Form"]

FORM_PRECISIONS = ("fp32", "fp16", "bf16")
ATTENTIONS = ("fused", "plain")


@dataclass(frozen=True)
class Form:
    """How a network is exported. What a back end is given is what it asks for, see ``backends.Backend``.

    precision : of convolutions, linear layers and attention's products: "fp32", "fp16" or "bf16". Below fp32, group
        and layer norms, plain attention's softmax and the level's sines stay in fp32, and so do the graph's inputs and
        outputs; how fused attention sums is up to what runs it
    attention : "fused" is one Attention operator, which needs opset 23; "plain" is MatMul, Softmax, MatMul in opset 21
        (22 in bf16), for TensorRT in fp32 and for consumers older than opset 23
    batch : the fixed batch size; None leaves it open
    Raises ValueError on anything else.
    """

    precision: str = "fp32"
    attention: str = "fused"
    batch: int | None = None

    def __post_init__(self) -> None:
        for name, allowed in (("precision", FORM_PRECISIONS), ("attention", ATTENTIONS)):
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name} is {getattr(self, name)!r}; allowed are {', '.join(allowed)}")
        if self.batch is not None and self.batch < 1:
            raise ValueError(f"batch is {self.batch}; allowed is a number from 1 on, or None for any")
