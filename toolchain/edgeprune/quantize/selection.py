"""Which images of a split calibrate. Every way gives the same images for the same data and seed.

- ``random``: drawn without replacement.
- ``diverse``: farthest first (T. Gonzalez, "Clustering to minimize the maximum intercluster distance", 1985;
  known as k-centre greedy from core-set selection, arXiv 1708.00489): from the image nearest to the mean on,
  always the one that is farthest from all that are chosen. Images are compared by a thumbnail, which tells
  the scene, and by histograms of their colours, which tell light and exposure.
- ``balanced``: always an image with the class that the fewest chosen ones show; images without any come last.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgeprune.config.recipe import Selection
from edgeprune.core.errors import DataError
from edgeprune.images.dataset import Dataset
from edgeprune.images.preprocess import CROPS, Image, Preprocess, centre_crop, letterbox, read_image
from edgeprune.images.reading.index import content_sha256

POOL = 2048
"""So many images of a larger split, drawn at random, are looked at for ``diverse``."""
_LOOK, _THUMBNAIL, _SHADES = 64, 16, 8  # pixels, pixels, bins of a colour's histogram

Features = npt.NDArray[np.float32]


def choose_images(
    dataset: Dataset, split: str, count: int, select: Selection, seed: int, spec: Preprocess
) -> tuple[Path, ...]:
    """Return up to `count` images of a split, sorted by path.

    Args:
        spec: how images become inputs; they are compared as the network sees them, but small.

    Raises:
        DataError: an image or a label cannot be read that the choice depends on.
    """
    if select == "random":
        return dataset.sample(split, count, seed)
    if select == "balanced":
        images = dataset.images[split]
        picked = balance_classes([classes_of(dataset, image) for image in images], count, seed)
    else:
        images = dataset.sample(split, POOL, seed)
        points = np.stack([features(read_image(image), spec) for image in images])
        picked = farthest_first(points, count)
    return tuple(sorted(images[index] for index in picked))


def farthest_first(points: Features, count: int) -> list[int]:
    """Return the rows of `points`, of shape (n, d), in the order of a farthest-first walk, up to `count`."""
    picked = [int(np.linalg.norm(points - points.mean(axis=0), axis=1).argmin())]
    distances = np.linalg.norm(points - points[picked[0]], axis=1)
    while len(picked) < min(count, len(points)):
        distances[picked[-1]] = -1  # not again, even where all that are left are copies
        picked.append(int(distances.argmax()))
        distances = np.minimum(distances, np.linalg.norm(points - points[picked[-1]], axis=1))
    return picked


def balance_classes(classes: Sequence[frozenset[int]], count: int, seed: int) -> list[int]:
    """Return up to `count` images by index, given the classes in each: all classes as often as can be."""
    order = [int(index) for index in np.random.default_rng(seed).permutation(len(classes))]
    shown = dict.fromkeys(sorted(frozenset().union(*classes)), 0)
    of_class: dict[int, list[int]] = {name: [] for name in shown}
    for index in order:
        for name in classes[index]:
            of_class[name].append(index)
    waiting = {name: iter(images) for name, images in of_class.items()}
    picked: dict[int, None] = {}
    while shown and len(picked) < count:
        rarest = min(shown, key=lambda name: shown[name])
        image = next((index for index in waiting[rarest] if index not in picked), None)
        if image is None:
            del shown[rarest]
            continue
        picked[image] = None
        for name in classes[image] & shown.keys():
            shown[name] += 1
    rest = [index for index in order if index not in picked]
    return [*picked, *rest][:count]


def features(image: Image, spec: Preprocess) -> Features:
    """Return what a BGR image looks like: float32 (792,), a 16x16 thumbnail and three histograms."""
    import cv2

    small = replace(spec, imgsz=_LOOK)
    canvas, _ = centre_crop(image, small) if spec.resize in CROPS else letterbox(image, small)
    thumbnail = cv2.resize(canvas, (_THUMBNAIL, _THUMBNAIL), interpolation=cv2.INTER_AREA) / 255
    shades = [
        np.histogram(canvas[:, :, channel], bins=_SHADES, range=(0, 256))[0] / _LOOK**2
        for channel in range(3)
    ]
    # Both are of the order of 1: the root mean square difference of pixels, and that of shares.
    parts = [thumbnail.ravel() / np.sqrt(thumbnail.size), np.concatenate(shades) / np.sqrt(3)]
    return np.concatenate(parts).astype(np.float32)


def classes_of(dataset: Dataset, image: Path) -> frozenset[int]:
    """Return the classes that an image shows, by index; a classifier's images show one."""
    return frozenset(int(row[0]) for row in dataset.boxes(image))


def images_sha256(images: Sequence[Path]) -> str:
    """Return a hash over the contents of images, in their order.

    Raises:
        DataError: one of them cannot be read.
    """
    total = hashlib.sha256()
    for image in images:
        total.update(content_sha256(image).encode())
    return total.hexdigest()


def require_content(images: Sequence[Path]) -> None:
    """Check that there is something to read ranges from; stops at the first image that shows something.

    Raises:
        DataError: no images, an image that cannot be read, or nothing but images of one colour each.
    """
    if not images:
        raise DataError("calibration: no images; activation ranges are read from at least one")
    if all(_one_colour(read_image(image)) for image in images):
        raise DataError(
            f"calibration: each of the {len(images)} images is of one colour, {images[0]} for one; ranges "
            "read from them would cut off what real images give: check the calibration split"
        )


def _one_colour(image: Image) -> bool:
    return bool((image == image[0, 0]).all())
