"""Networks below fp32, and with attention written out, as modules that torch's exporter sees.

The precision is baked in here rather than converted in the file: convolutions and linear layers hold half weights and
round their inputs; norms and softmax compute in fp32, where sums over many values would lose what matters; what the
adapters and the sampler do with the answer is fp32 again. Of fused attention the softmax is the back end's own affair:
the operator could be told a precision for it, but TensorRT refuses that (seen with TensorRT-RTX 1.7.1).
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from uadbench.engine.backends.errors import BackendError
from uadbench.engine.backends.form import Form
from uadbench.exporters.layout import PlainNorm, channels_last

__all__ = ["DTYPES", "ExportError", "in_form", "lowered"]

DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
PRODUCTS = (nn.modules.conv._ConvNd, nn.Linear)
NORMS = (nn.GroupNorm, nn.LayerNorm, PlainNorm)
SOFTMAXES = (F.softmax, torch.softmax, Tensor.softmax)


class ExportError(BackendError):
    """A network cannot be exported; the message says why and names the remedy."""


class Product(nn.Module):
    """A convolution or linear layer with its weights and input in a lower precision."""

    def __init__(self, layer: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        self.layer, self.dtype = layer.to(dtype), dtype

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x.to(self.dtype))


class Norm(nn.Module):
    """A norm whose sums and weights are fp32; the result is as precise as the input."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor, *more: Tensor) -> Tensor:
        return self.layer(x.float(), *(one.float() for one in more)).to(x.dtype)


class InForm(nn.Module):
    """A network as a form wants it; inputs and the answer, float32, are those of the network."""

    def __init__(self, network: nn.Module, plain: bool) -> None:
        super().__init__()
        self.network, self.plain = network, plain

    def forward(self, x: Tensor, timesteps: Tensor, cond: Tensor | None = None) -> Tensor:
        with _Arithmetic(self.plain):
            answer: Tensor = self.network(x, timesteps) if cond is None else self.network(x, timesteps, cond)
        return answer.float()


def in_form(network: nn.Module, form: Form) -> nn.Module:
    """The network as ``form`` wants it, a copy; itself where that is how it is. Of int8 it is what is quantized later.

    Raises ExportError where its weights do not fit into the precision.
    """
    precision = "fp32" if form.precision == "int8" else form.precision
    if (precision, form.attention, form.layout) == ("fp32", "fused", "channels-first"):
        return network
    if form.layout == "channels-last":
        network = channels_last(network, transposed=form.precision == "fp32")
    return InForm(lowered(network, precision), form.attention == "plain").eval().requires_grad_(False)


def lowered(network: nn.Module, precision: str) -> nn.Module:
    """A copy whose products are in ``precision`` and whose norms are in fp32; a kind of layer it does not know is
    refused. What such a network returns is of that precision, unless it is mixed with float32 within."""
    network = copy.deepcopy(network)
    dtype = DTYPES[precision]
    if dtype != torch.float32:
        holder = nn.ModuleList([network])  # so that the network itself may be a layer
        _replace(holder, dtype)
        network = holder[0]
    return network


def _replace(module: nn.Module, dtype: torch.dtype) -> None:
    for name, child in module.named_children():
        if isinstance(child, PRODUCTS):
            for weight in child.parameters():
                if not bool(weight.to(dtype).isfinite().all()):
                    largest = float(weight.detach().abs().max())
                    raise ExportError(
                        f"a weight of {largest:.3g} does not fit into {dtype}; export bf16 or fp32"
                    )
            setattr(module, name, Product(child, dtype))
        elif isinstance(child, NORMS):
            setattr(module, name, Norm(child))
        elif any(True for _ in child.parameters(recurse=False)):
            raise ExportError(
                f"it is not known which precision a {type(child).__name__} stands; export the network in fp32"
            )
        else:
            _replace(child, dtype)


class _Arithmetic(TorchFunctionMode):
    """Softmax in fp32 and, where asked for, attention as its products: MatMul, Softmax, MatMul."""

    def __init__(self, plain: bool) -> None:
        super().__init__()
        self.plain = plain

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if self.plain and func is F.scaled_dot_product_attention:
            return _attention(*args, **kwargs)
        if func in SOFTMAXES and args and args[0].dtype != torch.float32:
            return func(args[0].float(), *args[1:], **kwargs).to(args[0].dtype)
        return func(*args, **kwargs)


def _attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    **others: Any,
) -> Tensor:
    """As ``scaled_dot_product_attention``; the query is scaled before the product, which fp16 might not hold."""
    if attn_mask is not None or dropout_p or is_causal or any(others.values()):
        raise ExportError("attention with a mask or dropout cannot be written out; export it fused")
    scale = query.shape[-1] ** -0.5 if scale is None else scale
    logits = (query * scale) @ key.transpose(-2, -1)
    return logits.float().softmax(dim=-1).to(value.dtype) @ value
