"""Batches of a fixed size: engines are exported for so many images at once, and take no other number.

This file travels to the device with the workers: standard library and numpy, which is imported inside the
functions, since a worker sets its threads before that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray[Any, Any]
    Run = Callable[[Array], Sequence[Array]]


def in_batches(run: Run, batch: int) -> Run:
    """Return what runs any number of images, float32 (n, 3, H, W), on an engine that takes `batch` of them.

    Where the images are no whole number of batches, the last one stands in for those that are missing; what
    it gives there is dropped. The outputs are arrays (n, ...), as of an engine without a fixed batch.
    """
    if batch == 1:
        return run
    import numpy as np

    def run_all(images: Array) -> list[Array]:
        answers = [[np.array(output) for output in run(part)] for part in whole_batches(images, batch)]
        return [np.concatenate(parts)[: len(images)] for parts in zip(*answers, strict=True)]

    return run_all


def whole_batches(images: Array, batch: int) -> Iterator[Array]:
    """Yield images in batches of that size, each (batch, ...); the last image fills up the last one."""
    import numpy as np

    for start in range(0, len(images), batch):
        part = images[start : start + batch]
        missing = batch - len(part)
        yield np.concatenate([part, np.repeat(part[-1:], missing, axis=0)]) if missing else part


def rows_of(index: int, batch: int, count: int) -> list[int]:
    """Return which of `count` images the input of that index holds, of those that timing rotates over.

    The inputs go through all images, batch after batch, each pass one image later than the one before, so
    that there are as many different inputs as images. With a batch of one, input and image are the same.
    """
    first = index * batch
    return [(first + first // count + place) % count for place in range(batch)]


def inputs_of(images: Array, batch: int) -> list[Array]:
    """Return the inputs that timing rotates over, float32 (batch, 3, H, W) each, as `rows_of` has them.

    They share memory: a batch is a part of the images, which go on behind the last one with the first.
    """
    import numpy as np

    count = len(images)
    if batch == 1:
        return [np.array(images[index : index + 1]) for index in range(count)]
    longer = images[np.arange(count + batch - 1) % count]
    starts = (rows_of(index, batch, count)[0] for index in range(count))
    return [longer[start : start + batch] for start in starts]
