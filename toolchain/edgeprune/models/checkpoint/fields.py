"""The classes that a network may be made of, and of each the fields that are taken from the file.

A field that is not listed is left out: ultralytics derives it again, or no code reads it. The layers of torch
itself are not listed by field, since `layers` makes them with torch's own constructors from checked numbers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

Check = Callable[[Any], bool]
MOST_WIDTH = 65_536


def flag(value: Any) -> bool:
    """Tell whether a value is a yes or no."""
    return type(value) is bool


def few(value: Any) -> bool:
    """Tell whether a value is a number that a loop may count to."""
    return type(value) is int and 0 <= value <= 16


def width(value: Any) -> bool:
    """Tell whether a value is a possible number of channels."""
    return type(value) is int and 0 < value <= MOST_WIDTH


def axis(value: Any) -> bool:
    """Tell whether a value is an axis of a feature map."""
    return type(value) is int and -4 <= value <= 3


def real(value: Any) -> bool:
    """Tell whether a value is a finite number."""
    return type(value) in (int, float) and math.isfinite(value) and abs(value) < 1e6


def places(value: Any) -> bool:
    """Tell whether a value is a list of places in a list of feature maps."""
    return type(value) is list and 0 < len(value) <= 16 and all(map(few, value))


def widths(value: Any) -> bool:
    """Tell whether a value is a list of numbers of channels."""
    return type(value) in (list, tuple) and 0 < len(value) <= 16 and all(map(width, value))


def keypoint_shape(value: Any) -> bool:
    """Tell whether a value says how many keypoints an object has, and how many numbers each: two or three."""
    return type(value) in (list, tuple) and len(value) == 2 and width(value[0]) and value[1] in (2, 3)


def nothing(value: Any) -> bool:
    """Tell whether a value is None."""
    return value is None


_HEAD: dict[str, Check] = {
    "nc": width,
    "reg_max": width,
    "max_det": width,
    "agnostic_nms": flag,
    "xyxy": flag,
    "inplace": flag,
    "_end2end": flag,
}
_ATTENTION: dict[str, Check] = {"num_heads": width, "head_dim": width, "key_dim": width, "scale": real}
_HIDDEN: dict[str, Check] = {"c": width}
_BLOCKS: dict[str, dict[str, Check]] = {
    "A2C2f": {"gamma": nothing},
    "AAttn": {"area": few, "num_heads": width, "head_dim": width, "all_head_dim": width},
    "ABlock": {},
    "AConv": {},
    "ADown": _HIDDEN,
    "Attention": _ATTENTION,
    "Bottleneck": {"add": flag},
    "BottleneckCSP": {},
    "C1": {},
    "C2": _HIDDEN,
    "C2PSA": _HIDDEN,
    "C2f": _HIDDEN,
    "C2fCIB": _HIDDEN,
    "C2fPSA": _HIDDEN,
    "C3": {},
    "C3Ghost": {},
    "C3f": {},
    "C3k": {},
    "C3k2": _HIDDEN,
    "C3x": {"c_": width},
    "CBFuse": {"idx": places},
    "CBLinear": {"c2s": widths},
    "CIB": {"add": flag},
    "DFL": {"c1": width},
    "ELAN1": _HIDDEN,
    "GhostBottleneck": {},
    "HGBlock": {"add": flag},
    "HGStem": {},
    "PSA": _HIDDEN,
    "PSABlock": {"add": flag},
    "Proto": {},
    "Proto26": {},
    "RealNVP": {},
    "RepBottleneck": {"add": flag},
    "RepC3": {},
    "RepCSP": {},
    "RepNCSPELAN4": _HIDDEN,
    "RepVGGDW": {},
    "ResNetBlock": {},
    "ResNetLayer": {"is_first": flag},
    "SCDown": {},
    "SPP": {},
    "SPPELAN": _HIDDEN,
    "SPPF": {"n": few, "add": flag},
}
_CONVOLUTIONS: dict[str, dict[str, Check]] = {
    "CBAM": {},
    "ChannelAttention": {},
    "Concat": {"d": axis},
    "Conv": {},
    "Conv2": {},
    "ConvTranspose": {},
    "DWConv": {},
    "Focus": {},
    "GhostConv": {},
    "LightConv": {},
    "RepConv": {"bn": nothing},
    "SpatialAttention": {},
}
_ANCHORED: dict[str, dict[str, Check]] = {"AnchorDetect": {"nc": width}}
_MASKS: dict[str, Check] = {**_HEAD, "nm": width, "npr": width}
_KEYPOINTS: dict[str, Check] = {**_HEAD, "kpt_shape": keypoint_shape}
_ANGLES: dict[str, Check] = {**_HEAD, "ne": few}
_HEADS: dict[str, dict[str, Check]] = {
    "Classify": {},
    "Detect": _HEAD,
    "OBB": _ANGLES,
    "OBB26": _ANGLES,
    "Pose": _KEYPOINTS,
    "Pose26": _KEYPOINTS,
    "Segment": _MASKS,
    "Segment26": _MASKS,
    "v10Detect": _HEAD,
}
_OURS: dict[str, dict[str, Check]] = {
    name: {} for name in ("SplitC2", "SplitC2f", "SplitC2PSA", "SplitCBLinear", "SplitELAN", "SplitPSA")
}
_TORCH: dict[str, tuple[str, ...]] = {
    "activation": (
        "ELU", "Hardsigmoid", "Hardswish", "LeakyReLU", "Mish", "ReLU", "ReLU6", "Sigmoid", "SiLU", "Tanh",
    ),
    "batchnorm": ("BatchNorm2d",),
    "container": ("ModuleList", "Sequential"),
    "conv": ("Conv2d", "ConvTranspose2d"),
    "dropout": ("Dropout",),
    "linear": ("Identity", "Linear"),
    "padding": ("ZeroPad2d",),
    "pooling": ("AdaptiveAvgPool2d", "AvgPool2d", "MaxPool2d"),
    "upsampling": ("Upsample",),
}  # fmt: skip

ANCHORED = "edgeprune.models.anchors.AnchorModel"
"""A classic YOLOv5."""
NETWORKS: Mapping[str, str] = MappingProxyType(
    {
        ANCHORED: "detect",
        "ultralytics.nn.tasks.ClassificationModel": "classify",
        "ultralytics.nn.tasks.DetectionModel": "detect",
        "ultralytics.nn.tasks.OBBModel": "obb",
        "ultralytics.nn.tasks.PoseModel": "pose",
        "ultralytics.nn.tasks.SegmentationModel": "segment",
    }
)
"""What a checkpoint's whole network may be, and ultralytics' own word for what it does."""
KNOWN: Mapping[str, Mapping[str, Check]] = MappingProxyType(
    {f"ultralytics.nn.modules.block.{name}": fields for name, fields in _BLOCKS.items()}
    | {f"ultralytics.nn.modules.conv.{name}": fields for name, fields in _CONVOLUTIONS.items()}
    | {f"ultralytics.nn.modules.head.{name}": fields for name, fields in _HEADS.items()}
    | {f"edgeprune.models.blocks.{name}": fields for name, fields in _OURS.items()}
    | {f"edgeprune.models.anchors.{name}": fields for name, fields in _ANCHORED.items()}
    | {f"torch.nn.modules.{module}.{name}": {} for module, names in _TORCH.items() for name in names}
    | {name: {} for name in NETWORKS}
)
"""Every class that a checkpoint may hold, by its whole name, with the fields that are taken over."""

OWN_TENSORS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "edgeprune.models.anchors.AnchorDetect": ("anchors",),
        "ultralytics.nn.modules.block.A2C2f": ("gamma",),
        "ultralytics.nn.modules.block.RealNVP": ("loc", "cov", "mask"),
    }
)
"""Parameters and buffers that a class other than torch's holds itself."""
DERIVED_TENSORS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {"edgeprune.models.anchors.AnchorDetect": ("anchor_grid",)}
)
"""Those that a file may hold and that are left out, as they follow from the others."""
