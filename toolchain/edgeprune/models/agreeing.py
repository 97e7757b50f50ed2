"""What two runs of one network make of the same images: the detections or classes that they share."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from edgeprune.postprocess import Postprocess

Outputs = npt.NDArray[np.float32]

SURE = 0.25  # the score that deployments of a detector commonly ask for
# A score beside the threshold may fall on its other side: the partner of a sure detection may be less sure.
PARTNER = 0.2


@dataclass(frozen=True)
class Shared:
    """How many decisions two runs make, and how many of them both make.

    Attributes:
        what: ``detections`` of a score of at least 0.25 in either run, or ``classes``, the best of an image.
        count: of both runs together, those that are shared counted once a run.
        shared: as many of `count` have a partner in the other run: of the same class, at an IoU of at least
            0.5.
    """

    what: str
    count: int
    shared: int


def shared_decisions(one: Outputs, other: Outputs, post: Postprocess) -> Shared:
    """Compare the first outputs of two runs on the same images.

    Args:
        one, other: float32 (n, ...) of the shape that the spec's head has, n images.

    Raises:
        CompileError: an output has another shape than the head, or holds no finite value.
    """
    if post.task == "classify":
        same = one.argmax(axis=1) == other.argmax(axis=1)
        return Shared("classes", len(same), int(same.sum()))
    found = [pair for index in range(len(one)) for pair in _partners(one[index], other[index], post)]
    return Shared("detections", sum(sure for sure, _ in found), sum(matched for _, matched in found))


def _partners(one: Outputs, other: Outputs, post: Postprocess) -> Iterator[tuple[int, int]]:
    """Yield, for each of the two runs of one image, its sure detections and those with a partner."""
    import torch

    from edgeprune.models.detection import detections, match

    firm = replace(post, confidence=PARTNER)
    both = [detections(torch.from_numpy(output[None]), firm) for output in (one, other)]
    for mine, theirs in (both, both[::-1]):
        sure = mine[mine[:, 4] >= SURE]
        yield len(sure), int(match(sure, theirs[:, 5], theirs[:, :4])[:, 0].sum())
