"""Blocks with a convolution for each branch, so that a dependency graph can trace and prune them.

Ultralytics' C2, C2f, C3k2, C2PSA, PSA, RepNCSPELAN4, ELAN1 and CBLinear compute several branches with one
convolution and cut its output. torch-pruning cannot follow that cut (Torch-Pruning#147: IndexError on v8,
endless search on 11 and 26). Cutting the convolution's weights instead gives the same function, bit for bit,
and lets the branches have widths of their own.

A checkpoint of a pruned model names these classes, so their import path is part of its format.
"""

from __future__ import annotations

import copy
from collections.abc import Collection
from itertools import pairwise
from typing import Any

import torch
from torch import nn
from ultralytics.nn.modules.block import C2, C2PSA, PSA, C2f, CBLinear, RepNCSPELAN4
from ultralytics.nn.modules.conv import Conv

_LAYER_ATTRIBUTES = ("i", "f", "type", "np")  # what ultralytics' model.forward reads of a top-level layer


class _SplitInput(nn.Module):
    """A CSP block with its input convolution cut in two; the rest is taken over as it is."""

    cv0: Any
    cv1: Any
    cv2: Any
    cv3: Any
    cv4: Any
    m: Any
    attn: Any
    ffn: Any

    def __init__(self, block: Any) -> None:
        super().__init__()
        self.cv0, self.cv1 = split_conv(block.cv1)
        for name, child in block.named_children():
            if name != "cv1":
                setattr(self, name, child)
        copy_layer_attributes(block, self)


class SplitC2f(_SplitInput):
    """C2f or C3k2 with its input convolution cut into `cv0` (passed on) and `cv1` (into the inner blocks)."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (n, c_in, h, w) to (n, c_out, h, w)."""
        y = [self.cv0(x), self.cv1(x)]
        for block in self.m:
            if not passes_on(block):  # `cv2` has no slice for what is there already
                y.append(block(y[-1]))
        out: torch.Tensor = self.cv2(torch.cat(y, 1))
        return out


class SplitC2(_SplitInput):
    """C2 with its input convolution cut into `cv0` (into the inner blocks) and `cv1` (passed on)."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (n, c_in, h, w) to (n, c_out, h, w)."""
        out: torch.Tensor = self.cv2(torch.cat((self.m(self.cv0(x)), self.cv1(x)), 1))
        return out


class SplitC2PSA(_SplitInput):
    """C2PSA with its input convolution cut into `cv0` (passed on) and `cv1` (fed to the attention blocks)."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (n, c, h, w) to the same shape."""
        out: torch.Tensor = self.cv2(torch.cat((self.cv0(x), self.m(self.cv1(x))), 1))
        return out


class SplitPSA(_SplitInput):
    """PSA with its input convolution cut into `cv0` (passed on) and `cv1` (fed to the attention)."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (n, c, h, w) to the same shape."""
        y = self.cv1(x)
        y = y + self.attn(y)
        y = y + self.ffn(y)
        out: torch.Tensor = self.cv2(torch.cat((self.cv0(x), y), 1))
        return out


class SplitELAN(_SplitInput):
    """RepNCSPELAN4 or ELAN1 with its input convolution cut into `cv0` (passed on) and `cv1` (into `cv2`)."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (n, c_in, h, w) to (n, c_out, h, w)."""
        y = [self.cv0(x), self.cv1(x)]
        y.append(self.cv2(y[-1]))
        y.append(self.cv3(y[-1]))
        out: torch.Tensor = self.cv4(torch.cat(y, 1))
        return out


class SplitCBLinear(nn.Module):
    """CBLinear with a convolution for each of its outputs."""

    def __init__(self, block: Any) -> None:
        super().__init__()
        starts = [sum(block.c2s[:index]) for index in range(len(block.c2s) + 1)]
        self.convs = nn.ModuleList(
            _slice_conv(block.conv, slice(start, end)) for start, end in pairwise(starts)
        )
        copy_layer_attributes(block, self)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Map (n, c_in, h, w) to one (n, c, h, w) an output, each c its own."""
        return tuple(conv(x) for conv in self.convs)


_SPLIT: dict[type[nn.Module], Any] = {
    SplitC2f: C2f,
    SplitC2: C2,
    SplitC2PSA: C2PSA,
    SplitPSA: PSA,
    SplitELAN: RepNCSPELAN4,
    SplitCBLinear: CBLinear,
}


def passes_on(module: nn.Module, name: str = "", dropped: Collection[str] = ()) -> bool:
    """Tell whether a module gives what it gets: an identity, or a sequence of nothing else.

    Args:
        name: of the module.
        dropped: names of modules that count as identities too.
    """
    if isinstance(module, nn.Sequential):
        parts = module.named_children()
        return name in dropped or all(passes_on(part, f"{name}.{number}", dropped) for number, part in parts)
    return isinstance(module, nn.Identity) or name in dropped


def split_blocks(module: nn.Module) -> None:
    """Replace every block inside a module that has a split twin, and its kin, innermost first."""
    for name, child in module.named_children():
        split_blocks(child)
        # By the forward pass: some subclasses of C2f only fill it with other blocks, some have their own.
        twin = next((twin for twin, block in _SPLIT.items() if type(child).forward is block.forward), None)
        if twin is not None:
            setattr(module, name, twin(child))


def split_conv(conv: Conv) -> tuple[Conv, Conv]:
    """Cut a Conv (convolution, batch norm, activation) of 2c output channels into two of c channels each."""
    half = conv.conv.out_channels // 2
    return _slice(conv, slice(0, half)), _slice(conv, slice(half, None))


def _slice_conv(conv: nn.Conv2d, channels: slice) -> nn.Conv2d:
    part = copy.deepcopy(conv)
    part.weight = nn.Parameter(conv.weight.detach()[channels].clone())
    part.out_channels = part.weight.shape[0]
    if conv.bias is not None:
        part.bias = nn.Parameter(conv.bias.detach()[channels].clone())
    return part


def _slice(conv: Conv, channels: slice) -> Conv:
    part = copy.deepcopy(conv)
    part.conv = _slice_conv(conv.conv, channels)
    if not hasattr(conv, "bn"):  # a fused checkpoint
        part.forward = part.forward_fuse  # the copy's own method, not the original's
        return part
    for name in ("weight", "bias"):
        setattr(part.bn, name, nn.Parameter(getattr(conv.bn, name).detach()[channels].clone()))
    for name in ("running_mean", "running_var"):
        setattr(part.bn, name, getattr(conv.bn, name)[channels].clone())
    part.bn.num_features = part.conv.out_channels
    return part


def copy_layer_attributes(source: Any, target: Any) -> None:
    """Make a module the stand-in of another: its place in ultralytics' list of layers, its mode."""
    for name in _LAYER_ATTRIBUTES:
        if name in vars(source):  # `type` is also a method of every module
            setattr(target, name, getattr(source, name))
    target.training = source.training
