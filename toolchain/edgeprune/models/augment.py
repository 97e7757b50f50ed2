"""Batches of augmented pictures, from nothing but the pictures: flipped, zoomed, recoloured, mixed.

For recoveries outside a framework that has an augmentation of its own. What follows from labels is not moved,
so only what leaves a classifier's label true is done unless pictures are mixed as well, see `Augmentation`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from edgeprune.images.pixels import Image, letterbox
from edgeprune.images.preprocess import Preprocess, read_image, to_input
from edgeprune.images.size import sides

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Augmentation:
    """How far pictures are changed.

    Attributes:
        flip: probability of mirroring left and right.
        zoom: largest share of each side that is cut away.
        colour: largest change of hue (of its circle), saturation and brightness, as shares.
        mixing: probability that a rectangle of another picture of the batch takes the place of this one's
            (CutMix, arXiv 1905.04899). Labels are not mixed: for recoveries that read none.
        mosaic: probability that four pictures become one (YOLOv4, arXiv 2004.10934), in which things are
            smaller. Labels are not moved either.
    """

    flip: float = 0.5
    zoom: float = 0.4
    colour: tuple[float, float, float] = (0.015, 0.4, 0.3)
    mixing: float = 0.0
    mosaic: float = 0.0


def batches(
    paths: Sequence[Path], spec: Preprocess, size: int, seed: int, how: Augmentation
) -> Iterator[torch.Tensor]:
    """Yield every picture once, augmented, in an order of the seed's: float32 (n, 3, H, W), n at most `size`.

    Raises:
        DataError: a picture cannot be read.
    """
    rng = np.random.default_rng(seed)
    for chosen in shuffled(paths, size, rng):
        yield load_changed(chosen, spec, rng, how)


def shuffled(paths: Sequence[Path], size: int, rng: np.random.Generator) -> Iterator[list[Path]]:
    """Yield every path once, in a random order, `size` at a time."""
    order = rng.permutation(len(paths))
    for start in range(0, len(paths), size):
        yield [paths[index] for index in order[start : start + size]]


def load_changed(
    paths: Sequence[Path], spec: Preprocess, rng: np.random.Generator, how: Augmentation
) -> torch.Tensor:
    """Read pictures, on all cores, and change them: float32 (n, 3, H, W), in the order of the paths.

    Raises:
        DataError: a picture cannot be read.
    """

    with ThreadPoolExecutor() as pool:
        pictures = [changed(image, rng, how) for image in pool.map(read_image, paths)]
    if how.mosaic:
        pictures = _some_as_mosaics(pictures, spec, rng, how.mosaic)
    images = [to_input(picture, spec)[0] for picture in pictures]
    return torch.from_numpy(mixed(np.concatenate(images), rng, how.mixing))


def _some_as_mosaics(
    pictures: Sequence[Image], spec: Preprocess, rng: np.random.Generator, probability: float
) -> list[Image]:
    """Return pictures, some of them as mosaics with three others of the same batch."""

    def drawn(picture: Image) -> Image:
        if rng.random() >= probability:
            return picture
        parts = [picture, *(pictures[index] for index in rng.integers(len(pictures), size=3))]
        return mosaic([parts[index] for index in rng.permutation(4)], spec, rng)

    return [drawn(picture) for picture in pictures]


def mosaic(pictures: Sequence[Image], spec: Preprocess, rng: np.random.Generator) -> Image:
    """Return four pictures as one of the spec's size, BGR uint8 (h, w, 3); where they meet is random.

    Each is letterboxed into its part.
    """
    height, width = sides(spec.imgsz)
    middle = [round(side * rng.uniform(0.3, 0.7)) for side in (height, width)]
    rows, columns = ([(0, at), (at, side)] for at, side in zip(middle, (height, width), strict=True))
    canvas = np.zeros((height, width, 3), dtype=np.uint8)
    places = [(row, column) for row in rows for column in columns]
    for picture, ((top, bottom), (left, right)) in zip(pictures, places, strict=True):
        part = replace(spec, imgsz=(bottom - top, right - left), pad=spec.pad or 0)
        canvas[top:bottom, left:right] = letterbox(picture, part)[0]
    return canvas


def changed(image: Image, rng: np.random.Generator, how: Augmentation) -> Image:
    """Return a picture flipped, cut and recoloured at random: BGR uint8 (h, w, 3) to another such size."""
    import cv2

    if rng.random() < how.flip:
        image = image[:, ::-1]
    height, width = image.shape[:2]
    high, wide = (max(1, round(side * (1 - how.zoom * rng.random()))) for side in (height, width))
    top, left = int(rng.integers(height - high + 1)), int(rng.integers(width - wide + 1))
    image = np.ascontiguousarray(image[top : top + high, left : left + wide])
    turn, saturation, brightness = rng.uniform(-1, 1, 3) * how.colour
    if not any(how.colour):
        return image
    planes = cv2.cvtColor(image, cv2.COLOR_BGR2HSV).astype(np.float32)
    planes[..., 0] = (planes[..., 0] + 180 * turn) % 180
    planes[..., 1:] = np.clip(planes[..., 1:] * (1 + saturation, 1 + brightness), 0, 255)
    return np.asarray(cv2.cvtColor(planes.astype(np.uint8), cv2.COLOR_HSV2BGR), dtype=np.uint8)


def mixed(images: Floats, rng: np.random.Generator, probability: float) -> Floats:
    """Return images (n, 3, H, W), some with a rectangle of the one before them in the batch."""
    result = images.copy()
    height, width = images.shape[2:]
    for index in range(len(images)):
        if len(images) > 1 and rng.random() < probability:
            high, wide = (int(rng.integers(side // 4, 3 * side // 4 + 1)) for side in (height, width))
            top, left = int(rng.integers(height - high + 1)), int(rng.integers(width - wide + 1))
            place = (slice(None), slice(top, top + high), slice(left, left + wide))
            result[(index, *place)] = images[(index - 1, *place)]
    return result
