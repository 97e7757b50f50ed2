"""How much a layer matters: the error that int8 in it leaves in the outputs, and its share of the time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from edgeprune.bench.node_times import NodeTime
from edgeprune.images.postprocess import Postprocess
from edgeprune.quantize.units import Unit

Array = np.ndarray[Any, Any]
Outputs = Sequence[Array]


def head_error(outputs: Outputs, reference: Outputs, post: Postprocess) -> float:
    """Return the error of a network's outputs in what its metric looks at.

    For a detector's raw head that is the mean of two errors where the reference detects something: 1 - IoU
    of the boxes, weighted by the square of their best score, and relative L2 of the scores. Two pixels are
    little of a coordinate in an image of 320 and much of a box of 20, and most anchors hold nothing that
    any metric looks at. For the others it is `output_error`.
    """
    if post.head != "raw":
        return output_error(outputs, reference)
    both = (np.asarray(rows[0][0], dtype=np.float64) for rows in (outputs, reference))
    output, wanted = map(np.nan_to_num, both)
    weight = wanted[4:].max(axis=0) ** 2
    boxes = float(weight @ (1 - _overlap(output[:4], wanted[:4]))) / max(float(weight.sum()), 1e-12)
    size = float(np.linalg.norm(wanted[4:]))
    scores = float(np.linalg.norm(output[4:] - wanted[4:])) / max(size, 1e-12)
    return (boxes + scores) / 2


def _overlap(boxes: Array, others: Array) -> Array:
    """Return the IoU of boxes (4, n) of centre and size with those at the same place in `others`."""
    sizes = np.maximum(boxes[2:], 0), np.maximum(others[2:], 0)
    low = np.maximum(boxes[:2] - sizes[0] / 2, others[:2] - sizes[1] / 2)
    high = np.minimum(boxes[:2] + sizes[0] / 2, others[:2] + sizes[1] / 2)
    common = np.maximum(high - low, 0).prod(axis=0)
    return np.asarray(common / np.maximum(sizes[0].prod(axis=0) + sizes[1].prod(axis=0) - common, 1e-12))


def output_error(outputs: Outputs, reference: Outputs) -> float:
    """Return the error of a network's outputs: relative L2 of each channel, the mean over all.

    A channel counts by itself because an output may join coordinates in pixels and scores below 1: over all
    of it the error of the scores would not be seen. Channels lie along the shorter of the last two axes.

    Args:
        outputs, reference: one array an output, shape (1, ...).
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


def unit_ms(nodes: Sequence[NodeTime], units: Sequence[Unit]) -> dict[str, float]:
    """Add up what the nodes of an engine take for each unit, in ms.

    Runtimes name what they make of a node after it, with a suffix, so the longest name that a node's begins
    with tells where it belongs. What is named after none (a reorder between two layers) counts for none.
    """
    owner = {node: unit.name for unit in units for node in unit.nodes}
    total = dict.fromkeys((unit.name for unit in units), 0.0)
    for node in nodes:
        names = [*node.layers, node.name]
        found = [known for name in names for known in owner if name.startswith(known)]
        if found:
            total[owner[max(found, key=len)]] += node.ms
    return total
