"""An adapter around another one: it answers as that does, but for what a class derived from it changes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from edgeprune.images.dataset import Dataset
from edgeprune.images.postprocess import Postprocess
from edgeprune.images.preprocess import Preprocess
from edgeprune.images.size import ImageSize
from edgeprune.models.adapter import Batch, ModelAdapter, ModelInfo, Predict, Training
from edgeprune.models.source import Limited
from edgeprune.records.scores import Accuracy

if TYPE_CHECKING:
    from edgeprune.config.recipe import Recipe


@dataclass(frozen=True)
class Delegating:
    """A `ModelAdapter` that hands every question on.

    Attributes:
        inner: the adapter of the kind of model.
    """

    inner: ModelAdapter

    @property
    def PACKAGES(self) -> tuple[str, ...]:  # noqa: N802  # as `ModelAdapter` has it
        """Return the packages of the kind of model."""
        return self.inner.PACKAGES

    def parts(self) -> Mapping[str, Any]:
        """Return what results depend on beside packages."""
        return self.inner.parts()

    def recognise(self, path: Path) -> bool:
        """Tell whether a file is a checkpoint of this kind."""
        return self.inner.recognise(path)

    def load(self, path: Path, trust: bool = False) -> nn.Module:
        """Load a checkpoint."""
        return self.inner.load(path, trust)

    def save(self, model: nn.Module, path: Path) -> None:
        """Save a model."""
        self.inner.save(model, path)

    def info(self, model: nn.Module) -> ModelInfo:
        """Describe a model."""
        return self.inner.info(model)

    def prunable(self, model: nn.Module) -> nn.Module:
        """Return a copy that can be traced."""
        return self.inner.prunable(model)

    def preprocess(self, imgsz: ImageSize) -> Preprocess:
        """Return how an image becomes the input."""
        return self.inner.preprocess(imgsz)

    def dataset(self, path: Path, info: ModelInfo) -> Dataset:
        """Read the data that the user names."""
        return self.inner.dataset(path, info)

    def compare_reading(self, dataset: Dataset, work: Path) -> None:
        """Hold the data against what the trainer's own loader finds."""
        self.inner.compare_reading(dataset, work)

    def causes(
        self, predict: Predict, dataset: Dataset, split: str, spec: Preprocess, post: Postprocess
    ) -> tuple[str, ...]:
        """Return what measurements tell of why a model finds next to nothing."""
        return self.inner.causes(predict, dataset, split, spec, post)

    def unprunable(self, model: nn.Module) -> list[nn.Module]:
        """Return the modules whose output channels must stay."""
        return self.inner.unprunable(model)

    def exportable(self, model: nn.Module, end2end: bool = True) -> nn.Module:
        """Return a fused copy that maps images to outputs."""
        return self.inner.exportable(model, end2end)

    def float_nodes(self, names: Sequence[str]) -> list[str]:
        """Return the names of nodes that stay in float."""
        return self.inner.float_nodes(names)

    def require_trainings(self, recipe: Recipe) -> None:
        """Refuse a recipe with a training that the kind of model does not have."""
        if isinstance(self.inner, Limited):
            self.inner.require_trainings(recipe)

    def sparsify(self, training: Training) -> None:
        """Train with the criterion's regulariser."""
        self.inner.sparsify(training)

    def finetune(self, training: Training) -> None:
        """Train back."""
        self.inner.finetune(training)

    def train_aware(self, training: Training) -> None:
        """Train on with the rounding of int8."""
        self.inner.train_aware(training)

    def labelled_images(self, dataset: Dataset, spec: Preprocess, count: int, seed: int) -> Iterator[Batch]:
        """Yield training images for criteria that read gradients."""
        return self.inner.labelled_images(dataset, spec, count, seed)

    def loss(self, model: nn.Module, batch: Batch) -> torch.Tensor:
        """Return the training loss of a batch."""
        return self.inner.loss(model, batch)

    def evaluate(
        self, predict: Predict, dataset: Dataset, split: str, spec: Preprocess, post: Postprocess
    ) -> Accuracy:
        """Measure accuracy on a split."""
        return self.inner.evaluate(predict, dataset, split, spec, post)
