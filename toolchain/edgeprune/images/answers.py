"""What a network answers to image files, one by one, although it may take several of them at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeprune.images.batches import whole_batches
from edgeprune.images.preprocess import Placement, Preprocess, Tensor, load_input

Array = npt.NDArray[Any]


def answers(
    run: Callable[[Tensor], Sequence[Array]], images: Sequence[Path], spec: Preprocess
) -> Iterator[tuple[Tensor, Placement, list[Array]]]:
    """Yield each image as an input, (1, 3, H, W), where it lies there, and the outputs for it, (1, ...) each.

    Args:
        run: takes up to `spec.batch` images at once; see `in_batches` for one that takes just so many.

    Raises:
        DataError: an image cannot be read.
    """
    for start in range(0, len(images), spec.batch):
        loaded = [load_input(image, spec) for image in images[start : start + spec.batch]]
        outputs = [np.asarray(output) for output in run(np.concatenate([tensor for tensor, _ in loaded]))]
        for index, (tensor, placement) in enumerate(loaded):
            # What is no array of so many images stays whole: the head refuses it by its shape.
            own = [
                output[index : index + 1] if output.shape[:1] == (len(loaded),) else output
                for output in outputs
            ]
            yield tensor, placement, own


def load_batches(images: Sequence[Path], spec: Preprocess) -> Iterator[Tensor]:
    """Yield images as the network takes them, `spec.batch` at once; the last image fills up the last batch.

    Raises:
        DataError: an image cannot be read.
    """
    for start in range(0, len(images), spec.batch):
        loaded = [load_input(image, spec)[0] for image in images[start : start + spec.batch]]
        yield from whole_batches(np.concatenate(loaded), spec.batch)
