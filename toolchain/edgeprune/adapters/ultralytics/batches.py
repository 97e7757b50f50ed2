"""Labelled images and the training loss of an ultralytics detector, for criteria that read gradients."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any, cast

import torch
from torch import nn
from ultralytics.cfg import get_cfg

from edgeprune.adapters.ultralytics.mean_ap import labels_of
from edgeprune.adapters.ultralytics.targets import boxes_in
from edgeprune.images.dataset import Dataset
from edgeprune.images.preprocess import Placement, Preprocess, load_input
from edgeprune.images.reading.labels import Labels
from edgeprune.images.size import sides
from edgeprune.models import Batch

Targets = Callable[[Labels, Placement, tuple[int, int]], dict[str, torch.Tensor]]
"""What ultralytics' loss takes of an image: from its labels, its place in the input, its shape."""


def box_targets(labels: Labels, placement: Placement, shape: tuple[int, int]) -> dict[str, torch.Tensor]:
    """Return ``cls`` (n, 1) and ``bboxes`` (n, 4), centre, width and height in [0, 1] of the input."""
    return {
        "cls": torch.from_numpy(labels.boxes[:, :1]),
        "bboxes": boxes_in(labels, placement, shape),
    }


def labelled_images(
    dataset: Dataset, spec: Preprocess, count: int, seed: int, targets: Targets = box_targets
) -> Iterator[Batch]:
    """Yield up to `count` training images with their labels, one a batch, letterboxed and not augmented.

    Yields:
        What ultralytics' loss takes: ``img`` float32 (1, 3, H, W), ``batch_idx`` (n,), and what `targets`
        gives.
    """
    for path in dataset.sample("train", count, seed):
        tensor, placement = load_input(path, spec)
        found = targets(labels_of(dataset, path), placement, sides(spec.imgsz))
        yield {"img": torch.from_numpy(tensor), "batch_idx": torch.zeros(len(found["cls"])), **found}


def loss(model: nn.Module, batch: Batch) -> torch.Tensor:
    """Return the sum of a detector's training losses on a batch, a scalar with a graph behind it.

    Every gain is that of the checkpoint's training, where it tells, else ultralytics' default.
    """
    # The criterion reads the gains as attributes of `args`; the model itself keeps its own, and no criterion.
    twin = cast(Any, copy.copy(model))
    known = vars(get_cfg())
    twin.args = get_cfg(overrides={key: value for key, value in twin.args.items() if key in known})
    total: torch.Tensor = twin.init_criterion()(model(batch["img"]), batch)[0].sum()
    return total
