"""Labels in the input of a network as ultralytics' own loader has them: boxes, masks, keypoints."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from ultralytics.data.utils import polygons2masks_overlap
from ultralytics.utils.ops import resample_segments, xyxyxyxy2xywhr

from edgeprune.images.heads.masks import STRIDE
from edgeprune.images.preprocess import Placement
from edgeprune.images.reading.labels import Boxes, Labels

POINTS, CORNERS = 1000, 100
"""Points that an outline and a rotated box are resampled to (`YOLODataset.update_labels_info`)."""


def boxes_in(labels: Labels, placement: Placement, shape: tuple[int, int]) -> torch.Tensor:
    """Return the boxes of an image as centre and size in [0, 1] of the input, float32 (n, 4).

    Args:
        shape: height and width of the input, in pixels.
    """
    height, width = shape
    rows = torch.from_numpy(labels.boxes)
    size, corner = torch.from_numpy(_size(placement)), torch.from_numpy(_corner(placement))
    boxes = torch.cat([rows[:, 1:3] * size + corner, rows[:, 3:5] * size], dim=1)
    return boxes / torch.tensor([width, height, width, height], dtype=torch.float32)


def masks_in(
    labels: Labels, placement: Placement, shape: tuple[int, int]
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Draw the objects of an image, the smaller over the larger.

    Returns:
        Of each pixel, in the size of the prototypes, the place of its object, from 1 on; 0 is background. And
        which label each place is.
    """
    height, width = shape
    if not labels.polygons:
        return np.zeros((height // STRIDE, width // STRIDE), dtype=np.intp), np.zeros(0, dtype=np.intp)
    outlines = _outlines(labels.polygons, placement, POINTS)
    drawn, order = polygons2masks_overlap(shape, list(outlines), downsample_ratio=STRIDE)
    return drawn.astype(np.intp), np.asarray(order, dtype=np.intp)


def rotated_in(labels: Labels, placement: Placement) -> torch.Tensor:
    """Return rotated boxes of an image, float32 (n, 5): centre, size in pixels of the input, and angle."""
    if not labels.polygons:
        return torch.zeros(0, 5)
    found: torch.Tensor = xyxyxyxy2xywhr(torch.from_numpy(_outlines(labels.polygons, placement, CORNERS)))
    return found


def keypoints_in(labels: Labels, placement: Placement) -> torch.Tensor:
    """Return keypoints of an image, float32 (n, count, 3): x and y in pixels, and 0 if it is not to be seen.

    Where labels do not tell, every keypoint that is not negative can be seen.
    """
    assert labels.keypoints is not None
    points = labels.keypoints[..., :2] * _size(placement) + _corner(placement)
    seen = (labels.keypoints[..., :2] >= 0).all(axis=-1, keepdims=True).astype(np.float32)
    if labels.keypoints.shape[-1] == 3:
        seen = labels.keypoints[..., 2:]
    return torch.from_numpy(np.concatenate([points, seen], axis=-1))


def _outlines(polygons: Sequence[Boxes], placement: Placement, points: int) -> Boxes:
    longest = max(map(len, polygons))
    even = np.stack(resample_segments(list(polygons), n=longest + 1 if points < longest else points))
    return np.asarray(even * _size(placement) + _corner(placement), dtype=np.float32)


def _size(placement: Placement) -> Boxes:
    return np.array([placement.width, placement.height], dtype=np.float32)


def _corner(placement: Placement) -> Boxes:
    return np.array([placement.left, placement.top], dtype=np.float32)
