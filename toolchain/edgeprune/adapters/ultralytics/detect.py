"""Adapter for Ultralytics detection models, v3u to 26, of any class count and image size."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn
from ultralytics.nn.modules.block import DFL
from ultralytics.nn.modules.head import Detect, v10Detect
from ultralytics.nn.tasks import DetectionModel
from ultralytics.utils import DATASETS_DIR

from edgeprune.adapters.ultralytics import aware as aware_ultralytics
from edgeprune.adapters.ultralytics import batches as batches_ultralytics
from edgeprune.adapters.ultralytics import checkpoint as checkpoint_ultralytics
from edgeprune.adapters.ultralytics import finetune as finetune_ultralytics
from edgeprune.adapters.ultralytics import mean_ap as detection
from edgeprune.adapters.ultralytics import reading as reading_ultralytics
from edgeprune.adapters.ultralytics import sparse as sparse_ultralytics
from edgeprune.adapters.ultralytics.mean_ap import METRIC
from edgeprune.core.errors import ModelError
from edgeprune.images.dataset import Dataset, load_dataset
from edgeprune.images.postprocess import Postprocess, detector
from edgeprune.images.preprocess import Preprocess
from edgeprune.images.size import ImageSize
from edgeprune.models import ModelInfo
from edgeprune.models.blocks import split_blocks

PACKAGES = ("ultralytics",)
_BRANCHES = tuple(
    f"{head}{branch}"
    for head in ("", "one2one_")
    for branch in ("cv2", "cv3", "cv4", "cv4_kpts", "cv4_sigma")
)
# The decode of the head joins boxes in pixels and scores in [0, 1]; one int8 scale over both makes every
# score 0 (onnxruntime#10787, ultralytics#23987). Only the convolutions of the branches, and the prototypes of
# masks, may be quantized.
_DECODE = r"^/model\.{head}/(?!(one2one_)?cv[234]|proto/)"


def recognise(path: Path) -> bool:
    """Tell whether a checkpoint names a detection model among its classes."""
    return checkpoint_ultralytics.names(path, "DetectionModel")


def load(path: Path, trust: bool = False) -> DetectionModel:
    """Load a detection checkpoint as a float32 module in eval mode, with gradients on.

    Raises:
        ModelError: it cannot be read safely, is of another task, or holds NaN or infinite weights.
    """
    return load_as(path, trust, "detection", (Detect, v10Detect))


def load_as(path: Path, trust: bool, task: str, heads: tuple[type[Detect], ...]) -> DetectionModel:
    """Load the checkpoint of a task whose heads are these and no class derived from them; see `load`."""
    model = checkpoint_ultralytics.load_network(path, trust)
    if not isinstance(model, DetectionModel) or not isinstance(model.model[-1], Detect):
        kind = type(model).__name__
        raise ModelError(f"{path}: an Ultralytics {task} model is needed, this checkpoint holds {kind}")
    if type(model.model[-1]) not in heads:
        raise ModelError(
            f"{path}: head {type(model.model[-1]).__name__} is not supported, only plain {task} is"
        )
    return model


parts = checkpoint_ultralytics.parts
save = checkpoint_ultralytics.save
compare_reading = reading_ultralytics.compare_reading
labelled_images = batches_ultralytics.labelled_images
loss = batches_ultralytics.loss
evaluate = detection.evaluate
causes = detection.causes
finetune = finetune_ultralytics.finetune
train_aware = partial(aware_ultralytics.train_aware, aware_ultralytics.AwareTrainer)
sparsify = partial(sparse_ultralytics.sparsify, sparse_ultralytics.SparseTrainer)


def info(model: nn.Module) -> ModelInfo:
    """Describe a loaded detection model."""
    return describe(model, METRIC, detector)


def describe(
    model: nn.Module, metric: str, spec: Callable[[tuple[str, ...], bool], Postprocess]
) -> ModelInfo:
    """Describe a loaded model that detects, and what else its task asks.

    Args:
        spec: how the outputs are read, by the classes and whether they are free of duplicates.
    """
    told = checkpoint_ultralytics.read_told(model, "yolo")
    end2end = bool(head_of(model).end2end)
    post = spec(told.names, end2end)
    return ModelInfo(
        task=post.task,
        family=told.family,
        names=told.names,
        stride=int(cast(torch.Tensor, model.stride).max()),
        imgsz=told.imgsz,
        metric=metric,
        postprocess=post,
        with_nms=spec(told.names, False) if end2end else None,
        is_single=bool(cast("dict[str, Any]", model.args).get("single_cls")),
    )


def head_of(model: nn.Module) -> Any:
    """Return the detection head, the last layer of the network."""
    return cast(nn.Sequential, model.model)[-1]


def prunable(model: nn.Module) -> nn.Module:
    """Return a copy that computes the same function with CSP blocks that the dependency graph can trace."""
    twin = copy.deepcopy(model)
    split_blocks(twin)
    return twin.requires_grad_(True).eval()


def preprocess(imgsz: ImageSize) -> Preprocess:
    """Return how ultralytics' validator makes an input of an image for a detector: letterboxed."""
    return Preprocess(imgsz)


