"""The loss of classic YOLOv5: boxes by CIoU, objectness and classes by binary cross-entropy.

Written after the documentation of YOLOv5 ("Architecture description", 4.2 to 4.3) and the paper of CIoU
(arXiv 1911.08287). A target is assigned to every anchor whose sides differ from its own by less than a
factor, in its own cell and in the two nearest neighbours.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch.nn import functional
from ultralytics.utils.metrics import bbox_iou

_Gain = Annotated[float, Field(ge=0, le=1e4, allow_inf_nan=False)]
BALANCE = {3: (4.0, 1.0, 0.4), 4: (4.0, 1.0, 0.25, 0.06), 5: (4.0, 1.0, 0.25, 0.06, 0.02)}
"""Weight of the objectness of each level, by the number of levels: the finer one has more cells."""
_NEIGHBOURS = ((0, 0), (-1, 0), (0, -1), (1, 0), (0, 1))
"""Steps, in x and y, from a target's own cell to those that may take it as well."""


class Gains(BaseModel):
    """What weighs the parts of the loss; a checkpoint's `hyp` has these names among others.

    Attributes:
        box, obj, cls: of the three parts, already scaled by classes, levels and image size as a training of
            YOLOv5 does before its first step.
        cls_pw, obj_pw: weight of the positive in both cross-entropies.
        anchor_t: a side of a target differs from its anchor's by less than this factor.
        label_smoothing: of the classes.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    box: _Gain = 0.05
    obj: _Gain = 1.0
    cls: _Gain = 0.5
    cls_pw: _Gain = 1.0
    obj_pw: _Gain = 1.0
    anchor_t: Annotated[float, Field(gt=1, le=1e4, allow_inf_nan=False)] = 4.0
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0


def usual_gains(classes: int, levels: int, imgsz: int) -> Gains:
    """Return the gains of YOLOv5's `hyp.scratch-low.yaml`, scaled as its trainer does."""
    usual = Gains()
    return usual.model_copy(
        update={
            "box": usual.box * 3 / levels,
            "obj": usual.obj * (imgsz / 640) ** 2 * 3 / levels,
            "cls": usual.cls * classes / 80 * 3 / levels,
        }
    )


class Assigned(NamedTuple):
    """The places of one level that have to find a target; n of them.

    Attributes:
        image, anchor, row, column: int64 (n,).
        box: float (n, 4), the target's centre from the corner of that cell and its size, in cells.
        classes: int64 (n,).
    """

    image: torch.Tensor
    anchor: torch.Tensor
    row: torch.Tensor
    column: torch.Tensor
    box: torch.Tensor
    classes: torch.Tensor


@dataclass(frozen=True)
class AnchorLoss:
    """A criterion as ultralytics' trainers call it.

    Attributes:
        anchors: float (levels, anchors, 2), in cells of their level.
    """

    anchors: torch.Tensor
    classes: int
    gains: Gains

    def __call__(self, outputs: Any, batch: Any) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """Return the loss of a batch and its three parts.

        Args:
            outputs: of `AnchorDetect`, in training or evaluation.
            batch: ``cls`` (n, 1), ``bboxes`` (n, 4) as centre and size in [0, 1], ``batch_idx`` (n,).

        Returns:
            Float (3,) of boxes, objectness and classes, times the number of images; and each of them alone.
        """
        levels = (outputs[1] if isinstance(outputs, tuple) else outputs)["levels"]
        targets = torch.cat(
            [batch["batch_idx"].view(-1, 1), batch["cls"].view(-1, 1), batch["bboxes"]], 1
        ).to(levels[0])
        total = levels[0].new_zeros(3)
        for level, anchors, weight in zip(
            levels, self.anchors.to(levels[0]), BALANCE[len(levels)], strict=True
        ):
            total = total + self._of_level(level, anchors, weight, targets)
        gains = total.new_tensor((self.gains.box, self.gains.obj, self.gains.cls))
        parts = total * gains
        names = ("box_loss", "obj_loss", "cls_loss")
        return parts * levels[0].shape[0], dict(zip(names, parts.detach(), strict=True))

    def _of_level(
        self, level: torch.Tensor, anchors: torch.Tensor, weight: float, targets: torch.Tensor
    ) -> torch.Tensor:
        """Return the parts of the loss, float (3,), on one level (B, anchors, 5 + classes, h, w)."""
        wanted = level.new_zeros(level[:, :, 0].shape)
        boxes = classes = level.sum() * 0
        found = assign(targets, anchors, (level.shape[-2], level.shape[-1]), self.gains.anchor_t)
        if len(found.image):
            places = (found.image, found.anchor, found.row, found.column)
            chosen = level.permute(0, 1, 3, 4, 2)[places]
            centre = chosen[:, :2].sigmoid() * 2 - 0.5
            size = (chosen[:, 2:4].sigmoid() * 2) ** 2 * anchors[found.anchor]
            overlap = bbox_iou(torch.cat((centre, size), 1), found.box, CIoU=True).squeeze(1)
            boxes = (1 - overlap).mean()
            wanted[places] = overlap.detach().clamp(0).to(wanted.dtype)
            if self.classes > 1:
                classes = self._of_classes(chosen[:, 5:], found.classes)
        objectness = functional.binary_cross_entropy_with_logits(
            level[:, :, 4], wanted, pos_weight=level.new_tensor(self.gains.obj_pw)
        )
        return torch.stack((boxes, objectness * weight, classes))

    def _of_classes(self, logits: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:
        smooth = self.gains.label_smoothing / 2
        wanted = torch.full_like(logits, smooth)
        wanted[torch.arange(len(classes)), classes] = 1 - smooth
        return functional.binary_cross_entropy_with_logits(
            logits, wanted, pos_weight=logits.new_tensor(self.gains.cls_pw)
        )


def assign(targets: torch.Tensor, anchors: torch.Tensor, size: tuple[int, int], factor: float) -> Assigned:
    """Name the anchors and cells of a level that have to find each target.

    Args:
        targets: float (n, 6) of image, class, and centre and size of the box in [0, 1].
        anchors: float (a, 2), in cells.
        size: rows and columns of the level.
        factor: a side of a target differs from the anchor's by less than this.
    """
    rows, columns = size
    whole = targets.new_tensor((columns, rows))
    centre, sides = targets[:, 2:4] * whole, targets[:, 4:6] * whole
    ratio = sides[None] / anchors[:, None]
    anchor, target = torch.where(torch.maximum(ratio, 1 / ratio).amax(2) < factor)
    centre, sides = centre[target], sides[target]
    near = centre % 1 < 0.5  # to the cell on the left, above
    far = (whole - centre) % 1 < 0.5  # on the right, below
    near, far = near & (centre > 1), far & (whole - centre > 1)
    takes = torch.stack((torch.ones_like(near[:, 0]), near[:, 0], near[:, 1], far[:, 0], far[:, 1]))
    step, which = torch.where(takes)
    halves = targets.new_tensor(_NEIGHBOURS) / 2
    cell = (centre[which] + halves[step]).long()
    cell = torch.minimum(cell.clamp(min=0), (whole - 1).long())
    return Assigned(
        image=targets[target[which], 0].long(),
        anchor=anchor[which],
        row=cell[:, 1],
        column=cell[:, 0],
        box=torch.cat((centre[which] - cell, sides[which]), 1),
        classes=targets[target[which], 1].long(),
    )
