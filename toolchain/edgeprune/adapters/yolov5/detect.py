"""Adapter for classic YOLOv5 detectors (v5 to v7): anchors, C3, SPP, SPPF and Focus.

The layers are ultralytics' own, and so are loading, training and surgery. What differs is the head with its
loss (`models/anchors.py`), the arithmetic of the metric, and the names that a checkpoint is written with.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from torch import nn

from edgeprune.adapters.ultralytics import aware as aware_ultralytics
from edgeprune.adapters.ultralytics import batches as batches_ultralytics
from edgeprune.adapters.ultralytics import checkpoint as checkpoint_ultralytics
from edgeprune.adapters.ultralytics import detect as ultralytics
from edgeprune.adapters.ultralytics import finetune as finetune_ultralytics
from edgeprune.adapters.ultralytics import sparse as sparse_ultralytics
from edgeprune.adapters.yolov5 import accuracy, trainers, writing
from edgeprune.core.errors import ModelError
from edgeprune.images.postprocess import Postprocess, Selection, detector
from edgeprune.models import ModelInfo, Training
from edgeprune.models.anchors import AnchorDetect, AnchorModel
from edgeprune.models.checkpoint.fields import ANCHORED
from edgeprune.models.safe_load import classes_in

PACKAGES = ultralytics.PACKAGES
# The decode joins boxes in pixels and scores in [0, 1]: only the convolutions of the head may be quantized.
_DECODE = r"^/model\.{head}/(?!m\.)"

parts = checkpoint_ultralytics.parts
save = writing.save
prunable = ultralytics.prunable
preprocess = ultralytics.preprocess
dataset = ultralytics.dataset
compare_reading = ultralytics.compare_reading
labelled_images = batches_ultralytics.labelled_images
loss = batches_ultralytics.loss
evaluate = accuracy.evaluate
causes = ultralytics.causes


def recognise(path: Path) -> bool:
    """Tell whether a checkpoint names a network of that repository, or of ours for it."""
    return ANCHORED in classes_in(path)


def load(path: Path, trust: bool = False) -> AnchorModel:
    """Load a checkpoint as a float32 module in eval mode, with gradients on; the repository is not needed.

    Args:
        trust: changes nothing: the file is never unpickled.

    Raises:
        ModelError: it cannot be read safely, is of another task, or holds NaN or infinite weights.
    """
    model = checkpoint_ultralytics.load_network(path)
    if not isinstance(model, AnchorModel) or not isinstance(model.model[-1], AnchorDetect):
        raise ModelError(f"{path}: a classic YOLOv5 detector is needed, this checkpoint holds none")
    return model


def info(model: nn.Module) -> ModelInfo:
    """Describe a loaded detector."""
    told = ultralytics.info(model)
    return replace(told, postprocess=_read(told.names))


def _read(names: tuple[str, ...]) -> Postprocess:
    """Return how outputs are read: `val.py` and `detect.py` of YOLOv5 have these thresholds."""
    validated, deployed = Selection(0.001, 0.6, 300, multi_label=True), Selection(0.25, 0.45, 1000)
    return replace(detector(names, end2end=False), evaluation=validated, deployment=deployed)


def unprunable(model: nn.Module) -> list[nn.Module]:
    """Return the convolutions of the head: their widths are those of anchors and classes."""
    return list(ultralytics.head_of(model).m)


def exportable(model: nn.Module, end2end: bool = True) -> nn.Module:
    """Return a fused copy whose forward gives (1, 4 + classes, N); there is no other head."""
    twin = cast(Any, copy.deepcopy(model).float().eval())
    ultralytics.head_of(twin).export = True
    twin.fuse(verbose=False)
    fused: nn.Module = twin.requires_grad_(False).eval()
    return fused


def float_nodes(names: Sequence[str]) -> list[str]:
    """Return the nodes of the head's decode (sigmoid, box arithmetic, scores), which stay in float."""
    return ultralytics.nodes_of_decode(names, _DECODE)


def finetune(training: Training) -> None:
    """Train a student back and leave the epoch of the best validation mAP at `out`; see ultralytics' own."""
    finetune_ultralytics.finetune(training, trainers.AnchorTrainer)
    save(load(training.out), training.out)


def sparsify(training: Training) -> None:
    """Train a checkpoint with the criterion's regulariser; see ultralytics' own."""
    sparse_ultralytics.sparsify(trainers.SparseAnchorTrainer, training)


def train_aware(training: Training) -> None:
    """Train a checkpoint on with the rounding of int8, leaving the best float weights at `out`."""
    aware_ultralytics.train_aware(trainers.AwareAnchorTrainer, training)
    save(load(training.out), training.out)
