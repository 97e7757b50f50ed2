"""Classifiers of plain torch: what they share, so that a new kind says only how it is read and written."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from edgeprune.adapters import top_k
from edgeprune.images.dataset import Dataset, load_folders
from edgeprune.images.postprocess import Postprocess
from edgeprune.images.preprocess import CENTRE_CROP, Preprocess, load_input
from edgeprune.images.size import ImageSize
from edgeprune.models.adapter import Batch, ModelInfo, Predict
from edgeprune.models.base import BaseAdapter
from edgeprune.records.scores import Accuracy

METRIC = top_k.METRIC


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
