"""Outputs that are read as they are: of every task that has no kind of its own here."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edgeprune.images.heads.kind import Array, Difference, Floats, Head, Outputs, Shared, require_finite

if TYPE_CHECKING:
    from edgeprune.images.postprocess import Postprocess, Selection


def decode(outputs: Outputs, post: Postprocess, selection: Selection | None) -> Floats:
    """Return the first output of one image without its batch, float32."""
    return np.asarray(outputs[0][0], dtype=np.float32)


def difference(expected: Outputs, got: Outputs, post: Postprocess | None = None) -> Difference:
    """Return the largest absolute difference over all outputs."""
    pairs = zip(expected, got, strict=True)
    return Difference(None, max(float(np.abs(one - other).max(initial=0)) for one, other in pairs))


def error(outputs: Outputs, reference: Outputs, post: Postprocess | None = None) -> float:
    """Return the error of a network's outputs: relative L2 of each channel, the mean over all.

    A channel counts by itself because an output may join coordinates in pixels and scores below 1: over all
    of it the error of the scores would not be seen. Channels lie along the shorter of the last two axes.
    """
    errors: list[float] = []
    for output, wanted in zip(outputs, reference, strict=True):
        rows, expected = (_channels(np.asarray(array, dtype=np.float64)) for array in (output, wanted))
        size = np.linalg.norm(expected, axis=1)
        distance = np.linalg.norm(np.nan_to_num(rows) - expected, axis=1)
        errors += list(distance / np.maximum(size, 1e-12 + 1e-6 * size.max(initial=0.0)))
    return float(np.mean(errors))


def _channels(array: Array) -> Array:
    if array.ndim < 3:
        return array.reshape(1, -1)
    axis = -1 if array.shape[-1] < array.shape[-2] else -2
    return np.moveaxis(array, axis, 0).reshape(array.shape[axis], -1)


def _check(outputs: Outputs, post: Postprocess) -> None:
    require_finite(outputs)


def _shared(one: Outputs, other: Outputs, post: Postprocess) -> Shared | None:
    return None


HEAD = Head(_check, decode, _shared, difference, error)
