"""A label file as ultralytics reads it (`verify_image_label`): the same boxes, and a fault where it would
leave the image out of a training.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from edgeprune.core.errors import DataError
from edgeprune.core.files import read_text

LABEL_BYTES = 64 << 20
LARGEST, LEAST = 1.01, -0.01
"""Coordinates may leave the image by this much."""
_ROW = "a label is 'class x y w h' with coordinates in [0, 1]"

Boxes = npt.NDArray[np.float32]
Shows = Literal["boxes", "polygons", "keypoints", "rotated"]
"""What a model learns of an object beside its class: a box, its outline, its keypoints, a rotated box."""


@dataclass(frozen=True)
class Skeleton:
    """The keypoints of an object, as a `data.yaml` has them.

    Attributes:
        count: how many there are.
        numbers: of each: 2 are x and y, 3 are x, y and whether it can be seen.
        flip: which keypoint each one becomes in a mirrored image (`flip_idx`); empty where it is not told.
        sigmas: of each, for the similarity of keypoints (`kpt_oks_sigmas`); empty for ultralytics' own.
    """

    count: int
    numbers: int
    flip: tuple[int, ...] = ()
    sigmas: tuple[float, ...] = ()

    @property
    def shape(self) -> tuple[int, int]:
        """How many keypoints, and numbers of each (`kpt_shape`)."""
        return self.count, self.numbers

    @property
    def columns(self) -> int:
        """Numbers of a label: class, box and keypoints."""
        return 5 + self.count * self.numbers


@dataclass(frozen=True)
class Labelling:
    """What the numbers of label files mean.

    Attributes:
        classes: how many the data set has.
        order: the model's class of each class of the files; empty where they are the same.
        is_single: every object counts as class 0 (`single_cls`).
        skeleton: of rows with keypoints; such a row is read as its box, unless keypoints are asked for.
        shows: what is asked for.
    """

    classes: int
    order: tuple[int, ...] = ()
    is_single: bool = False
    skeleton: Skeleton | None = None
    shows: Shows = "boxes"


@dataclass(frozen=True)
class Labels:
    """What one label file says.

    Attributes:
        boxes: float32 (n, 5) of the model's class, centre x, centre y, width, height; without duplicates.
        polygons: float32 (k, 2) points of each box, where the file has polygons; else empty. The corners of a
            rotated box are such a polygon.
        keypoints: float32 (n, count, numbers) in [0, 1], where keypoints are asked for.
    """

    boxes: Boxes
    polygons: tuple[Boxes, ...] = ()
    keypoints: Boxes | None = None

    def outlines(self) -> bytes:
        """Return polygons and keypoints as bytes, by which a data set is known."""
        parts = [*self.polygons, *([] if self.keypoints is None else [self.keypoints])]
        return b"\0".join(part.tobytes() for part in parts)


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
    rows, numbers = [row for _, row in lines], [number for number, _ in lines]
    if not rows:
        return _nothing(labelling)
    if labelling.shows == "keypoints":
        return _with_keypoints(rows, numbers, labelling, where)
    if labelling.skeleton is not None:
        rows = [row[:5] if len(row) == labelling.skeleton.columns else row for row in rows]
    polygons: list[Boxes] = []
    if any(len(row) > 6 for row in rows):
        polygons, boxes = _polygons(rows, numbers, where)
    elif wanted := _WANTED.get(labelling.shows):
        raise DataError(f"{where}:{numbers[0]}: {wanted}, not from {_quoted(rows[0])}")
    else:
        boxes = _boxes(rows, numbers, where)
    what = _SURROUNDED.get(labelling.shows, "the box around a polygon has") if polygons else "a label has"
    _require_sound(boxes, what, rows, numbers, where)
    _require_classes(boxes, rows, numbers, labelling, where)
    kept = _distinct(boxes, polygons)
    return Labels(
        _as_the_models(boxes[kept], labelling),
        tuple(polygons[index] for index in kept) if polygons else (),
    )


_WANTED = {
    "polygons": "masks are learnt from polygons, 'class x1 y1 x2 y2 x3 y3 ...'",
    "rotated": "rotated boxes are learnt from their corners, 'class x1 y1 x2 y2 x3 y3 x4 y4'",
}
_SURROUNDED = {"rotated": "a rotated box lies outside the image: what surrounds it has"}


def _nothing(labelling: Labelling) -> Labels:
    if labelling.shows != "keypoints" or labelling.skeleton is None:
        return NONE
    return Labels(NONE.boxes, keypoints=np.zeros((0, *labelling.skeleton.shape), dtype=np.float32))


def _with_keypoints(
    rows: Sequence[list[str]], numbers: Sequence[int], labelling: Labelling, where: str
) -> Labels:
    """Read rows of class, box and keypoints, as ultralytics' pose models learn them."""
    skeleton = labelling.skeleton
    assert skeleton is not None
    for number, row in zip(numbers, rows, strict=True):
        if len(row) != skeleton.columns:
            raise DataError(
                f"{where}:{number}: {len(row)} numbers, and {skeleton.columns} are needed: class, box and "
                f"{skeleton.count} keypoints of {skeleton.numbers} (kpt_shape of the data.yaml)"
            )
    whole = np.stack([_floats(row, f"{where}:{number}") for number, row in zip(numbers, rows, strict=True)])
    boxes, points = whole[:, :5], whole[:, 5:].reshape(-1, *skeleton.shape)
    # ultralytics holds the keypoints to the tolerance, and of boxes only what must not be negative.
    sound = np.isfinite(whole).all(axis=1) & (points[..., :2] <= LARGEST).all(axis=(1, 2))
    sound &= (whole >= LEAST).all(axis=1) & (boxes[:, 3:] >= 0).all(axis=1)
    if not sound.all():
        index = int(np.flatnonzero(~sound)[0])
        said = f"a label with keypoints has coordinates in [0, 1], not {_quoted(rows[index])}"
        raise DataError(f"{where}:{numbers[index]}: {said}")
    _require_classes(boxes, rows, numbers, labelling, where)
    kept = np.unique(whole, axis=0, return_index=True)[1]
    kept = np.arange(len(whole)) if len(kept) == len(whole) else kept
    return Labels(_as_the_models(boxes[kept], labelling), keypoints=points[kept])


def _as_the_models(boxes: Boxes, labelling: Labelling) -> Boxes:
    """Return boxes with the model's classes in place of those of the files."""
    if labelling.is_single:
        boxes[:, 0] = 0
    elif labelling.order:
        boxes[:, 0] = np.asarray(labelling.order, dtype=np.float32)[boxes[:, 0].astype(int)]
    return boxes


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
    boxes: Boxes, what: str, rows: Sequence[list[str]], numbers: Sequence[int], where: str
) -> None:
    """Hold the file to ultralytics' tolerances; of polygons they look at the boxes, not at the points."""
    inside = (boxes[:, 1:] <= LARGEST).all(axis=1)  # false for what is not a number
    # A box may begin outside the image by the tolerance; a class and a size are never negative.
    inside &= (boxes[:, 1:3] >= LEAST).all(axis=1) & (boxes[:, 3:] >= 0).all(axis=1)
    if not inside.all():
        index = int(np.flatnonzero(~inside)[0])
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
