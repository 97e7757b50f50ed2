"""A label file as ultralytics reads it (`verify_image_label`): the same boxes, and a fault where it would
leave the image out of a training.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgeprune.core.errors import DataError
from edgeprune.core.files import read_text

LABEL_BYTES = 64 << 20
LARGEST, LEAST = 1.01, -0.01
"""Coordinates may leave the image by this much."""
_ROW = "a label is 'class x y w h' with coordinates in [0, 1]"

Boxes = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Labelling:
    """What the numbers of label files mean.

    Attributes:
        classes: how many the data set has.
        order: the model's class of each class of the files; empty where they are the same.
        is_single: every object counts as class 0 (`single_cls`).
        keypoints: columns of a keypoint row, which is read as its box; 0 where there are none.
    """

    classes: int
    order: tuple[int, ...] = ()
    is_single: bool = False
    keypoints: int = 0


@dataclass(frozen=True)
class Labels:
    """What one label file says.

    Attributes:
        boxes: float32 (n, 5) of the model's class, centre x, centre y, width, height; without duplicates.
        polygons: float32 (k, 2) points of each box, where the file has polygons; else empty.
    """

    boxes: Boxes
    polygons: tuple[Boxes, ...] = ()


NONE = Labels(np.zeros((0, 5), dtype=np.float32))


def label_path(image: Path) -> Path:
    """Return where YOLO's layout keeps an image's labels: the last `images` folder becomes `labels`."""
    parts = list(image.parts)
    for index in range(len(parts) - 2, -1, -1):
        if parts[index] == "images":
            parts[index] = "labels"
            break
    return Path(*parts).with_suffix(".txt")


def read_labels(image: Path, labelling: Labelling) -> Labels:
    """Read the labels of an image; one without a label file is background.

    Raises:
        DataError: ultralytics would leave the image out; file and line are named where one is to blame.
    """
    path = label_path(image)
    if not path.is_file():
        if os.path.lexists(path):
            raise DataError(
                f"{path}: a folder or a link to nothing, no label file; its image would count as background"
            )
        return NONE
    text = read_text(path, DataError, LABEL_BYTES)
    lines = [(number, row) for number, line in enumerate(text.splitlines(), 1) if (row := line.split())]
    return parse_labels(lines, labelling, str(path))


def parse_labels(lines: Sequence[tuple[int, list[str]]], labelling: Labelling, where: str) -> Labels:
    """Read the rows of a label file, each given with the number of its line.

    Raises:
        DataError: see `read_labels`.
    """
    rows = [row[:5] if len(row) == labelling.keypoints else row for _, row in lines]
    numbers = [number for number, _ in lines]
    if not rows:
        return NONE
    polygons: list[Boxes] = []
    if any(len(row) > 6 for row in rows):
        polygons, boxes = _polygons(rows, numbers, where)
    else:
        boxes = _boxes(rows, numbers, where)
    _require_sound(boxes, polygons, rows, numbers, where)
    _require_classes(boxes, rows, numbers, labelling, where)
    kept = _distinct(boxes, polygons)
    boxes = boxes[kept]
    if labelling.is_single:
        boxes[:, 0] = 0
    elif labelling.order:
        boxes[:, 0] = np.asarray(labelling.order, dtype=np.float32)[boxes[:, 0].astype(int)]
    return Labels(boxes, tuple(polygons[index] for index in kept) if polygons else ())


def _floats(row: Sequence[str], where: str) -> Boxes:
    try:
        with np.errstate(over="ignore"):  # what is too large is infinite, and refused
            return np.array(row, dtype=np.float32)
    except (ValueError, OverflowError) as exc:
        raise DataError(f"{where}: a label is 'class x y w h' in numbers, not {_quoted(row)}") from exc


def _boxes(rows: Sequence[list[str]], numbers: Sequence[int], where: str) -> Boxes:
    for number, row in zip(numbers, rows, strict=True):
        if len(row) != 5:
            raise DataError(f"{where}:{number}: {_ROW}, not {_quoted(row)}")
    return np.stack([_floats(row, f"{where}:{number}") for number, row in zip(numbers, rows, strict=True)])


def _polygons(rows: Sequence[list[str]], numbers: Sequence[int], where: str) -> tuple[list[Boxes], Boxes]:
    polygons, boxes = [], []
    for number, row in zip(numbers, rows, strict=True):
        place = f"{where}:{number}"
        if len(row) == 5:
            raise DataError(
                f"{place}: the file mixes boxes and polygons, and a training would leave the image out; "
                "write all of them as one or the other"
            )
        if len(row) < 3 or len(row) % 2 == 0:
            raise DataError(f"{place}: a polygon is 'class x1 y1 x2 y2 ...', not {_quoted(row)}")
        points = _floats(row[1:], place).reshape(-1, 2)
        low, high = points.min(axis=0), points.max(axis=0)
        polygons.append(points)
        boxes.append([_floats(row[:1], place)[0], *(low + high) / 2, *(high - low)])
    return polygons, np.array(boxes, dtype=np.float32)


def _require_sound(
    boxes: Boxes, polygons: Sequence[Boxes], rows: Sequence[list[str]], numbers: Sequence[int], where: str
) -> None:
    """Hold the file to ultralytics' tolerances; of polygons they look at the boxes, not at the points."""
    inside = (boxes[:, 1:] <= LARGEST).all(axis=1)  # false for what is not a number
    # A box may begin outside the image by the tolerance; a class and a size are never negative.
    inside &= (boxes[:, 1:3] >= LEAST).all(axis=1) & (boxes[:, 3:] >= 0).all(axis=1)
    if not inside.all():
        index = int(np.flatnonzero(~inside)[0])
        what = "the box around a polygon has" if polygons else "a label has"
        raise DataError(f"{where}:{numbers[index]}: {what} coordinates in [0, 1], not {_quoted(rows[index])}")


def _require_classes(
    boxes: Boxes, rows: Sequence[list[str]], numbers: Sequence[int], labelling: Labelling, where: str
) -> None:
    for index, value in enumerate(boxes[:, 0].tolist()):
        most = np.inf if labelling.is_single else labelling.classes
        if value % 1 or not 0 <= value < most:
            raise DataError(
                f"{where}:{numbers[index]}: class {rows[index][0]} is not one of the model's "
                f"{labelling.classes} classes (0-based)"
            )


def _distinct(boxes: Boxes, polygons: Sequence[Boxes]) -> npt.NDArray[np.intp]:
    """Return the rows without exact duplicates, in ultralytics' order."""
    kept = np.unique(boxes, axis=0, return_index=True)[1]
    if len(kept) == len(boxes):
        return np.arange(len(boxes))
    if polygons:  # different polygons may have the same box
        whole = [row[:1].tobytes() + points.tobytes() for row, points in zip(boxes, polygons, strict=True)]
        kept = np.unique(np.array(whole, dtype=object), return_index=True)[1]
        if len(kept) == len(boxes):
            return np.arange(len(boxes))
    return np.asarray(kept, dtype=np.intp)


def _quoted(row: Sequence[str]) -> str:
    text = " ".join(row)
    return repr(text if len(text) <= 60 else f"{text[:60]}...")
