"""What a kind of output owes: its decode, and how two runs of one network are compared."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from edgeprune.core.errors import CompileError

if TYPE_CHECKING:
    from edgeprune.images.postprocess import Postprocess, Selection

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float32]
Outputs = Sequence[Array]
"""All outputs of a network, each (n, ...) for n images; n is 1 where nothing else is said."""


@dataclass(frozen=True)
class Shared:
    """How many decisions two runs make, and how many of them both make.

    Attributes:
        what: ``detections`` of a deployment in either run, or ``classes``, the best of an image.
        count: of both runs together, those that are shared counted once a run.
        shared: as many of `count` have a partner in the other run.
    """

    what: str
    count: int
    shared: int


@dataclass(frozen=True)
class Difference:
    """The largest differences of two runs on one image: of boxes in pixels, None without boxes; of scores."""

    box_px: float | None
    score: float


Overlaps = Callable[[Floats, Floats, "tuple[Outputs, Outputs]", "Postprocess"], Array]


@dataclass(frozen=True)
class Head:
    """One kind of output.

    Attributes:
        check: raises `CompileError` where outputs have another shape, or hold what is no finite number.
        decode: from the outputs of one image to what an application reads, float32.
        shared: decisions of two runs on the same n images; None where such outputs decide nothing.
        difference: of an exported file's outputs from torch's on one image.
        error: of outputs from a reference in what the task's metric looks at; 0 where they are the same.
        masks: from the outputs of one image and rows of `decode` to bool (n, h, w); None without masks.
        overlaps: of detections of one run (n, ...) with those of another (m, ...), rows of `decode`, with the
            outputs of both: (n, m) in [0, 1]. None where nothing is detected.
    """

    check: Callable[[Outputs, Postprocess], None]
    decode: Callable[[Outputs, Postprocess, Selection | None], Floats]
    shared: Callable[[Outputs, Outputs, Postprocess], Shared | None]
    difference: Callable[[Outputs, Outputs, Postprocess], Difference]
    error: Callable[[Outputs, Outputs, Postprocess], float]
    masks: Callable[[Outputs, Floats], Array] | None = None
    overlaps: Overlaps | None = None

    def read(self, outputs: Outputs, post: Postprocess, selection: Selection | None) -> tuple[Array, ...]:
        """Return all that an application reads of one image: rows of `decode`, and masks where there are."""
        rows = self.decode(outputs, post, selection)
        return (rows,) if self.masks is None else (rows, self.masks(outputs, rows))


def require(outputs: Outputs, fits: Callable[[tuple[int, ...]], bool], wanted: str) -> None:
    """Require a first output of one image to have a shape, and to hold finite numbers only.

    Raises:
        CompileError: it has another shape, or holds NaN or infinite values.
    """
    shape = tuple(outputs[0].shape)
    if not fits(shape):
        raise CompileError(f"the network's output has shape {shape}, {wanted} is expected")
    require_finite(outputs)


def require_finite(outputs: Outputs) -> None:
    """Require outputs to hold finite numbers only.

    Raises:
        CompileError: one holds NaN or infinite values.
    """
    if not all(np.isfinite(output).all() for output in outputs):
        raise CompileError("the network's output holds NaN or infinite values")


def one_by_one(outputs: Outputs) -> list[list[Array]]:
    """Return the outputs of each image by itself, as a batch of one."""
    return [[output[index : index + 1] for output in outputs] for index in range(len(outputs[0]))]
