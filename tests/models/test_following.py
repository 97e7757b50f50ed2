"""Blocks are judged by what they run: those whose channels stay apart are followed, all others named."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional

from edgeprune.core.errors import ModelError
from edgeprune.models.following import MARK, mark_followed

IMAGE = torch.rand(1, 3, 16, 16)


class Block(nn.Module):
    """A convolution of 8 channels, and what a test does with its result."""

    def __init__(self, does: Any, conv: nn.Module | None = None) -> None:
        super().__init__()
        self.conv = conv or nn.Conv2d(8, 8, 3, padding=1)
        self.does = does

    def forward(self, features: torch.Tensor) -> Any:
        return self.does(self.conv(features))


class Standardised(nn.Conv2d):
    """A convolution whose weight is computed from the others of its channel (as in BiT)."""

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        weight = self.weight - self.weight.mean((1, 2, 3), keepdim=True)
        return functional.conv2d(features, weight, self.bias, padding=1)


def excite(features: torch.Tensor) -> torch.Tensor:
    return features * features.mean((2, 3), keepdim=True).sigmoid()


def shuffle(features: torch.Tensor) -> torch.Tensor:
    split = features.view(1, 2, 4, 16, 16).transpose(1, 2)
    return split.reshape(1, 8, 16, 16)


FOLLOWED = {
    "squeeze and excitation": excite,
    "residual": lambda x: functional.hardswish(x) + x,
    "concatenation": lambda x: functional.max_pool2d(torch.cat((x, x * 2), 1), 2)[:, :16],
    "weights of a number": lambda x: x * torch.full((1, 1, 1, 1), 0.5),
}
LEFT_WHOLE = {
    "channel shuffle": (shuffle, "view"),
    "half of the channels": (lambda x: x[:, :4], "slice"),
    "split": (lambda x: torch.cat(x.chunk(2, 1)[::-1], 1), "split"),
    "one weight for all channels": (lambda x: x * x.mean(1, keepdim=True), "mean"),
    "attention": (lambda x: x.flatten(2).softmax(-1).view_as(x), "view"),
    "a constant for each channel": (lambda x: x * torch.rand(8, 1, 1), "mul"),
    "batches joined": (lambda x: torch.cat((x, x), 0), "cat"),
}


def judged(block: nn.Module) -> str:
    model = nn.Sequential(nn.Conv2d(3, 8, 1), block, nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()
    mark_followed(model, IMAGE, ())
    return str(getattr(block, MARK))


@pytest.mark.parametrize("name", FOLLOWED)
def test_channels_that_stay_apart_are_followed(name: str) -> None:
    assert judged(Block(FOLLOWED[name])) == ""


@pytest.mark.parametrize("name", LEFT_WHOLE)
def test_channels_that_are_mixed_leave_the_block_whole(name: str) -> None:
    does, said = LEFT_WHOLE[name]
    assert judged(Block(does)).startswith(said)


def test_a_layer_norm_and_a_computed_weight_are_left_whole() -> None:
    assert judged(nn.LayerNorm((8, 16, 16))) == "native_layer_norm"
    block = Block(nn.ReLU(), Standardised(8, 8, 3))
    assert judged(block) == ""
    assert getattr(block.conv, MARK) == "convolution"


class Head(nn.Module):
    """A network that rearranges in its own forward pass, before or behind its last layer."""

    def __init__(self, early: bool) -> None:
        super().__init__()
        self.body, self.last, self.early = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 1), early

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        features = self.body(images)
        return self.last(features.flip(1)) if self.early else self.last(features).flip(1)


def test_what_a_network_does_with_its_outputs_is_free_but_not_what_it_does_before() -> None:
    late, early = Head(early=False).eval(), Head(early=True).eval()
    mark_followed(late, IMAGE, [late.last])
    assert getattr(late, MARK) == ""
    with pytest.raises(
        ModelError, match=r"Head: its own forward pass runs 'flip'.*a block \(an nn\.Module\)"
    ):
        mark_followed(early, IMAGE, [early.last])
