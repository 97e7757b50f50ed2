"""Blocks that the dependency graph cannot follow: found by their class before any cut, and left whole.

torch-pruning follows every operation of a forward pass. Where a block splits a tensor by its channels, or
groups or rearranges them, it fails, cuts what does not fit, or searches for minutes: a yolo12n took 7.5 GB.
So only what is proven is followed: the classes listed here, or what `following` has judged by its operations
and marked so. Any other block is one unit. While the graph is built,
convolutions that keep its inputs and outputs stand in for it, and no channel at either side is cut.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import nn
from torch.nn import functional

from edgeprune.models.blocks import copy_layer_attributes
from edgeprune.models.following import MARK
from edgeprune.prune.traceable import TRACEABLE, class_name, traceable

FOLLOWED: frozenset[str] = frozenset(
    {
        *(
            f"torch.nn.modules.activation.{name}"
            for name in (
                "ELU", "Hardsigmoid", "Hardswish", "LeakyReLU", "Mish",
                "ReLU", "ReLU6", "Sigmoid", "SiLU", "Tanh",
            )
        ),
        "torch.nn.modules.batchnorm.BatchNorm2d",
        "torch.nn.modules.container.ModuleList",
        "torch.nn.modules.container.Sequential",
        "torch.nn.modules.conv.Conv2d",
        "torch.nn.modules.conv.ConvTranspose2d",
        "torch.nn.modules.dropout.Dropout",
        "torch.nn.modules.linear.Identity",
        "torch.nn.modules.linear.Linear",
        "torch.nn.modules.padding.ZeroPad2d",
        "torch.nn.modules.pooling.AdaptiveAvgPool2d",
        "torch.nn.modules.pooling.AvgPool2d",
        "torch.nn.modules.pooling.MaxPool2d",
        "torch.nn.modules.upsampling.Upsample",
        "ultralytics.nn.modules.block.A2C2f",
        "ultralytics.nn.modules.block.ABlock",
        "ultralytics.nn.modules.block.AConv",
        "ultralytics.nn.modules.block.Bottleneck",
        "ultralytics.nn.modules.block.BottleneckCSP",
        "ultralytics.nn.modules.block.C1",
        "ultralytics.nn.modules.block.C3",
        "ultralytics.nn.modules.block.C3Ghost",
        "ultralytics.nn.modules.block.C3k",
        "ultralytics.nn.modules.block.C3x",
        "ultralytics.nn.modules.block.CIB",
        "ultralytics.nn.modules.block.DFL",
        "ultralytics.nn.modules.block.GhostBottleneck",
        "ultralytics.nn.modules.block.HGBlock",
        "ultralytics.nn.modules.block.HGStem",
        "ultralytics.nn.modules.block.PSABlock",
        "ultralytics.nn.modules.block.Proto",
        "ultralytics.nn.modules.block.Proto26",
        "ultralytics.nn.modules.block.RealNVP",
        "ultralytics.nn.modules.block.RepBottleneck",
        "ultralytics.nn.modules.block.RepC3",
        "ultralytics.nn.modules.block.RepCSP",
        "ultralytics.nn.modules.block.RepVGGDW",
        "ultralytics.nn.modules.block.ResNetBlock",
        "ultralytics.nn.modules.block.ResNetLayer",
        "ultralytics.nn.modules.block.SCDown",
        "ultralytics.nn.modules.block.SPP",
        "ultralytics.nn.modules.block.SPPELAN",
        "ultralytics.nn.modules.block.SPPF",
        "ultralytics.nn.modules.conv.Concat",
        "ultralytics.nn.modules.conv.Conv",
        "ultralytics.nn.modules.conv.ConvTranspose",
        "ultralytics.nn.modules.conv.DWConv",
        "ultralytics.nn.modules.conv.Focus",
        "ultralytics.nn.modules.conv.GhostConv",
        "ultralytics.nn.modules.conv.LightConv",
        "ultralytics.nn.modules.conv.RepConv",
        "ultralytics.nn.modules.head.Classify",
        "ultralytics.nn.modules.head.Detect",
        "ultralytics.nn.modules.head.v10Detect",
        "ultralytics.nn.modules.head.OBB",
        "ultralytics.nn.modules.head.OBB26",
        "ultralytics.nn.modules.head.Pose",
        "ultralytics.nn.modules.head.Pose26",
        "ultralytics.nn.modules.head.Segment",
        "ultralytics.nn.modules.head.Segment26",
        "ultralytics.nn.tasks.ClassificationModel",
        "ultralytics.nn.tasks.DetectionModel",
        "ultralytics.nn.tasks.OBBModel",
        "ultralytics.nn.tasks.PoseModel",
        "ultralytics.nn.tasks.SegmentationModel",
        "edgeprune.models.anchors.AnchorDetect",
        "edgeprune.models.blocks.SplitC2",
        "edgeprune.models.blocks.SplitC2PSA",
        "edgeprune.models.blocks.SplitC2f",
        "edgeprune.models.blocks.SplitCBLinear",
        "edgeprune.models.blocks.SplitELAN",
        "edgeprune.models.blocks.SplitPSA",
        "edgeprune.models.easing.Eased",
    }
)  # fmt: skip
"""Classes whose forward pass the dependency graph follows rightly; a class derived from one has its own.

