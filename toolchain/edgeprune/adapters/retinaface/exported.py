"""RetinaFace as it is exported: one output of boxes, scores and landmarks in pixels, its anchors inside.

The three heads of a level become one convolution: runtimes run convolutions of 2, 8 and 20 channels no faster
than one of 30. Of the two logits only the difference counts, whose sigmoid is the softmax. Its rows are in
such an order that no transposition is needed.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import cast

import torch
from torch import nn

from edgeprune.adapters.retinaface.network import ANCHORS, Head, RetinaFace, features_of
from edgeprune.adapters.retinaface.priors import VARIANCES, level_priors

ROWS = 15
"""Centre, size, score, and x and y of five landmarks."""
_FLOAT = re.compile(r"^/(decode|heads)")


class ExportedFace(nn.Module):
    """Images to (n, 15, anchors): centre and size, score, and five landmarks of every anchor.

    Coordinates are in pixels of the input. The anchors come by level, size, row and column.
    """

    def __init__(self, network: RetinaFace) -> None:
        super().__init__()
        self.body, self.fpn = network.body, network.fpn  # their names stay those of the network
        self.ssh1, self.ssh2, self.ssh3 = network.ssh1, network.ssh2, network.ssh3
        self.heads = nn.ModuleList(
            join_heads(cast(Head, box), cast(Head, face), cast(Head, points))
            for box, face, points in zip(
                network.BboxHead, network.ClassHead, network.LandmarkHead, strict=True
            )
        )
        self.decode = _Decode()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Map float32 (n, 3, h, w), BGR less the means, to float32 (n, 15, anchors)."""
        features = features_of(self, images)
        found = [head(level) for head, level in zip(self.heads, features, strict=True)]
        decoded: torch.Tensor = self.decode(found, images.shape[2:])
        return decoded


class _Decode(nn.Module):
    """Offsets to pixels, logits to scores; in float when the network is quantized."""

    def forward(self, found: Sequence[torch.Tensor], shape: Sequence[int]) -> torch.Tensor:
        batch = len(found[0])
        rows = torch.cat([level.reshape(batch, ROWS, -1) for level in found], 2)
        priors = anchors_by_size([int(side) for side in shape]).T
        # They are constants of the file, and squares: four numbers an anchor, where one for every row that
        # is decoded would outweigh the layers of a pruned network.
        places, sides = priors[None, :2], priors[None, 2:3]
        reach = VARIANCES[0] * sides
        centre = places + rows[:, 0:2] * reach
        size = sides * (rows[:, 2:4] * VARIANCES[1]).exp()
        points = (places + rows[:, 5:].reshape(batch, 5, 2, -1) * reach).flatten(1, 2)
        return torch.cat([centre, size, rows[:, 4:5].sigmoid(), points], 1)


def anchors_by_size(shape: Sequence[int]) -> torch.Tensor:
    """Return the anchors (n, 4) of centre and size in pixels, by level, size, row and column."""
    levels = [level_priors(shape, level).reshape(-1, ANCHORS, 4) for level in range(3)]
    return torch.cat([level.transpose(0, 1).reshape(-1, 4) for level in levels])


def join_heads(box: Head, face: Head, points: Head) -> nn.Conv2d:
    """Return one 1x1 convolution of the rows of three heads: (n, c, h, w) to (n, 15 * anchors, h, w)."""
    weights, biases = [], []
    for head in (box, face, points):
        conv = head.conv1x1
        shape = (ANCHORS, head.values)
        weight = conv.weight.detach().reshape(*shape, -1)
        bias = cast(torch.Tensor, conv.bias).detach().reshape(shape)
        if head is face:
            weight, bias = weight[:, 1:] - weight[:, :1], bias[:, 1:] - bias[:, :1]
        weights.append(weight.transpose(0, 1))
        biases.append(bias.transpose(0, 1))
    joined = torch.cat(weights)
    conv = nn.Conv2d(joined.shape[2], ROWS * ANCHORS, 1)
    conv.weight = nn.Parameter(joined.reshape(ROWS * ANCHORS, -1, 1, 1).contiguous())
    conv.bias = nn.Parameter(torch.cat(biases).reshape(-1).contiguous())
    return conv


def float_nodes(names: Sequence[str]) -> list[str]:
    """Return the nodes of the heads and the decode, which stay in float: they make pixels and scores."""
    return [name for name in names if _FLOAT.match(name)]
