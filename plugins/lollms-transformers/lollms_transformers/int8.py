"""8-bit linear layers for CPUs: weights quantized per output channel, activations per call.

On a CPU one stream is limited by reading the weights from memory; a quarter of the bytes is what makes it faster. The
kernels are those of torch's own dynamic quantization; its conversion tool is deprecated, so layers are swapped here.
"""

from __future__ import annotations

from typing import Any

import torch

from lollms_core import ConfigurationError
from lollms_transformers.advice import advice_withheld

__all__ = ["Int8Linear", "quantize"]


class Int8Linear(torch.nn.Module):
    """Stands in for a `torch.nn.Linear`; inference only, float32 in and out."""

    def __init__(self, linear: torch.nn.Linear) -> None:
        super().__init__()
        self.in_features = linear.in_features
        self.out_features = linear.out_features
        weight = linear.weight.detach().float()
        scales = (weight.abs().amax(dim=1) / 127).clamp_min(1e-8).double()
        with advice_withheld():  # quantized tensor types are deprecated, their kernels are not
            quantized = torch.quantize_per_channel(
                weight, scales, torch.zeros_like(scales, dtype=torch.long), 0, torch.qint8
            )
        bias = None if linear.bias is None else linear.bias.detach().float()
        self._packed = torch.ops.quantized.linear_prepack(quantized, bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        # Seven bits for activations: with eight, CPUs without VNNI overflow in the multiplication.
        y: torch.Tensor = torch.ops.quantized.linear_dynamic(x, self._packed, True)
        return y

    def extra_repr(self) -> str:
        return f"in_features={self.in_features}, out_features={self.out_features}"


def quantize(model: Any) -> None:
    """Replace every linear layer of a float32 model in place; embeddings and norms stay as they are."""
    if model.dtype is not torch.float32:
        raise ConfigurationError("quantization='int8' computes in float32", hint="Leave dtype at 'auto' or 'float32'.")
    if not hasattr(torch.ops.quantized, "linear_dynamic") or torch.backends.quantized.engine == "none":
        raise ConfigurationError(
            f"torch {torch.__version__} has no int8 kernels for this CPU", hint="Leave quantization unset."
        )
    _replace(model)


def _replace(module: torch.nn.Module) -> None:
    for name, child in list(module.named_children()):
        if type(child) is torch.nn.Linear:
            setattr(module, name, Int8Linear(child))
        else:
            _replace(child)
