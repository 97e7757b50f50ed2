"""Tiny classic YOLOv5 networks with lively batch norms, as their repository builds them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from benchmarks.classic import make_network

from conftest import NAMES, lively
from edgeprune.models.anchors import AnchorModel

DATA = Path(__file__).parent / "data" / "yolov5"
"""A network that PyPI's yolov5 trained, some pictures, and what that package computes of both."""
WIDTH = {"scales": {"n": [0.33, 0.0625, 1024]}}
_HEAD = [
    [-1, 1, "Conv", [512, 1, 1]],
    [-1, 1, "nn.Upsample", [None, 2, "nearest"]],
    [[-1, 6], 1, "Concat", [1]],
    [-1, 3, "BottleneckCSP", [512, False]],
    [[4, 12, 8], 1, "Detect", ["nc"]],
]
OLD: dict[str, Any] = WIDTH | {
    "backbone": [
        [-1, 1, "Focus", [64, 3]],
        [-1, 1, "Conv", [128, 3, 2]],
        [-1, 3, "C3", [128]],
        [-1, 1, "Conv", [256, 3, 2]],
        [-1, 9, "BottleneckCSP", [256]],
        [-1, 1, "Conv", [512, 3, 2]],
        [-1, 9, "C3", [512]],
        [-1, 1, "Conv", [1024, 3, 2]],
        [-1, 1, "SPP", [1024, [5, 9, 13]]],
    ],
    "head": _HEAD,
}
"""Blocks of v5.0 and before: Focus, BottleneckCSP and SPP."""
FORMS: dict[str, dict[str, Any]] = {"v6": WIDTH, "v5": OLD}


def made_classic(form: str = "v6") -> AnchorModel:
    """Return a seeded network of three classes for 64 px."""
    torch.manual_seed(0)
    model = make_network("yolov5n", NAMES, 64, FORMS[form])
    lively(model)
    model.hyp["fliplr"] = 0.0
    return model
