"""A fresh classic YOLOv5 network, as the repository's own `models/yolov5*.yaml` describe it (v6.0 to v7.0).

`benchmarks/yolov5_slim.py` trains one where no checkpoint is given, and tests make tiny ones.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
from torch import nn
from ultralytics.nn.modules.block import SPPF
from ultralytics.nn.tasks import DetectionModel, yaml_model_load

from edgeprune.models.anchor_loss import usual_gains
from edgeprune.models.anchors import AnchorDetect, AnchorModel

ANCHORS = (
    (10, 13, 16, 30, 33, 23),
    (30, 61, 62, 45, 59, 119),
    (116, 90, 156, 198, 373, 326),
)
"""Of COCO at 640 px, as the repository has them: width and height of three anchors a level, in pixels."""


def make_network(
    name: str, names: Sequence[str], imgsz: int, config: Mapping[str, Any] | None = None
) -> AnchorModel:
    """Return a network with random weights, in eval mode.

    Args:
        name: such as ``yolov5n``: depth and width.
        names: of the classes.
        imgsz: size of the input that it will be trained at, in pixels.
        config: what differs from ultralytics' YAML file, whose layers before the head are the classic ones.
    """
    layers = {**yaml_model_load(f"{name}.yaml"), **(config or {})}
    model = cast(Any, DetectionModel(layers, ch=3, nc=len(names), verbose=False))
    for module in model.modules():
        if isinstance(module, SPPF):
            module.cv1.act = nn.SiLU()  # today's ultralytics leaves it out
    old = model.model[-1]
    widths = [level[0].conv.in_channels for level in old.cv2]
    anchors = torch.tensor(ANCHORS, dtype=torch.float32).view(len(ANCHORS), -1, 2)
    head = AnchorDetect(len(names), anchors, model.stride, widths)
    head.i, head.f, head.type = old.i, old.f, f"{AnchorDetect.__module__}.AnchorDetect"
    head.np = sum(parameter.numel() for parameter in head.parameters())
    _set_biases(head)
    model.model[-1] = head
    model.__class__ = AnchorModel
    model.yaml["anchors"] = [list(level) for level in ANCHORS]
    model.names = dict(enumerate(names))
    model.args = {"task": "detect", "imgsz": imgsz}
    model.hyp = usual_gains(len(names), head.nl, imgsz).model_dump()
    return cast(AnchorModel, model.eval())


def _set_biases(head: AnchorDetect) -> None:
    """Begin with about 8 objects in an image of 640 px, and no class above the others (arXiv 1708.02002)."""
    for part, stride in zip(head.m, head.stride.tolist(), strict=True):
        bias = cast(nn.Conv2d, part).bias
        assert bias is not None
        rows = bias.detach().view(head.na, -1)
        rows[:, 4] += math.log(8 / (640 / stride) ** 2)
        rows[:, 5:] += math.log(0.6 / (head.nc - 0.99999))
