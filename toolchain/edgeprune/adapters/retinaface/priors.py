"""Anchors of RetinaFace, and boxes and landmarks as offsets from them, as SSD has them (arXiv 1512.02325)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

STRIDES = (8, 16, 32)
SIZES = ((10, 20), (32, 64), (128, 256))
"""Sides of the anchors of each level, in pixels of the input."""
VARIANCES = (0.1, 0.2)


def prior_boxes(shape: Sequence[int]) -> torch.Tensor:
    """Return the anchors of an input: float32 (anchors, 4) of centre and size in pixels.

    They come by level, row, column, and size.

    Args:
        shape: height and width of the input, in pixels.
    """
    return torch.cat([level_priors(shape, level) for level in range(len(STRIDES))])


def level_priors(shape: Sequence[int], level: int) -> torch.Tensor:
    """Return the anchors of one level; see `prior_boxes`."""
    stride, sizes = STRIDES[level], torch.tensor(SIZES[level], dtype=torch.float32)
    rows, columns = (
        (torch.arange(math.ceil(side / stride), dtype=torch.float32) + 0.5) * stride for side in shape
    )
    y, x, size = torch.meshgrid(rows, columns, sizes, indexing="ij")
    return torch.stack([x, y, size, size], -1).reshape(-1, 4)


def encode(boxes: torch.Tensor, priors: torch.Tensor) -> torch.Tensor:
    """Return boxes (n, 4) of two corners in pixels as offsets (n, 4) from as many anchors."""
    centres, sizes = (boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]
    place = (centres - priors[:, :2]) / (VARIANCES[0] * priors[:, 2:])
    return torch.cat([place, (sizes / priors[:, 2:]).log() / VARIANCES[1]], 1)


def encode_landmarks(points: torch.Tensor, priors: torch.Tensor) -> torch.Tensor:
    """Return landmarks (n, 10) of x and y in pixels as offsets (n, 10) from as many anchors."""
    away = points.reshape(-1, 5, 2) - priors[:, None, :2]
    return (away / (VARIANCES[0] * priors[:, None, 2:])).reshape(-1, 10)


def decode(offsets: torch.Tensor, priors: torch.Tensor) -> torch.Tensor:
    """Return offsets (..., 4) from anchors as boxes (..., 4) of centre and size in pixels."""
    centres = priors[:, :2] + offsets[..., :2] * VARIANCES[0] * priors[:, 2:]
    return torch.cat([centres, priors[:, 2:] * (offsets[..., 2:] * VARIANCES[1]).exp()], -1)


def decode_landmarks(offsets: torch.Tensor, priors: torch.Tensor) -> torch.Tensor:
    """Return offsets (..., 10) from anchors as landmarks (..., 10) of x and y in pixels."""
    return priors[:, :2].repeat(1, 5) + offsets * VARIANCES[0] * priors[:, 2:].repeat(1, 5)
