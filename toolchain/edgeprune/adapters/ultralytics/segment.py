"""Adapter for Ultralytics' instance segmentation: YOLOv8 to YOLO26, judged by the mAP of masks."""

from __future__ import annotations

from dataclasses import replace

import torch
from ultralytics.models.yolo.segment import SegmentationTrainer
from ultralytics.nn.modules.head import Segment, Segment26
from ultralytics.utils.metrics import mask_iou

from edgeprune.adapters.ultralytics import aware as aware_ultralytics
from edgeprune.adapters.ultralytics import finetune as finetune_ultralytics
from edgeprune.adapters.ultralytics import mean_ap as detection
from edgeprune.adapters.ultralytics import sparse as sparse_ultralytics
from edgeprune.adapters.ultralytics.targets import boxes_in, masks_in
from edgeprune.adapters.ultralytics.tasks import TaskAdapter
from edgeprune.images.heads.masks import masks
from edgeprune.images.postprocess import segmenter
from edgeprune.images.preprocess import Placement
from edgeprune.images.reading.labels import Labels


def compare_masks(found: detection.Found) -> tuple[torch.Tensor, ...]:
    """Return the IoU of masks, in the size of the prototypes, and that of boxes.

    Where objects overlap, a pixel is of the smaller one, as in a training (`overlap_mask`).
    """
    drawn, order = masks_in(found.labels, found.placement, found.shape)
    places = torch.from_numpy(drawn).flatten()
    truth = torch.zeros(len(order), len(places))
    for place, label in enumerate(order, 1):
        truth[label] = (places == place).float()
    rows = found.rows.numpy()
    predicted = torch.from_numpy(masks(found.outputs, rows)).flatten(1).float()
    return (mask_iou(truth, predicted), *detection.compare_boxes(found))


JUDGE = detection.Judge(("mask ", "box "), compare_masks)


def targets(labels: Labels, placement: Placement, shape: tuple[int, int]) -> dict[str, torch.Tensor]:
    """Return what the loss of masks takes: labels from the largest to the smallest, and all masks in one.

    ``masks`` float32 (1, H / 4, W / 4) holds the place of an object from 1 on, ``sem_masks`` its class.
    """
    drawn, order = masks_in(labels, placement, shape)
    classes = torch.from_numpy(labels.boxes[order, :1])
    places = torch.from_numpy(drawn)
    classed = classes[places - 1, 0] if len(order) else torch.zeros(places.shape)
    return {
        "cls": classes,
        "bboxes": boxes_in(replace(labels, boxes=labels.boxes[order]), placement, shape),
        "masks": places[None].float(),
        "sem_masks": classed[None].float(),
    }


class SegmentTrainer(finetune_ultralytics.KeptShape, SegmentationTrainer):  # type: ignore[misc]
    """The trainer of masks."""

    adapter = "ultralytics-segment"
    metric = JUDGE.metric
    score_key = "metrics/mAP50-95(M)"


class SparseSegmentTrainer(sparse_ultralytics.Regularised, SegmentTrainer):
    """The same with the criterion's regulariser."""


class AwareSegmentTrainer(aware_ultralytics.Aware, SegmentTrainer):
    """The same with the rounding of int8."""


ADAPTER = TaskAdapter(
    task="segmentation",
    network="SegmentationModel",
    heads=(Segment, Segment26),
    shows="polygons",
    judge=JUDGE,
    targets=targets,
    read_by=lambda model: segmenter,
    trainer=SegmentTrainer,
    sparse_trainer=SparseSegmentTrainer,
    aware_trainer=AwareSegmentTrainer,
    outputs=("output0", "output1"),
)