def dataset(path: Path, info: ModelInfo) -> Dataset:
    """Read a `data.yaml` as ultralytics does.

    Raises:
        DataError: no images, no labels, or other classes than the model's.
    """
    return reading_ultralytics.note_differences(load_dataset(path, info.names, info.is_single, DATASETS_DIR))


def unprunable(model: nn.Module) -> list[nn.Module]:
    """Return the instances whose width is fixed: last convolutions of the head, DFL.

    Of YOLO26's keypoints that is the last but one too: a second layer reads it, which only a training runs.
    """
    head = head_of(model)
    branches = [branch for name in _BRANCHES if (branch := getattr(head, name, None)) is not None]
    fixed = [
        level[-1] if isinstance(level, nn.Sequential) else level for branch in branches for level in branch
    ]
    if proto := getattr(head, "proto", None):
        fixed += [proto.cv3.conv, *([proto.semseg[-1]] if getattr(proto, "semseg", None) else [])]
    return fixed + ([head.dfl] if isinstance(head.dfl, nn.Module) else [])


class ExpectedDistance(nn.Module):
    """The expectation of DFL (arXiv 2006.04388), its softmax written out along the axis that it lies on.

    Ultralytics transposes for a softmax over the second axis; ONNX Runtime transposes once more and back: 2.5
    of the 25 ms of a 320 px yolov8n on one x86 core, where this takes .2 ms (OpenVINO: .29 and .21 ms).
    """

    bins: torch.Tensor

    def __init__(self, dfl: DFL) -> None:
        super().__init__()
        self.register_buffer("bins", dfl.conv.weight.detach().float().reshape(1, 1, -1, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Turn logits of shape (B, 4 * bins, A) into distances of shape (B, 4, A)."""
        logits = x.view(x.shape[0], 4, self.bins.shape[2], x.shape[2])
        weights = (logits - logits.amax(2, keepdim=True)).exp()
        return (weights * self.bins).sum(2) / weights.sum(2)


def exportable(model: nn.Module, end2end: bool = True) -> nn.Module:
    """Return a fused copy whose forward gives (1, 4 + classes, anchors), or (1, 300, 6) when end-to-end.

    Other tasks have more rows or columns, and a second output where there are masks.

    Args:
        end2end: False takes the one-to-many head of a network that has both.

    Raises:
        ModelError: the one-to-many head is asked for, and fusion has removed it from the checkpoint.
    """
    twin = cast(Any, copy.deepcopy(model).float().eval())
    for module in twin.modules():
        if isinstance(module, Detect):
            module.export, module.format, module.dynamic = True, "onnx", False
            if isinstance(module.dfl, DFL):
                module.dfl = ExpectedDistance(module.dfl)
            if not end2end and module.end2end:
                if module.cv2 is None:
                    raise ModelError(
                        "the checkpoint was fused and has lost its one-to-many head, which this runtime "
                        "needs; use the checkpoint that training wrote"
                    )
                module.end2end = False
    twin.fuse(verbose=False)
    fused: nn.Module = twin.requires_grad_(False).eval()
    return fused


def float_nodes(names: Sequence[str]) -> list[str]:
    """Return the nodes of the head's decode (DFL, sigmoid, box arithmetic, top-k), which stay in float."""
    return nodes_of_decode(names, _DECODE)


def nodes_of_decode(names: Sequence[str], pattern: str) -> list[str]:
    """Return the nodes of the last layer that a pattern fits, in which ``{head}`` is that layer's number."""
    heads = [int(found.group(1)) for name in names if (found := re.match(r"^/model\.(\d+)/", name))]
    if not heads:
        return []
    decode = re.compile(pattern.format(head=max(heads)))
    return [name for name in names if decode.match(name)]