`tests/prune/test_surgery_proof.py` cuts every group of networks made of them, and compares with masking.
"""
_WITH_TRAINING_BRANCH = frozenset({"ultralytics.nn.modules.block.Proto26"})


@contextmanager
def training_branches(model: nn.Module) -> Iterator[None]:
    """Let blocks also run what only a training needs, which has to lose the same channels.

    It is the semantic segmentation beside the prototypes of YOLO26's masks; the layers inside stay in eval
    mode.
    """
    blocks = [module for module in model.modules() if class_name(module) in _WITH_TRAINING_BRANCH]
    before = [block.training for block in blocks]
    for block in blocks:
        block.training = True
    try:
        yield
    finally:
        for block, mode in zip(blocks, before, strict=True):
            block.training = mode


def whole_blocks(model: nn.Module) -> list[str]:
    """Name the outermost blocks of a network that have to be left whole, in its order."""
    names: list[str] = []
    for name, module in model.named_modules():
        inside = any(name.startswith(f"{owner}.") for owner in names)
        if name and not inside and not _is_followed(module):
            names.append(name)
    return names


def _is_followed(module: nn.Module) -> bool:
    if MARK in vars(module):
        return not getattr(module, MARK)
    name = class_name(module)
    return name in FOLLOWED or name in TRACEABLE


def describe_blocks(model: nn.Module, names: Sequence[str]) -> tuple[str, ...]:
    """Return blocks with the names of their classes, as the report tells them."""
    return tuple(f"{name} ({type(model.get_submodule(name)).__name__})" for name in names)


class StandIn(nn.Module):
    """Takes what a block takes and gives what it gives, in shape; each channel depends on all others.

    Attributes:
        ways: one convolution an output and input, side by side.
        sizes: of each output, what follows its channels: height and width, mostly.
        alone: whether the block gives a tensor and not a list of them.
    """

    def __init__(self, inputs: Sequence[torch.Tensor], outputs: Sequence[torch.Tensor], alone: bool) -> None:
        super().__init__()
        self.ways = nn.ModuleList(
            nn.ModuleList(nn.Conv2d(source.shape[1], target.shape[1], 1) for source in inputs)
            for target in outputs
        )
        self.sizes = [target.shape[2:] for target in outputs]
        self.alone = alone

    def forward(self, *features: Any) -> Any:
        """Map one (n, c, h, w), or lists of them, to what the block would give."""
        sources = [_as_map(source) for source in _tensors(features)]
        outputs = []
        for ways, size in zip(self.ways, self.sizes, strict=True):
            parts = [
                functional.interpolate(way(source), size=_height_width(size))
                for way, source in zip(cast(nn.ModuleList, ways), sources, strict=True)
            ]
            total = parts[0]
            for part in parts[1:]:
                total = total + part
            outputs.append(total if len(size) == 2 else total.reshape(*total.shape[:2], *size))
        return outputs[0] if self.alone else outputs


def _as_map(features: torch.Tensor) -> torch.Tensor:
    """Return features of any number of dimensions, the channels second, as (n, c, h, w)."""
    if features.dim() == 4:
        return features
    return features.reshape(*features.shape[:2], *_height_width(features.shape[2:]))


def _height_width(size: Sequence[int]) -> tuple[int, int]:
    return (size[0], size[1]) if len(size) == 2 else (math.prod(size), 1)


def _tensors(value: Any) -> list[torch.Tensor]:
    """Return the tensors of nested lists, in order: YOLOv9's CBFuse takes what several CBLinear give."""
    if isinstance(value, torch.Tensor):
        return [value]
    return [one for part in value for one in _tensors(part)] if isinstance(value, list | tuple) else []


@contextmanager
def standing_in(model: nn.Module, example: torch.Tensor) -> Iterator[None]:
    """Let a network be followed for as long as the context is open.

    Stand-ins take the places of blocks that are left whole; traceable forms those of blocks that have one.

    Args:
        example: one input, float32 (1, 3, H, W), by which the shapes are found.
    """
    whole = {name: model.get_submodule(name) for name in whole_blocks(model)}
    seen = _shapes(model, whole, example) if whole else {}
    places: dict[str, nn.Module] = {name: StandIn(*shapes).to(example.dtype) for name, shapes in seen.items()}
    places |= {
        name: form
        for name, module in model.named_modules()
        if not any(name.startswith(f"{owner}.") for owner in whole)
        and (form := traceable(module)) is not None
    }
    blocks = {name: model.get_submodule(name) for name in places}
    try:
        for name, place in places.items():
            copy_layer_attributes(blocks[name], place)
            model.set_submodule(name, place)
        yield
    finally:
        for name, block in blocks.items():
            model.set_submodule(name, block)


def _shapes(
    model: nn.Module, blocks: dict[str, nn.Module], example: torch.Tensor
) -> dict[str, tuple[list[torch.Tensor], list[torch.Tensor], bool]]:
    """Return what each block takes and gives on an example: its tensors, and whether it gives one alone."""
    seen: dict[str, tuple[list[torch.Tensor], list[torch.Tensor], bool]] = {}

    def watch(name: str) -> Any:
        def note(_: nn.Module, arguments: tuple[Any, ...], output: Any) -> None:
            seen[name] = (_tensors(arguments), _tensors(output), isinstance(output, torch.Tensor))

        return note

    hooks = [block.register_forward_hook(watch(name)) for name, block in blocks.items()]
    try:
        with torch.no_grad():
            model(example)
    finally:
        for hook in hooks:
            hook.remove()
    return seen
