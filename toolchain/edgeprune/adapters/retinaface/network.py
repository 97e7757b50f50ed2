"""The network of RetinaFace-MobileNet0.25; its names and shapes are those of the published weights.

MobileNetV1 of width 0.25 (arXiv 1704.04861), a feature pyramid (arXiv 1612.03144) of three levels, and on
each an SSH context module (arXiv 1708.03979) with heads for two anchors a cell.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import torch
from torch import nn
from torch.nn import functional

from edgeprune.models.droppable import Droppable

ANCHORS = 2
"""Anchors a cell."""
WIDTHS = (8, 16, 32, 32, 64, 64, 128, 128, 128, 128, 128, 128, 256, 256)
"""Channels after each block of the backbone."""
_STRIDES = (2, 1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1)
_STAGES = (slice(0, 6), slice(6, 12), slice(12, 14))
_CHANNELS = 64


class RetinaFace(nn.Module):
    """Images to box offsets, logits and landmark offsets of every anchor; `priors.py` reads them."""

    def __init__(self) -> None:
        super().__init__()
        self.body = Backbone()
        self.fpn = Pyramid([WIDTHS[stage.stop - 1] for stage in _STAGES])
        self.ssh1, self.ssh2, self.ssh3 = Context(), Context(), Context()
        levels = range(len(_STAGES))
        self.ClassHead = nn.ModuleList(Head(2) for _ in levels)
        self.BboxHead = nn.ModuleList(Head(4) for _ in levels)
        self.LandmarkHead = nn.ModuleList(Head(10) for _ in levels)

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Map float32 (n, 3, h, w), BGR less the means, to box offsets, logits and landmark offsets.

        Returns:
            (n, anchors, 4), (n, anchors, 2) of background and face, and (n, anchors, 10), in the order of
            `prior_boxes`.
        """
        features = features_of(self, images)
        boxes, logits, landmarks = (
            torch.cat([head(level) for head, level in zip(heads, features, strict=True)], 1)
            for heads in (self.BboxHead, self.ClassHead, self.LandmarkHead)
        )
        return boxes, logits, landmarks


def features_of(network: nn.Module, images: torch.Tensor) -> list[torch.Tensor]:
    """Map (n, 3, h, w) to the features that the heads of a network read, of strides 8, 16 and 32."""
    parts = cast(RetinaFace, network)
    pyramid = parts.fpn(parts.body(images))
    return [ssh(level) for ssh, level in zip((parts.ssh1, parts.ssh2, parts.ssh3), pyramid, strict=True)]


class Backbone(nn.Module):
    """MobileNetV1 of width 0.25; gives the features of its three stages."""

    def __init__(self) -> None:
        super().__init__()
        before = (3, *WIDTHS)
        blocks = [
            Separable(into, out, stride) if index else _conv(into, out, 3, stride)
            for index, (into, out, stride) in enumerate(zip(before, WIDTHS, _STRIDES, strict=False))
        ]
        self.stage1, self.stage2, self.stage3 = (nn.Sequential(*blocks[stage]) for stage in _STAGES)

    def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
        """Map (n, 3, h, w) to features of strides 8, 16 and 32."""
        first = self.stage1(images)
        second = self.stage2(first)
        return [first, second, self.stage3(second)]


class Separable(nn.Sequential, Droppable):
    """A depthwise 3x3 and a 1x1 convolution, each with batch norm and ReLU."""

    def __init__(self, into: int, out: int, stride: int) -> None:
        super().__init__(*_conv(into, into, 3, stride, groups=into), *_conv(into, out, 1))

    @property
    def keeps_shape(self) -> bool:
        """Whether it has stride 1 and as many channels out as in."""
        depthwise, pointwise = cast(nn.Conv2d, self[0]), cast(nn.Conv2d, self[3])
        return depthwise.stride == (1, 1) and depthwise.in_channels == pointwise.out_channels


class Pyramid(nn.Module):
    """Brings the features of three levels to one width, and adds coarse ones to fine ones."""

    def __init__(self, widths: list[int]) -> None:
        super().__init__()
        self.output1, self.output2, self.output3 = (_conv(width, _CHANNELS, 1) for width in widths)
        self.merge1, self.merge2 = (_conv(_CHANNELS, _CHANNELS, 3) for _ in range(2))

    def forward(self, features: list[torch.Tensor]) -> list[torch.Tensor]:
        """Map features of three levels to as many of one width."""
        first, second, third = (
            lateral(level)
            for lateral, level in zip((self.output1, self.output2, self.output3), features, strict=True)
        )
        second = self.merge2(second + _enlarged(third, second))
        first = self.merge1(first + _enlarged(second, first))
        return [first, second, third]


def _enlarged(features: torch.Tensor, to: torch.Tensor) -> torch.Tensor:
    return functional.interpolate(features, size=to.shape[2:], mode="nearest")


class Context(nn.Module):
    """SSH: a 3x3, a 5x5 and a 7x7, the larger ones as 3x3 in a row; one ReLU after their concatenation."""

    def __init__(self) -> None:
        super().__init__()
        half, quarter = _CHANNELS // 2, _CHANNELS // 4
        self.conv3X3 = _conv(_CHANNELS, half, 3, activation=None)
        self.conv5X5_1 = _conv(_CHANNELS, quarter, 3)
        self.conv5X5_2 = _conv(quarter, quarter, 3, activation=None)
        self.conv7X7_2 = _conv(quarter, quarter, 3)
        self.conv7x7_3 = _conv(quarter, quarter, 3, activation=None)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (n, c, h, w) to features of the same height and width."""
        shared = self.conv5X5_1(x)
        parts = (self.conv3X3(x), self.conv5X5_2(shared), self.conv7x7_3(self.conv7X7_2(shared)))
        return functional.relu(torch.cat(parts, 1))


class Head(nn.Module):
    """A 1x1 convolution to so many values for each of a cell's anchors."""

    def __init__(self, values: int) -> None:
        super().__init__()
        self.values = values
        self.conv1x1 = nn.Conv2d(_CHANNELS, ANCHORS * values, 1)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Map (n, c, h, w) to (n, h * w * anchors, values)."""
        found: torch.Tensor = self.conv1x1(features).permute(0, 2, 3, 1)
        return found.reshape(len(features), -1, self.values)


def _conv(
    into: int,
    out: int,
    kernel: int,
    stride: int = 1,
    groups: int = 1,
    activation: Callable[[], nn.Module] | None = nn.ReLU,
) -> nn.Sequential:
    layers = [
        nn.Conv2d(into, out, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(out),
    ]
    return nn.Sequential(*layers, *([activation()] if activation else []))
