"""What two runs of one network make of the same images: the detections or classes that they share."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from edgeprune.images.postprocess import Postprocess, Selection

Outputs = npt.NDArray[np.float32]

# A score beside the threshold may fall on its other side: the partner of a sure detection may be less sure.
PARTNER = 0.2
OVERLAP = 0.7  # IoU of partners: what the validator's NMS takes for one object
_ALL = 30_000


@dataclass(frozen=True)
class Shared:
    """How many decisions two runs make, and how many of them both make.

    Attributes:
        what: ``detections`` of a deployment in either run, or ``classes``, the best of an image.
        count: of both runs together, those that are shared counted once a run.
        shared: as many of `count` have a partner in the other run: of the same class, at an IoU of at least
            0.7.
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
    """Yield, for each of the two runs of one image, its sure detections and those with a partner.

    Partners are looked for before duplicates are removed: two boxes that overlap by just as much as NMS
    tolerates are one detection in one run and two in the other, whichever way the last bit was rounded.
    """
    import torch
    from ultralytics.utils.metrics import box_iou

    from edgeprune.adapters.ultralytics.mean_ap import detections

    def found(output: Outputs, selection: Selection) -> torch.Tensor:
        return detections(torch.from_numpy(output[None]), post, selection)

    assert post.deployment is not None
    firm = post.deployment
    loose = Selection(PARTNER, iou=1.0, max_detections=_ALL, multi_label=True)
    for mine, theirs in ((one, other), (other, one)):
        sure, candidates = found(mine, firm), found(theirs, loose)
        same = candidates[:, 5][None] == sure[:, 5][:, None]
        overlap = box_iou(sure[:, :4], candidates[:, :4]) * same
        yield len(sure), int((overlap >= OVERLAP).any(dim=1).sum())
