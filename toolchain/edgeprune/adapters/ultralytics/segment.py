"""Adapter for Ultralytics' instance segmentation: YOLOv8 to YOLO26, judged by the mAP of masks."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from torch import nn
from ultralytics.models.yolo.segment import SegmentationTrainer
from ultralytics.nn.modules.head import Segment, Segment26
from ultralytics.nn.tasks import DetectionModel
from ultralytics.utils import DATASETS_DIR
from ultralytics.utils.metrics import mask_iou

from edgeprune.adapters.ultralytics import aware as aware_ultralytics
from edgeprune.adapters.ultralytics import batches as batches_ultralytics
from edgeprune.adapters.ultralytics import checkpoint as checkpoint_ultralytics
from edgeprune.adapters.ultralytics import detect as ultralytics
from edgeprune.adapters.ultralytics import finetune as finetune_ultralytics
from edgeprune.adapters.ultralytics import mean_ap as detection
from edgeprune.adapters.ultralytics import reading as reading_ultralytics
from edgeprune.adapters.ultralytics import sparse as sparse_ultralytics
from edgeprune.adapters.ultralytics.targets import boxes_in, masks_in
from edgeprune.images.dataset import Dataset, load_dataset
from edgeprune.images.heads.masks import masks
from edgeprune.images.postprocess import segmenter
from edgeprune.images.preprocess import Placement
from edgeprune.images.reading.labels import Labels
from edgeprune.models import ModelInfo

PACKAGES = ultralytics.PACKAGES
OUTPUTS = ("output0", "output1")


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


def recognise(path: Path) -> bool:
    """Tell whether a checkpoint names a segmentation model among its classes."""
    return checkpoint_ultralytics.names(path, "SegmentationModel")


def load(path: Path, trust: bool = False) -> DetectionModel:
    """Load a segmentation checkpoint as a float32 module in eval mode, with gradients on.

    Raises:
        ModelError: it cannot be read safely, is of another task, or holds NaN or infinite weights.
    """
    return ultralytics.load_as(path, trust, "segmentation", (Segment, Segment26))


save = checkpoint_ultralytics.save
parts = ultralytics.parts
prunable = ultralytics.prunable
unprunable = ultralytics.unprunable
exportable = ultralytics.exportable
float_nodes = ultralytics.float_nodes
preprocess = ultralytics.preprocess
compare_reading = reading_ultralytics.compare_reading
labelled_images = partial(batches_ultralytics.labelled_images, targets=targets)
loss = batches_ultralytics.loss
evaluate = partial(detection.evaluate, judge=JUDGE)
causes = partial(detection.causes, judge=JUDGE)
finetune = partial(finetune_ultralytics.finetune, trainer_class=SegmentTrainer)
sparsify = partial(sparse_ultralytics.sparsify, SparseSegmentTrainer)
train_aware = partial(aware_ultralytics.train_aware, AwareSegmentTrainer)


def info(model: nn.Module) -> ModelInfo:
    """Describe a loaded segmentation model."""
    return replace(ultralytics.describe(model, JUDGE.metric, segmenter), outputs=OUTPUTS)


def dataset(path: Path, info: ModelInfo) -> Dataset:
    """Read a `data.yaml` whose labels are polygons.

    Raises:
        DataError: no images, no labels, or other classes than the model's.
    """
    read = load_dataset(path, info.names, info.is_single, DATASETS_DIR, "polygons")
    return reading_ultralytics.note_differences(read)
