"""Adapter for Ultralytics classification models: v8, 11 and 26, of any class count and image size."""

from __future__ import annotations

import copy
import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn
from torch.nn import functional
from ultralytics.nn.modules.head import Classify
from ultralytics.nn.tasks import ClassificationModel

from edgeprune.adapters import classifier, top_k
from edgeprune.adapters.ultralytics import aware as aware_ultralytics
from edgeprune.adapters.ultralytics import checkpoint as checkpoint_ultralytics
from edgeprune.adapters.ultralytics import detect as ultralytics
from edgeprune.adapters.ultralytics import distil as distil_ultralytics
from edgeprune.adapters.ultralytics import reading as reading_ultralytics
from edgeprune.adapters.ultralytics import sparse as sparse_ultralytics
from edgeprune.core.errors import ModelError
from edgeprune.images import postprocess
from edgeprune.images.dataset import Dataset, load_folders
from edgeprune.images.preprocess import CENTRE_CROP, Preprocess
from edgeprune.images.size import ImageSize
from edgeprune.models import Batch, ModelInfo

PACKAGES = ("ultralytics",)
STRIDE = 32
"""Any input size would do for a classifier; ultralytics' trainer rounds it up to a multiple of this."""
_SCORES = re.compile(r"^/model\.\d+/Softmax$")


def recognise(path: Path) -> bool:
    """Tell whether a checkpoint names a classification model among its classes."""
    return checkpoint_ultralytics.names(path, "ClassificationModel")


def load(path: Path, trust: bool = False) -> ClassificationModel:
    """Load a classification checkpoint as a float32 module in eval mode, with gradients on.

    Raises:
        ModelError: it cannot be read safely, is of another task, or holds NaN or infinite weights.
    """
    model = checkpoint_ultralytics.load_network(path, trust)
    if not isinstance(model, ClassificationModel) or not isinstance(model.model[-1], Classify):
        kind = type(model).__name__
        raise ModelError(
            f"{path}: an Ultralytics classification model is needed, this checkpoint holds {kind}"
        )
    return model


parts = checkpoint_ultralytics.parts
save = checkpoint_ultralytics.save
prunable = ultralytics.prunable
compare_reading = reading_ultralytics.compare_reading
labelled_images = classifier.labelled_images
evaluate = top_k.evaluate
causes = top_k.causes
finetune = distil_ultralytics.finetune
train_aware = partial(aware_ultralytics.train_aware, aware_ultralytics.AwareClassifierTrainer)
sparsify = partial(sparse_ultralytics.sparsify, sparse_ultralytics.SparseClassifierTrainer)


def info(model: nn.Module) -> ModelInfo:
    """Describe a loaded classification model."""
    told = checkpoint_ultralytics.read_told(model, "yolo-cls")
    return ModelInfo(
        task="classify",
        family=told.family,
        names=told.names,
        stride=STRIDE,
        imgsz=told.imgsz,
        metric=top_k.METRIC,
        postprocess=postprocess.classifier(told.names),
    )


def preprocess(imgsz: ImageSize) -> Preprocess:
    """Return how ultralytics' validator makes an input of an image for a classifier: its centre cut out."""
    return Preprocess(imgsz, pad=None, resize=CENTRE_CROP)


def dataset(path: Path, info: ModelInfo) -> Dataset:
    """Read a folder with one folder a split, and in it one a class.

    Raises:
        DataError: no images, or other classes than the model's.
    """
    return reading_ultralytics.note_differences(load_folders(path, info.names))


def unprunable(model: nn.Module) -> list[nn.Module]:
    """Return the instances whose width is fixed: the last linear layer."""
    return [cast(Any, model.model)[-1].linear]


def exportable(model: nn.Module, end2end: bool = True) -> nn.Module:
    """Return a fused copy whose forward gives probabilities (1, classes), its one output."""
    twin = cast(Any, copy.deepcopy(model).float().eval())
    twin.model[-1].export = True
    twin.fuse(verbose=False)
    fused: nn.Module = twin.requires_grad_(False).eval()
    return fused


def float_nodes(names: Sequence[str]) -> list[str]:
    """Return the softmax over the classes, whose small probabilities int8 would all round to 0."""
    return [name for name in names if _SCORES.match(name)]


def loss(model: nn.Module, batch: Batch) -> torch.Tensor:
    """Return the cross-entropy of a batch, a scalar with a graph behind it."""
    return functional.cross_entropy(distil_ultralytics.logits_of(model(batch["img"])), batch["cls"])
