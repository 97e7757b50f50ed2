"""Adapter for Ultralytics' rotated boxes (OBB): YOLOv8 to YOLO26, judged by their mAP."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import torch
from torch import nn
from ultralytics.models.yolo.obb import OBBTrainer
from ultralytics.nn.modules.head import OBB, OBB26
from ultralytics.nn.tasks import DetectionModel
from ultralytics.utils import DATASETS_DIR
from ultralytics.utils.metrics import batch_probiou

from edgeprune.adapters.ultralytics import aware as aware_ultralytics
from edgeprune.adapters.ultralytics import batches as batches_ultralytics
from edgeprune.adapters.ultralytics import checkpoint as checkpoint_ultralytics
from edgeprune.adapters.ultralytics import detect as ultralytics
from edgeprune.adapters.ultralytics import finetune as finetune_ultralytics
from edgeprune.adapters.ultralytics import mean_ap as detection
from edgeprune.adapters.ultralytics import reading as reading_ultralytics
from edgeprune.adapters.ultralytics import sparse as sparse_ultralytics
from edgeprune.adapters.ultralytics.targets import rotated_in
from edgeprune.images.dataset import Dataset, load_dataset
from edgeprune.images.postprocess import rotated_detector
from edgeprune.images.preprocess import Placement
from edgeprune.images.reading.labels import Labels
from edgeprune.models import ModelInfo

PACKAGES = ultralytics.PACKAGES


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


def recognise(path: Path) -> bool:
    """Tell whether a checkpoint names an OBB model among its classes."""
    return checkpoint_ultralytics.names(path, "OBBModel")


def load(path: Path, trust: bool = False) -> DetectionModel:
    """Load an OBB checkpoint as a float32 module in eval mode, with gradients on.

    Raises:
        ModelError: it cannot be read safely, is of another task, or holds NaN or infinite weights.
    """
    return ultralytics.load_as(path, trust, "OBB", (OBB, OBB26))


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
finetune = partial(finetune_ultralytics.finetune, trainer_class=RotatedTrainer)
sparsify = partial(sparse_ultralytics.sparsify, SparseRotatedTrainer)
train_aware = partial(aware_ultralytics.train_aware, AwareRotatedTrainer)


def info(model: nn.Module) -> ModelInfo:
    """Describe a loaded model of rotated boxes."""
    return ultralytics.describe(model, JUDGE.metric, rotated_detector)


def dataset(path: Path, info: ModelInfo) -> Dataset:
    """Read a `data.yaml` whose labels are the corners of rotated boxes.

    Raises:
        DataError: no images, no labels, or other classes than the model's.
    """
    read = load_dataset(path, info.names, info.is_single, DATASETS_DIR, "rotated")
    return reading_ultralytics.note_differences(read)
