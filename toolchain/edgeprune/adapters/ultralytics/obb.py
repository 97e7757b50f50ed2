"""Adapter for Ultralytics' rotated boxes (OBB): YOLOv8 to YOLO26, judged by their mAP."""

from __future__ import annotations

import torch
from ultralytics.models.yolo.obb import OBBTrainer
from ultralytics.nn.modules.head import OBB, OBB26
from ultralytics.utils.metrics import batch_probiou

from edgeprune.adapters.ultralytics import aware as aware_ultralytics
from edgeprune.adapters.ultralytics import finetune as finetune_ultralytics
from edgeprune.adapters.ultralytics import mean_ap as detection
from edgeprune.adapters.ultralytics import sparse as sparse_ultralytics
from edgeprune.adapters.ultralytics.targets import rotated_in
from edgeprune.adapters.ultralytics.tasks import TaskAdapter
from edgeprune.images.postprocess import rotated_detector
from edgeprune.images.preprocess import Placement
from edgeprune.images.reading.labels import Labels


def compare_rotated(found: detection.Found) -> tuple[torch.Tensor, ...]:
    """Return the probabilistic IoU of rotated boxes."""
    return (batch_probiou(rotated_in(found.labels, found.placement), found.rows[:, [0, 1, 2, 3, 6]]),)


JUDGE = detection.Judge(("rotated ",), compare_rotated)


def targets(labels: Labels, placement: Placement, shape: tuple[int, int]) -> dict[str, torch.Tensor]:
    """Return what the loss of rotated boxes takes: ``bboxes`` (n, 5), the last one the angle in radians."""
    height, width = shape
    boxes = rotated_in(labels, placement) / torch.tensor([width, height, width, height, 1])
    return {"cls": torch.from_numpy(labels.boxes[:, :1]), "bboxes": boxes}


class RotatedTrainer(finetune_ultralytics.KeptShape, OBBTrainer):  # type: ignore[misc]
    """The trainer of rotated boxes."""

    adapter = "ultralytics-obb"
    metric = JUDGE.metric
    score_key = "metrics/mAP50-95(B)"


class SparseRotatedTrainer(sparse_ultralytics.Regularised, RotatedTrainer):
    """The same with the criterion's regulariser."""


class AwareRotatedTrainer(aware_ultralytics.Aware, RotatedTrainer):
    """The same with the rounding of int8."""


ADAPTER = TaskAdapter(
    task="OBB",
    network="OBBModel",
    heads=(OBB, OBB26),
    shows="rotated",
    judge=JUDGE,
    targets=targets,
    read_by=lambda model: rotated_detector,
    trainer=RotatedTrainer,
    sparse_trainer=SparseRotatedTrainer,
    aware_trainer=AwareRotatedTrainer,
)
