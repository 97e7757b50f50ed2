"""Any kind of model without its labels: judged by its agreement with the original, and taught by it alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from edgeprune.adapters import agreement
from edgeprune.adapters.delegating import Delegating
from edgeprune.core.artifact import digest
from edgeprune.core.errors import ConfigError
from edgeprune.images.dataset import Dataset, load_pictures
from edgeprune.images.postprocess import Postprocess
from edgeprune.images.preprocess import Preprocess, load_input
from edgeprune.models.adapter import Batch, ModelAdapter, ModelInfo, Predict, Training
from edgeprune.models.imitation import Imitable, energy_of, imitate
from edgeprune.models.predictor import predictor
from edgeprune.records.scores import Accuracy

if TYPE_CHECKING:
    from edgeprune.config.recipe import Recipe
    from edgeprune.models.source import ModelSource


@dataclass(frozen=True)
class Unlabelled(Delegating):
    """The adapter of a model whose labels are not known, or not to be read.

    Attributes:
        original: the file that everything is held against.
    """

    original: Path
    _references: dict[Any, agreement.Reference] = field(default_factory=dict, repr=False, compare=False)

    def parts(self) -> dict[str, Any]:
        """Return what results depend on beside the model at hand: the original that it is held against."""
        return {**self.inner.parts(), "judged_by": digest(self.original)}

    def info(self, model: nn.Module) -> ModelInfo:
        """Describe a model as its own adapter does, judged by agreement."""
        told = self.inner.info(model)
        return replace(told, metric=agreement.metric_of(told.postprocess))

    def dataset(self, path: Path, info: ModelInfo) -> Dataset:
        """List the pictures of a folder or a `data.yaml`; labels are not looked at."""
        return load_pictures(path, info.names)

    def compare_reading(self, dataset: Dataset, work: Path) -> None:
        """Compare nothing: no trainer with a loader of its own reads the pictures."""

    def evaluate(
        self, predict: Predict, dataset: Dataset, split: str, spec: Preprocess, post: Postprocess
    ) -> Accuracy:
        """Measure the agreement with the original on a split, see `agreement.evaluate`."""
        return agreement.evaluate(self._reference(spec, post), predict, dataset, split, spec, post)

    def causes(
        self, predict: Predict, dataset: Dataset, split: str, spec: Preprocess, post: Postprocess
    ) -> tuple[str, ...]:
        """Say so where the original decides nothing that another model could agree with."""
        if not agreement.finds_nothing(self._reference(spec, post), dataset, split, spec, post):
            return ()
        assert post.deployment is not None
        return (
            f"the original itself finds nothing with a confidence of {post.deployment.confidence:g} in these "
            f"{len(dataset.images[split])} pictures: they are of another kind, or are prepared in another "
            "way than in its training",
        )

    def labelled_images(self, dataset: Dataset, spec: Preprocess, count: int, seed: int) -> Iterator[Batch]:
        """Yield up to `count` training pictures, ``img`` float32 (1, 3, H, W), for criteria of gradients."""
        for path in dataset.sample("train", count, seed):
            yield {"img": torch.from_numpy(load_input(path, spec)[0])}

    def loss(self, model: nn.Module, batch: Batch) -> torch.Tensor:
        """Return the mean energy of the outputs: a channel matters by what it adds to it."""
        return energy_of(model(batch["img"]))

    def finetune(self, training: Training) -> None:
        """Train a student to do what the original does, see `models/imitation.py`."""
        imitate(self, training, self.inner.imitation_loss if isinstance(self.inner, Imitable) else None)

    def require_trainings(self, recipe: Recipe) -> None:
        """Say that sparse and quantization-aware training need labels."""
        asked = (
            ("sparse.epochs", recipe.sparse.epochs, "sparse training, and so a sweep,"),
            ("quantize.aware_epochs", recipe.quantize.aware_epochs, "quantization-aware training"),
        )
        for key, epochs, what in asked:
            if epochs:
                raise ConfigError(f"{key}: {what} needs labels, which are not read here; leave it out")

    def _reference(self, spec: Preprocess, post: Postprocess) -> agreement.Reference:
        """Return the original with a head and an input of some size; made when it is asked for first."""
        key = (spec, post.head)
        if key not in self._references:
            model = self._model
            told = self.inner.info(model)
            end2end = not (told.end2end and post.head != told.postprocess.head)
            self._references[key] = agreement.Reference(predictor(self.inner.exportable(model, end2end)))
        return self._references[key]

    @cached_property
    def _model(self) -> nn.Module:
        return self.inner.load(self.original)


def wrap(adapter: ModelAdapter, source: ModelSource, recipe: Recipe) -> ModelAdapter:
    """Return an adapter that reads no labels and holds everything against the source's file."""
    return adapter if isinstance(adapter, Unlabelled) else Unlabelled(adapter, source.file)
