"""What adapters of tasks with boxes and more have in common: all but labels, metric and trainers."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn
from ultralytics.nn.modules.head import Detect
from ultralytics.nn.tasks import DetectionModel
from ultralytics.utils import DATASETS_DIR

from edgeprune.adapters.ultralytics import (
    aware,
    batches,
    checkpoint,
    detect,
    finetune,
    mean_ap,
    reading,
    sparse,
)
from edgeprune.images.dataset import Dataset, load_dataset
from edgeprune.images.postprocess import Postprocess
from edgeprune.images.preprocess import Preprocess
from edgeprune.images.reading.labels import Shows
from edgeprune.images.size import ImageSize
from edgeprune.models import Batch, ModelInfo, Predict, Training
from edgeprune.records.scores import Accuracy

Describe = Callable[[tuple[str, ...], bool], Postprocess]
"""How outputs are read, by the classes and whether they are free of duplicates."""


@dataclass(frozen=True)
class TaskAdapter:
    """A `ModelAdapter` of one task; what it does not say itself is a detector's.

    Attributes:
        task: in words, for messages.
        network: ultralytics' class of such networks.
        heads: classes of their heads, and no class derived from them.
        shows: what the labels hold of an object.
        judge: what the accuracy is measured by.
        targets: what the loss takes of an image.
        read_by: how the outputs of a network are read.
        trainer, sparse_trainer, aware_trainer: ultralytics' trainer of the task, with the shape kept; the
            same with a criterion's regulariser, and with the rounding of int8.
        outputs: names of the exported network's outputs.
    """

    task: str
    network: str
    heads: tuple[type[Detect], ...]
    shows: Shows
    judge: mean_ap.Judge
    targets: batches.Targets
    read_by: Callable[[nn.Module], Describe]
    trainer: type[finetune.KeptShape]
    sparse_trainer: type[Any]
    aware_trainer: type[Any]
    outputs: tuple[str, ...] = ("output0",)

    @property
    def PACKAGES(self) -> tuple[str, ...]:  # noqa: N802  # a constant of the other adapters
        """Distributions that its results depend on."""
        return detect.PACKAGES

    def parts(self) -> Mapping[str, Any]:
        """Return nothing, as a detector's."""
        return detect.parts()

    def recognise(self, path: Path) -> bool:
        """Tell whether a checkpoint names the task's network among its classes."""
        return checkpoint.names(path, self.network)

    def load(self, path: Path, trust: bool = False) -> DetectionModel:
        """Load a checkpoint as a float32 module in eval mode, with gradients on.

        Raises:
            ModelError: it cannot be read safely, is of another task, or holds NaN or infinite weights.
        """
        return detect.load_as(path, trust, self.task, self.heads)

    def save(self, model: nn.Module, path: Path) -> None:
        """Save a module so that `load` and `YOLO(...)` read it again."""
        checkpoint.save(model, path)

    def info(self, model: nn.Module) -> ModelInfo:
        """Describe a loaded model."""
        return replace(detect.describe(model, self.judge.metric, self.read_by(model)), outputs=self.outputs)

    def prunable(self, model: nn.Module) -> nn.Module:
        """Return a copy that computes the same and can be traced, as a detector's."""
        return detect.prunable(model)

    def preprocess(self, imgsz: ImageSize) -> Preprocess:
        """Return how an image becomes the input, as a detector's."""
        return detect.preprocess(imgsz)

    def dataset(self, path: Path, info: ModelInfo) -> Dataset:
        """Read a `data.yaml` whose labels are the task's.

        Raises:
            DataError: no images, no labels, or other classes or keypoints than the model's.
        """
        points = info.postprocess.keypoints
        read = load_dataset(path, info.names, info.is_single, DATASETS_DIR, self.shows, points)
        return reading.note_differences(read)

    def compare_reading(self, dataset: Dataset, work: Path) -> None:
        """Hold images and labels against what ultralytics' own loader finds."""
        reading.compare_reading(dataset, work)

    def causes(
        self, predict: Predict, dataset: Dataset, split: str, spec: Preprocess, post: Postprocess
    ) -> tuple[str, ...]:
        """Return what measurements tell of why a model finds next to nothing on a split."""
        return mean_ap.causes(predict, dataset, split, spec, post, self.judge)

    def unprunable(self, model: nn.Module) -> list[nn.Module]:
        """Return the instances whose width is fixed, as a detector's."""
        return detect.unprunable(model)

    def exportable(self, model: nn.Module, end2end: bool = True) -> nn.Module:
        """Return a fused copy that gives the tuple of outputs, as a detector's."""
        return detect.exportable(model, end2end)

    def float_nodes(self, names: Sequence[str]) -> list[str]:
        """Return the nodes of the head's decode, which stay in float."""
        return detect.float_nodes(names)

    def sparsify(self, training: Training) -> None:
        """Train with the criterion's regulariser."""
        sparse.sparsify(self.sparse_trainer, training)

    def finetune(self, training: Training) -> None:
        """Train back with the shape kept."""
        finetune.finetune(training, trainer_class=self.trainer)

    def train_aware(self, training: Training) -> None:
        """Train on with the rounding of int8."""
        aware.train_aware(self.aware_trainer, training)

    def labelled_images(self, dataset: Dataset, spec: Preprocess, count: int, seed: int) -> Iterator[Batch]:
        """Yield training images with what the task's loss takes."""
        return batches.labelled_images(dataset, spec, count, seed, self.targets)

    def loss(self, model: nn.Module, batch: Batch) -> torch.Tensor:
        """Return the sum of the training losses of a batch."""
        return batches.loss(model, batch)

    def evaluate(
        self, predict: Predict, dataset: Dataset, split: str, spec: Preprocess, post: Postprocess
    ) -> Accuracy:
        """Measure the task's mAP, agreeing with ultralytics' `val(rect=False)`."""
        return mean_ap.evaluate(predict, dataset, split, spec, post, self.judge)
