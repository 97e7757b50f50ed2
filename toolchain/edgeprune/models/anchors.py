"""Classic YOLOv5 (v5 to v7): the anchor head, and the network around it, on ultralytics' own blocks.

The layers before the head are those that ultralytics has under the same names; only the head and the loss are
gone from there. A checkpoint of a pruned model may name these classes, so their import path is part of its
format.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from ultralytics.nn.modules.head import Detect
from ultralytics.nn.tasks import DetectionModel

from edgeprune.models.anchor_loss import AnchorLoss, Gains

EPSILON = 1e-6


class AnchorDetect(Detect):  # type: ignore[misc]
    """The head of classic YOLOv5: one convolution a level, a box with objectness and classes for each anchor.

    As the documentation of YOLOv5 has it, with s for the sigmoid of an output and c for the corner of a cell:
    the centre is ``(2 s - .5 + c) * stride``, the size ``(2 s)^2 * anchor``.

    Attributes:
        anchors: sizes of the anchors, float (levels, anchors, 2), in cells of their level.
        na: anchors of a cell; `no` outputs of each.
        m: the convolutions.
    """

    cv2, cv3, dfl = None, None, None  # of ultralytics' own heads

    def __init__(self, nc: int, anchors: torch.Tensor, stride: torch.Tensor, channels: list[int]) -> None:
        """Make a head with fresh convolutions.

        Args:
            anchors: float (levels, anchors, 2), in pixels.
            stride: float (levels,), in pixels.
            channels: of each level.
        """
        nn.Module.__init__(self)
        self.nc, self.stride = nc, stride
        self._buffers["anchors"] = anchors / stride.view(-1, 1, 1)
        outputs = anchors.shape[1] * (nc + 5)
        self.m = nn.ModuleList(nn.Conv2d(width, outputs, 1) for width in channels)
        self.settle()

    def settle(self) -> None:
        """Derive the numbers of levels, anchors and outputs."""
        self.nl, self.na, _ = self.anchors.shape
        self.no = self.nc + 5
        self.places: tuple[Any, tuple[torch.Tensor, ...]] = (None, ())

    @property
    def anchors(self) -> torch.Tensor:
        """The buffer of that name, which ultralytics' class would hide by an attribute of its own."""
        anchors: torch.Tensor = self._buffers["anchors"]
        return anchors

    def forward(self, x: list[torch.Tensor]) -> Any:
        """Turn feature maps (B, c, h, w) into what training, evaluation or an exported file needs.

        Returns:
            In training a dictionary of ``levels``, each (B, anchors, 5 + classes, h, w), and ``feats``.
            Else float (B, 4 + classes, N): centre and size in pixels, and objectness times class; beside it
            the same dictionary with ``scores``, logits (B, anchors * classes, cells), by which ultralytics'
            distillation weighs places. Alone when `export` is set.
        """
        outputs = [part(feature) for part, feature in zip(self.m, x, strict=True)]
        split = [out.view(out.shape[0], self.na, self.no, *out.shape[2:]) for out in outputs]
        told = {"levels": split, "feats": x}
        if self.training:
            return told
        boxes = self.decode([level.flatten(3) for level in split], [tuple(one.shape[-2:]) for one in x])
        if self.export:
            return boxes
        return boxes, told | {"scores": self._logits(boxes[:, 4:], x)}

    def decode(self, levels: list[torch.Tensor], sizes: list[tuple[int, ...]]) -> torch.Tensor:
        """Turn outputs, each (B, anchors, 5 + classes, h * w), into float (B, 4 + classes, N)."""
        batch = levels[0].shape[0]
        joined = torch.cat([level.transpose(1, 2).reshape(batch, self.no, -1) for level in levels], 2)
        centre, size, objectness, classes = joined.sigmoid().split((2, 2, 1, self.nc), 1)
        corner, stride, anchor = self._places(sizes, joined)
        return torch.cat(((centre * 2 + corner) * stride, (size * 2) ** 2 * anchor, objectness * classes), 1)

    def _places(self, sizes: list[tuple[int, ...]], like: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Return of each box the corner of its cell less a half (2, N), its stride (1, N), its anchor (2, N).

        They are kept for the last size, so that an exported graph has them as constants.
        """
        key = (tuple(sizes), like.device, like.dtype)
        if self.places[0] != key:
            corners, strides, anchors = [], [], []
            for (height, width), stride, own in zip(sizes, self.stride.tolist(), self.anchors, strict=True):
                rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
                cells = torch.stack((columns.flatten(), rows.flatten())).repeat(1, self.na)
                corners.append(cells.to(like) - 0.5)
                strides.append(torch.full((1, cells.shape[1]), stride).to(like))
                anchors.append((own * stride).T.to(like).repeat_interleave(height * width, dim=1))
            self.places = (key, tuple(torch.cat(each, 1) for each in (corners, strides, anchors)))
        return self.places[1]

    def _logits(self, scores: torch.Tensor, levels: list[torch.Tensor]) -> torch.Tensor:
        """Return scores (B, classes, N) as logits (B, anchors * classes, cells): a cell has all its boxes."""
        cells = [one.shape[-2] * one.shape[-1] for one in levels]
        parts = scores.split([self.na * count for count in cells], 2)
        by_cell = [
            part.reshape(part.shape[0], self.nc * self.na, count)
            for part, count in zip(parts, cells, strict=True)
        ]
        return torch.cat(by_cell, 2).clamp(EPSILON, 1 - EPSILON).logit()


class AnchorModel(DetectionModel):  # type: ignore[misc]
    """A classic YOLOv5 network.

    Attributes:
        hyp: gains of its loss by their names in YOLOv5, as `Gains` checks them.
    """

    hyp: dict[str, float]

    def init_criterion(self) -> AnchorLoss:
        """Return the loss that this network is trained with."""
        head = self.model[-1]
        return AnchorLoss(head.anchors, head.nc, Gains(**self.hyp))
