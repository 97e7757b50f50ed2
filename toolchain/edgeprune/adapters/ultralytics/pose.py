"""Adapter for Ultralytics' pose estimation: YOLOv8 to YOLO26, judged by the mAP of keypoints."""

from __future__ import annotations

import torch
from torch import nn
from ultralytics.models.yolo.pose import PoseTrainer
from ultralytics.nn.modules.head import Pose, Pose26
from ultralytics.utils.metrics import kpt_iou

from edgeprune.adapters.ultralytics import aware as aware_ultralytics
from edgeprune.adapters.ultralytics import batches as batches_ultralytics
from edgeprune.adapters.ultralytics import finetune as finetune_ultralytics
from edgeprune.adapters.ultralytics import mean_ap as detection
from edgeprune.adapters.ultralytics import sparse as sparse_ultralytics
from edgeprune.adapters.ultralytics.detect import head_of
from edgeprune.adapters.ultralytics.targets import boxes_in, keypoints_in
from edgeprune.adapters.ultralytics.tasks import Describe, TaskAdapter
from edgeprune.images.heads.keypoints import AREA, sigmas_of
from edgeprune.images.postprocess import pose_estimator
from edgeprune.images.preprocess import Placement
from edgeprune.images.reading.labels import Labels


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


def _read_by(model: nn.Module) -> Describe:
    """Return how the outputs are read of a network with so many keypoints."""
    count, numbers = head_of(model).kpt_shape
    return lambda names, end2end: pose_estimator(names, (count, numbers), end2end)


ADAPTER = TaskAdapter(
    task="pose",
    network="PoseModel",
    heads=(Pose, Pose26),
    shows="keypoints",
    judge=JUDGE,
    targets=targets,
    read_by=_read_by,
    trainer=KeptPoseTrainer,
    sparse_trainer=SparseKeptPoseTrainer,
    aware_trainer=AwareKeptPoseTrainer,
)
