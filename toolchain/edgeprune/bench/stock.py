"""The images that a network is measured on where there is no data set: two photographs, and crops of them."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeprune.core.errors import ConfigError
from edgeprune.core.files import read_bytes
from edgeprune.core.resources import find_bundled
from edgeprune.images.preprocess import Preprocess, to_input
from edgeprune.images.size import sides

_TENSORS = 32

Image = npt.NDArray[np.uint8]


def photograph() -> Image:
    """Return a photograph: BGR, (427, 640, 3)."""
    return np.ascontiguousarray(_photographs()[0][:, :, ::-1])


def stock_images(spec: Preprocess) -> npt.NDArray[np.float32]:
    """Return 32 distinct crops of the photographs, as inputs: float32 (32, 3, h, w).

    They are scaled here, by the same arithmetic wherever it runs, so that OpenCV may be missing.
    """
    photos = _photographs()
    high, wide = sides(spec.imgsz)
    generator = np.random.default_rng(0)
    tensors = []
    for index in range(_TENSORS):
        photo = photos[index % len(photos)]
        top, left = (int(generator.integers(0, side // 2)) for side in photo.shape[:2])
        rest = photo[top:, left:, ::-1]
        across = min(rest.shape[1], rest.shape[0] * wide // high)
        crop = rest[: max(2, across * high // wide), : max(2, across)]
        tensors.append(to_input(_scaled(crop, high, wide), spec)[0])
    return np.concatenate(tensors)


def _photographs() -> list[Image]:
    """Return the photographs that travel with the package: RGB, (427, 640, 3)."""
    path = find_bundled("calib") / "photographs" / "photographs.npz"
    with np.load(io.BytesIO(read_bytes(path, ConfigError)), allow_pickle=False) as stored:
        return [stored[name] for name in sorted(stored.files)]


def _scaled(image: Image, high: int, wide: int) -> Image:
    """Scale an image to a height and a width, bilinear between the centres of pixels."""
    rows = _resampled(image, high)
    both = _resampled(rows.swapaxes(0, 1), wide).swapaxes(0, 1)
    return np.ascontiguousarray(np.rint(both).astype(np.uint8))


def _resampled(lines: npt.NDArray[Any], count: int) -> npt.NDArray[Any]:
    """Return so many lines of an image along its first axis, linear between the centres of its own."""
    places = np.clip((np.arange(count) + 0.5) * (len(lines) / count) - 0.5, 0, len(lines) - 1)
    before = np.minimum(places.astype(np.intp), len(lines) - 2)
    share = (places - before).astype(np.float32)[:, None, None]
    return np.asarray(lines[before] * (1 - share) + lines[before + 1] * share)
