"""Networks of every family that ultralytics ships, tiny, and one of blocks that no family is made of."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
import ultralytics
import yaml
from torch import nn
from ultralytics.nn.tasks import (
    ClassificationModel,
    DetectionModel,
    OBBModel,
    PoseModel,
    SegmentationModel,
)

from conftest import lively

FOLDER = Path(ultralytics.__file__).parent / "cfg" / "models"
CLASSES = 3
MAKERS: dict[str, Any] = {
    "-cls": ClassificationModel,
    "-obb": OBBModel,
    "-pose": PoseModel,
    "-seg": SegmentationModel,
}
"""Who makes a network, by a part of the name of its file; of plain detectors it is DetectionModel."""
_NARROWER = 4
_NANO = (0.33, 0.25, 1024)
"""Depth, width and most channels, the latter before they are multiplied by the width."""
_WIDE = ("yolov9m", "yolov9c", "yolov9e")
"""What has no scales, and more channels than are needed here."""
ODD: dict[str, Any] = {
    "backbone": [
        [-1, 1, "Conv", [16, 3, 2]],
        [-1, 1, "Focus", [32, 3]],
        [-1, 1, "GhostConv", [32, 3]],
        [-1, 2, "BottleneckCSP", [32]],
        [-1, 1, "HGStem", [16, 32]],
        [-1, 3, "HGBlock", [16, 64, 3, True, False]],
        [-1, 3, "HGBlock", [16, 64, 3, False, True]],
        [-1, 2, "RepC3", [48]],
        [-1, 1, "ConvTranspose", [48, 2, 2]],
        [-1, 1, "C1", [32]],
        [-1, 2, "C2", [64]],
        [-1, 1, "Bottleneck", [64]],
        [-1, 1, "GhostBottleneck", [64, 3, 2]],
        [-1, 2, "C3x", [64]],
        [-1, 2, "C2fPSA", [64]],
    ],
    "head": [[[9, 14], 1, "Detect", ["nc"]]],
}
"""A network of blocks that ultralytics offers and ships in no detector."""


def described(stem: str) -> dict[str, Any]:
    """Return a shipped model's description, a third as deep and a quarter as wide as its largest.

    Args:
        stem: of its YAML file. A letter behind a comma is the name of its scale, as in ``yolo12,l``: large
            ones are made of other blocks.
    """
    stem, _, scale = stem.partition(",")
    if stem == "odd":
        return {"nc": CLASSES, "yaml_file": "odd.yaml", **deepcopy(ODD)}
    path = next(FOLDER.rglob(f"{stem}.yaml"))
    config: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    config["yaml_file"], config["nc"] = path.name, CLASSES
    if "scales" in config:
        config["scale"] = scale or next(iter(config["scales"]))
        config["scales"] = {config["scale"]: _NANO}
    elif stem.startswith("yolov3"):
        config["depth_multiple"], config["width_multiple"] = _NANO[:2]
    for layer in (*config["backbone"], *config["head"]):
        if layer[2] == "ResNetLayer" or stem in _WIDE:
            layer[3] = _narrowed(layer[3])
        if layer[2] == "RepNCSPELAN4":
            layer[3][3:] = [1]
    return config


def _narrowed(value: Any) -> Any:
    if isinstance(value, list):
        return [_narrowed(one) for one in value]
    return value // _NARROWER if type(value) is int and value > 16 else value


def network(stem: str) -> nn.Module:
    """Return a seeded network of a family, in eval mode, for the task that the name of its file tells."""
    torch.manual_seed(0)
    maker = next((maker for part, maker in MAKERS.items() if part in stem), DetectionModel)
    model = maker(described(stem), nc=CLASSES, verbose=False).eval()
    for module in model.modules():
        if isinstance(getattr(module, "act", None), nn.ReLU):
            module.act = nn.SiLU()  # of which no channel is 0 for all pixels
    lively(model)
    return model
