"""The resamples of a split: how often each image is drawn. All models that are compared get the same ones."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

RESAMPLES = 1000
"""Efron and Tibshirani (1993, section 13.3) ask for about so many where percentiles are read."""
BLOCK = 50
"""Resamples that are drawn at a time; a block is seeded by its number, so that memory does not grow."""
SEED = 18

Counts = npt.NDArray[np.int64]


def draw(images: Sequence[str]) -> Iterator[Counts]:
    """Yield how often each resample of a split takes each image, a block of resamples at a time.

    Images are drawn by their digests and not by their places, so a resample stays the same when a folder is
    listed in another order.

    Args:
        images: their digests, at least one.

    Yields:
        int64 (`BLOCK`, n), `RESAMPLES` rows in all; each row sums to n.
    """
    count = len(images)
    places = np.argsort(np.array(images), kind="stable")
    for block in range(RESAMPLES // BLOCK):
        taken = np.random.default_rng((SEED, block)).integers(0, count, (BLOCK, count))
        rows = np.arange(BLOCK)[:, None] * count
        weights = np.empty((BLOCK, count), dtype=np.int64)
        weights[:, places] = np.bincount((taken + rows).ravel(), minlength=BLOCK * count).reshape(
            BLOCK, count
        )
        yield weights


def draws_key(images: Sequence[str]) -> str:
    """Return what two evaluations have in common where their resamples are the same ones.

    The first block is part of it, since another version of numpy may draw other numbers from a seed.
    """
    total = hashlib.sha256("\n".join(sorted(images)).encode())
    total.update(str((RESAMPLES, BLOCK, SEED)).encode())
    sorted_images = sorted(images)
    total.update(next(draw(sorted_images)).astype("<i8").tobytes())
    return total.hexdigest()
