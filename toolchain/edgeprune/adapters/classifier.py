"""Classifiers of plain torch: what they share, so that a new kind says only how it is read and written."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from edgeprune.adapters import top_k
from edgeprune.adapters.sparse import sparsify
from edgeprune.images.dataset import Dataset, load_folders
from edgeprune.images.postprocess import Postprocess
from edgeprune.images.preprocess import CENTRE_CROP, Preprocess, load_input
from edgeprune.images.size import ImageSize
from edgeprune.models.adapter import Batch, ModelInfo, Predict, Training
from edgeprune.models.augment import Augmentation, load_changed, shuffled
from edgeprune.models.base import BaseAdapter
from edgeprune.records.scores import Accuracy

if TYPE_CHECKING:
    from edgeprune.config.recipe import Recipe

METRIC = top_k.METRIC
AUGMENTATION = Augmentation(colour=(0.0, 0.0, 0.0))
"""Colours are left alone: they may be what tells two classes apart."""
TEACHER_SHARE = 0.9
"""Of the loss; the labels have the rest. As in Tian et al., arXiv 1910.10699, and far above a half as Hinton
et al. (arXiv 1503.02531) advise."""


class Classifier(BaseAdapter):
    """An adapter of networks that map images to logits (n, classes), trained on a folder a class.

    `recognise`, `load`, `save` and `info` are left to be said. In `info`, the metric is `METRIC`, and the
    postprocess `classifier(names, activated=False)` where the network gives logits.
    """

    def preprocess(self, imgsz: ImageSize) -> Preprocess:
        """Return how an image becomes the input: its centre cut out, in [0, 1]."""
        return Preprocess(imgsz, pad=None, resize=CENTRE_CROP)

    def dataset(self, path: Path, info: ModelInfo) -> Dataset:
        """Read a folder with one folder a split, and in it one a class.

        Raises:
            DataError: no images, or other classes than the model's.
        """
        return load_folders(path, info.names)

    def labelled_images(self, dataset: Dataset, spec: Preprocess, count: int, seed: int) -> Iterator[Batch]:
        """Yield up to `count` training images with their class; see the function of that name."""
        return labelled_images(dataset, spec, count, seed)

    def loss(self, model: nn.Module, batch: Batch) -> torch.Tensor:
        """Return the cross-entropy of a batch, a scalar with a graph behind it."""
        return functional.cross_entropy(model(batch["img"]), batch["cls"])

    def training_steps(
        self, dataset: Dataset, spec: Preprocess, size: int, seed: int
    ) -> Iterator[Sequence[Batch]]:
        """Yield the training images once, a batch a step, each cut and mirrored at random."""
        rng = np.random.default_rng(seed)
        for paths in shuffled(dataset.images["train"], size, rng):
            labels = torch.tensor([dataset.class_of(path) for path in paths])
            yield [{"img": load_changed(paths, spec, rng, AUGMENTATION), "cls": labels}]

    def taught_loss(
        self, model: nn.Module, teacher: nn.Module | None, batch: Batch, recipe: Recipe
    ) -> torch.Tensor:
        """Return the cross-entropy of a batch, with a teacher mostly the distillation of its logits."""
        if teacher is None:
            return self.loss(model, batch)
        student = model(batch["img"])
        with torch.no_grad():
            wanted = teacher(batch["img"])
        hard = functional.cross_entropy(student, batch["cls"])
        soft = distillation(student, wanted, recipe.finetune.temperature)
        return (1 - TEACHER_SHARE) * hard + TEACHER_SHARE * soft

    def sparsify(self, training: Training) -> None:
        """Train with the criterion's regulariser, by the labels alone."""
        sparsify(self, training)

    def evaluate(
        self, predict: Predict, dataset: Dataset, split: str, spec: Preprocess, post: Postprocess
    ) -> Accuracy:
        """Measure top-1 and top-5 with any callable that maps images to the network's outputs."""
        return top_k.evaluate(predict, dataset, split, spec, post)

    def causes(
        self, predict: Predict, dataset: Dataset, split: str, spec: Preprocess, post: Postprocess
    ) -> tuple[str, ...]:
        """Return what measurements tell of why a model is no better than chance, a sentence each."""
        return top_k.causes(predict, dataset, split, spec, post)


def labelled_images(dataset: Dataset, spec: Preprocess, count: int, seed: int) -> Iterator[dict[str, Any]]:
    """Yield up to `count` training images with their class, one a batch, cropped and not augmented.

    Yields:
        ``img`` float32 (1, 3, H, W) and ``cls`` int64 (1,).
    """
    for path in dataset.sample("train", count, seed):
        tensor, _ = load_input(path, spec)
        yield {"img": torch.from_numpy(tensor), "cls": torch.tensor([dataset.class_of(path)])}


def distillation(student: torch.Tensor, teacher: torch.Tensor, temperature: float) -> torch.Tensor:
    """Return the KL divergence of the softened student from the softened teacher, mean over the images.

    It is multiplied by the squared temperature: softening divides the gradients by about that.

    Args:
        student, teacher: logits (n, classes).
        temperature: what both are divided by.
    """
    logs = [functional.log_softmax(logits.float() / temperature, dim=1) for logits in (student, teacher)]
    divergence = functional.kl_div(logs[0], logs[1], reduction="batchmean", log_target=True)
    return divergence * temperature**2
