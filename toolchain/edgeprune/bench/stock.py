"""The images that a network is measured on where there is no data set: two photographs, and crops of them."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeprune.core.errors import ConfigError
from edgeprune.core.files import read_bytes
from edgeprune.core.resources import bundled
from edgeprune.images.preprocess import Preprocess, to_input

_TENSORS = 32

Image = npt.NDArray[np.uint8]


def photograph() -> Image:
    """Return a photograph: BGR, (427, 640, 3)."""
    return np.ascontiguousarray(_photographs()[0][:, :, ::-1])


def stock_images(spec: Preprocess) -> npt.NDArray[np.float32]:
    """Return 32 distinct crops of the photographs, as inputs: float32 (32, 3, imgsz, imgsz).

    They are scaled here, by the same arithmetic wherever it runs, so that OpenCV may be missing.
    """
    photos = _photographs()
    generator = np.random.default_rng(0)
    tensors = []
    for index in range(_TENSORS):
        photo = photos[index % len(photos)]
        top, left = (int(generator.integers(0, side // 2)) for side in photo.shape[:2])
        side = min(photo.shape[0] - top, photo.shape[1] - left)
        square = photo[top : top + side, left : left + side, ::-1]
        tensors.append(to_input(_scaled(square, spec.imgsz), spec)[0])
    return np.concatenate(tensors)


def _photographs() -> list[Image]:
    """Return the photographs that travel with the package: RGB, (427, 640, 3)."""
    path = bundled("calib") / "photographs" / "photographs.npz"
    with np.load(io.BytesIO(read_bytes(path, ConfigError)), allow_pickle=False) as stored:
        return [stored[name] for name in sorted(stored.files)]


def _scaled(image: npt.NDArray[Any], side: int) -> Image:
    """Scale a square image to another side, bilinear between the centres of pixels."""
    places = np.clip((np.arange(side) + 0.5) * (len(image) / side) - 0.5, 0, len(image) - 1)
    before = np.minimum(places.astype(np.intp), len(image) - 2)
    share = (places - before).astype(np.float32)
    rows = image[before] * (1 - share[:, None, None]) + image[before + 1] * share[:, None, None]
    both = rows[:, before] * (1 - share[None, :, None]) + rows[:, before + 1] * share[None, :, None]
    return np.ascontiguousarray(np.rint(both).astype(np.uint8))
