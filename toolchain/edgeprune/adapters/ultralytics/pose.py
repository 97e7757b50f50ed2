"""Adapter for Ultralytics' pose estimation: YOLOv8 to YOLO26, judged by the mAP of keypoints."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import torch
from torch import nn
from ultralytics.models.yolo.pose import PoseTrainer
from ultralytics.nn.modules.head import Pose, Pose26
from ultralytics.nn.tasks import DetectionModel
from ultralytics.utils import DATASETS_DIR
from ultralytics.utils.metrics import kpt_iou

from edgeprune.adapters.ultralytics import aware as aware_ultralytics
from edgeprune.adapters.ultralytics import batches as batches_ultralytics
from edgeprune.adapters.ultralytics import checkpoint as checkpoint_ultralytics
from edgeprune.adapters.ultralytics import detect as ultralytics
from edgeprune.adapters.ultralytics import finetune as finetune_ultralytics
from edgeprune.adapters.ultralytics import mean_ap as detection
from edgeprune.adapters.ultralytics import reading as reading_ultralytics
from edgeprune.adapters.ultralytics import sparse as sparse_ultralytics
from edgeprune.adapters.ultralytics.targets import boxes_in, keypoints_in
from edgeprune.images.dataset import Dataset, load_dataset
from edgeprune.images.heads.keypoints import AREA, sigmas_of
from edgeprune.images.postprocess import Postprocess, pose_estimator
from edgeprune.images.preprocess import Placement
from edgeprune.images.reading.labels import Labels
from edgeprune.models import ModelInfo

PACKAGES = ultralytics.PACKAGES


def compare_keypoints(found: detection.Found) -> tuple[torch.Tensor, ...]:
    """Return the similarity of keypoints (OKS), by the sigmas of the data set, and the IoU of boxes."""
    skeleton = found.labelling and found.labelling.skeleton
    assert skeleton
    truth, (height, width) = keypoints_in(found.labels, found.placement), found.shape
    sizes = boxes_in(found.labels, found.placement, found.shape)[:, 2:] * torch.tensor([width, height])
    points = found.rows[:, 6:].reshape(-1, *skeleton.shape)
    sigmas = list(skeleton.sigmas or sigmas_of(skeleton.shape))
    return (kpt_iou(truth, points, sizes.prod(1) * AREA, sigmas), *detection.compare_boxes(found))


JUDGE = detection.Judge(("pose ", "box "), compare_keypoints)


def targets(labels: Labels, placement: Placement, shape: tuple[int, int]) -> dict[str, torch.Tensor]:
    """Return what the loss of keypoints takes: ``keypoints`` (n, count, 3) in [0, 1] of the input, too."""
    height, width = shape
    points = keypoints_in(labels, placement) / torch.tensor([width, height, 1])
    return batches_ultralytics.box_targets(labels, placement, shape) | {"keypoints": points}


class KeptPoseTrainer(finetune_ultralytics.KeptShape, PoseTrainer):  # type: ignore[misc]
    """The trainer of keypoints."""

    adapter = "ultralytics-pose"
    metric = JUDGE.metric
    score_key = "metrics/mAP50-95(P)"


class SparseKeptPoseTrainer(sparse_ultralytics.Regularised, KeptPoseTrainer):
    """The same with the criterion's regulariser."""


class AwareKeptPoseTrainer(aware_ultralytics.Aware, KeptPoseTrainer):
    """The same with the rounding of int8."""


def recognise(path: Path) -> bool:
    """Tell whether a checkpoint names a pose model among its classes."""
    return checkpoint_ultralytics.names(path, "PoseModel")


def load(path: Path, trust: bool = False) -> DetectionModel:
    """Load a pose checkpoint as a float32 module in eval mode, with gradients on.

    Raises:
        ModelError: it cannot be read safely, is of another task, or holds NaN or infinite weights.
    """
    return ultralytics.load_as(path, trust, "pose", (Pose, Pose26))


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
finetune = partial(finetune_ultralytics.finetune, trainer_class=KeptPoseTrainer)
sparsify = partial(sparse_ultralytics.sparsify, SparseKeptPoseTrainer)
train_aware = partial(aware_ultralytics.train_aware, AwareKeptPoseTrainer)


def info(model: nn.Module) -> ModelInfo:
    """Describe a loaded pose model."""
    count, numbers = ultralytics.head_of(model).kpt_shape

    def spec(names: tuple[str, ...], end2end: bool) -> Postprocess:
        return pose_estimator(names, (count, numbers), end2end)

    return ultralytics.describe(model, JUDGE.metric, spec)


def dataset(path: Path, info: ModelInfo) -> Dataset:
    """Read a `data.yaml` whose labels have keypoints, as many as the model's.

    Raises:
        DataError: no images, no labels, or other classes than the model's.
    """
    read = load_dataset(
        path, info.names, info.is_single, DATASETS_DIR, "keypoints", info.postprocess.keypoints
    )
    return reading_ultralytics.note_differences(read)
