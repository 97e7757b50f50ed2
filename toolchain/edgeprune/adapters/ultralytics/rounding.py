"""Rounding as int8 will round, in training: a layer learns weights that lose little by it.

The straight-through estimator of Jacob et al. (arXiv 1712.05877, section 3): forward, weights and inputs of a
layer are rounded to their 8-bit grids; backward, the rounding is the identity inside the range and 0 outside.
A weight has one symmetric scale for each output channel. That scale follows a factor of the channel, so what
batch norm multiplies a channel by later, folded into the weight, changes nothing: no layer is folded here.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

MOMENTUM = 0.05  # of the moving ranges
WEIGHTED = (nn.Conv2d, nn.Linear)


class MovingRange(nn.Module):
    """Rounds a tensor to 8 bits, in a range that follows its batches in training.

    Attributes:
        low, high: float32 scalars, moving averages of what the batches reach to.
        symmetric: whether the zero point is 0 (s8), or anywhere (u8).
    """

    low: torch.Tensor
    high: torch.Tensor

    def __init__(self, symmetric: bool) -> None:
        super().__init__()
        self.symmetric = symmetric
        self.register_buffer("low", torch.zeros(()))
        self.register_buffer("high", torch.zeros(()))

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """Return the values rounded, of the same shape; as they are where no batch has told a range yet."""
        if self.training:
            low, high = torch.aminmax(values.detach())
            share = MOMENTUM if self.high > self.low else 1.0
            self.low.lerp_(low.clamp(max=0).float(), share)
            self.high.lerp_(high.clamp(min=0).float(), share)
        width = self.high - self.low
        if width == 0:
            return values
        if self.symmetric:
            scale = torch.maximum(self.high, -self.low) / 127
            zero = torch.zeros((), dtype=torch.int32, device=values.device)
            return torch.fake_quantize_per_tensor_affine(values, scale, zero, -128, 127)
        scale = width / 255
        zero = (-self.low / scale).round().clamp(0, 255).to(torch.int32)
        return torch.fake_quantize_per_tensor_affine(values, scale, zero, 0, 255)


class Rounded(nn.Module):
    """A convolution or linear layer whose weight and input are rounded to 8 bits.

    Attributes:
        layer: the layer itself; its weight stays in float32.
    """

    def __init__(self, layer: nn.Module, symmetric: bool) -> None:
        super().__init__()
        self.layer = layer
        self.range = MovingRange(symmetric)

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        """Return the layer's output for rounded input and weight."""
        changed = {"weight": rounded_weight(self.layer.get_parameter("weight"))}
        rounded = self.range(values.float())  # a layer before may compute in half precision (AMP)
        output: torch.Tensor = torch.func.functional_call(self.layer, changed, (rounded,))
        return output

    def __getattr__(self, name: str) -> Any:
        """Return what the layer has (its sizes, its weight): frameworks ask for it in the layer's place."""
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("layer"), name)


def rounded_weight(weight: torch.Tensor) -> torch.Tensor:
    """Return a weight (channels, ...) rounded to 255 levels a channel, from -127 to 127 times its scale."""
    largest = weight.detach().flatten(1).abs().amax(1).clamp(min=1e-12)
    zeros = torch.zeros(len(weight), dtype=torch.int32, device=weight.device)
    return torch.fake_quantize_per_channel_affine(weight, largest / 127, zeros, 0, -127, 127)


def round_layers(model: nn.Module, symmetric: bool) -> int:
    """Make every layer with a trained weight round, in place; return how many do.

    Args:
        symmetric: of the inputs' ranges, see `MovingRange`. A layer whose weight takes no gradient (the
            bins of a distribution) stays as it is.
    """
    layers = [
        (name, module)
        for name, module in model.named_modules()
        if isinstance(module, WEIGHTED) and module.weight.requires_grad
    ]
    for name, module in layers:
        model.set_submodule(name, Rounded(module, symmetric))
    return len(layers)


def unround_layers(model: nn.Module) -> None:
    """Put the layers themselves back, in place."""
    for name, module in list(model.named_modules()):
        if isinstance(module, Rounded):
            model.set_submodule(name, module.layer)
