"""The loss of RetinaFace's training: anchors matched to faces, hard negatives mined (arXiv 1512.02325)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch.nn import functional
from torchvision.ops import box_convert, box_iou

from edgeprune.adapters.retinaface.priors import encode, encode_landmarks

OVERLAP = 0.35
"""IoU from which an anchor answers for a face; the best anchor of each face does in any case."""
NEGATIVES = 7
"""Anchors without a face that count, the worst first, for each that has one."""
BOX_WEIGHT = 2.0


class Faces(NamedTuple):
    """What one image shows: boxes (n, 4) of two corners in pixels; landmarks (n, 10), NaN where not known."""

    boxes: torch.Tensor
    landmarks: torch.Tensor | None = None


def multibox_loss(
    outputs: Sequence[torch.Tensor], faces: Sequence[Faces], priors: torch.Tensor
) -> torch.Tensor:
    """Return the loss of a batch, a scalar: boxes and landmarks by smooth L1, faces by cross-entropy.

    Args:
        outputs: of `RetinaFace`: box offsets, logits and landmark offsets.
        faces: of each image of the batch.
        priors: anchors (n, 4) of centre and size, in the order of the outputs.
    """
    offsets, logits, points = outputs
    device, count = logits.device, 0
    total = logits.sum() * 0
    for index, each in enumerate(faces):
        owner = match(each.boxes.to(device), priors)
        held = owner >= 0
        mine = owner[held]
        count += len(mine)
        if len(mine):
            wanted = encode(each.boxes.to(device)[mine], priors[held])
            total = total + BOX_WEIGHT * _distance(offsets[index][held], wanted)
            if each.landmarks is not None:
                told = encode_landmarks(each.landmarks.to(device)[mine], priors[held])
                known = ~told.isnan().any(1)
                total = total + _distance(points[index][held][known], told[known])
        total = total + _classification(logits[index], held)
    return total / max(count, 1)


def match(boxes: torch.Tensor, priors: torch.Tensor) -> torch.Tensor:
    """Return for each anchor the index of the face it answers for, int64 (anchors,); -1 for none."""
    if not len(boxes):
        return torch.full((len(priors),), -1, device=priors.device)
    overlap = box_iou(boxes, box_convert(priors, "cxcywh", "xyxy"))
    best, nearest = overlap.max(0)
    owner: torch.Tensor = nearest
    owner[best < OVERLAP] = -1
    owner[overlap.argmax(1)] = torch.arange(len(boxes), device=owner.device)
    return owner


def _distance(found: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    return functional.smooth_l1_loss(found, wanted, reduction="sum")


def _classification(logits: torch.Tensor, held: torch.Tensor) -> torch.Tensor:
    losses = functional.cross_entropy(logits, held.long(), reduction="none")
    free = losses[~held]
    worst = free.topk(min(len(free), NEGATIVES * max(int(held.sum()), 1))).values
    total: torch.Tensor = losses[held].sum() + worst.sum()
    return total
