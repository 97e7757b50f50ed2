"""Labelled images and the training loss of an ultralytics detector, for criteria that read gradients."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any, cast

import torch
from torch import nn
from ultralytics.cfg import get_cfg

from edgeprune.images.dataset import Dataset
from edgeprune.images.preprocess import Preprocess, load_input
from edgeprune.images.size import sides
from edgeprune.models import Batch


def labelled_images(dataset: Dataset, spec: Preprocess, count: int, seed: int) -> Iterator[Batch]:
    """Yield up to `count` training images with their boxes, one a batch, letterboxed and not augmented.

    Yields:
        What ultralytics' loss takes: ``img`` float32 (1, 3, H, W), ``cls`` (n, 1), ``bboxes`` (n, 4) as
        centre, width and height in [0, 1] of the letterboxed image, ``batch_idx`` (n,).
    """
    height, width = sides(spec.imgsz)
    whole = torch.tensor([width, height, width, height], dtype=torch.float32)
    for path in dataset.sample("train", count, seed):
        tensor, placement = load_input(path, spec)
        rows = torch.from_numpy(dataset.boxes(path))
        size = torch.tensor([placement.width, placement.height], dtype=torch.float32)
        corner = torch.tensor([placement.left, placement.top], dtype=torch.float32)
        boxes = torch.cat([rows[:, 1:3] * size + corner, rows[:, 3:5] * size], dim=1) / whole
        yield {
            "img": torch.from_numpy(tensor),
            "cls": rows[:, :1],
            "bboxes": boxes,
            "batch_idx": torch.zeros(len(rows)),
        }


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
