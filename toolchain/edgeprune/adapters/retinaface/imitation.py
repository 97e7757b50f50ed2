"""How far the outputs of one RetinaFace are from those of another one, anchor by anchor."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.nn import functional

BACKGROUND = 0.02
"""Weight of an anchor in which both networks see nothing, beside one of a sure face."""


def imitation_loss(got: Sequence[torch.Tensor], wanted: Sequence[torch.Tensor]) -> torch.Tensor:
    """Return the loss of a student's outputs, a scalar: 0 where they are the teacher's.

    The few anchors that see a face count: scores where either network sees one, by their cross-entropy and by
    their logits; boxes and landmarks where the teacher does.

    Args:
        got, wanted: box offsets, logits and landmark offsets, as `RetinaFace` gives them.
    """
    (offsets, logits, points), (offsets_, logits_, points_) = got, wanted
    own, told = logits[..., 1] - logits[..., 0], logits_[..., 1] - logits_[..., 0]
    face = told.sigmoid()
    count = face.sum().clamp_min(1.0)
    seen = torch.maximum(face, own.detach().sigmoid())
    entropy = functional.binary_cross_entropy_with_logits(own, face, reduction="none")
    least = functional.binary_cross_entropy_with_logits(told, face, reduction="none")
    scores = ((entropy - least) * (BACKGROUND + seen)).sum()
    near = (functional.smooth_l1_loss(own, told, reduction="none") * seen).sum()
    boxes, landmarks = (
        (functional.smooth_l1_loss(one, other, reduction="none").sum(2) * face).sum()
        for one, other in ((offsets, offsets_), (points, points_))
    )
    return (2 * scores + near + 2 * boxes + 0.5 * landmarks) / count
