"""Widths under a bound on multiply-accumulates: the knapsack over what each layer computes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import nn

from edgeprune.core.errors import BudgetError, ModelError
from edgeprune.prune.groups import Group, count_macs
from edgeprune.prune.knapsack import Cost, Widths, allot
from edgeprune.prune.layers import layers_of
from edgeprune.records.latency_table import Layer, widths_at

TRIES = 4
"""So often is less asked for where a cut network computes more than was predicted."""


def work_by_width(model: nn.Module, example: torch.Tensor, groups: Sequence[Group]) -> Cost | None:
    """Return what tells a network's multiply-accumulates for one input when groups have these widths.

    It is None where a group reaches a convolution in a way that no whole number of channels describes.

    Args:
        example: one input, float32 (1, 3, H, W).
        groups: of this very network, from `find_groups`.
    """
    try:
        layers = layers_of(model, example, groups)
    except ModelError:
        return None
    widths = {group.name: group.width for group in groups}
    rest = count_macs(model, example)[0] - sum(_macs(layer, {}, widths) for layer in layers)
    return lambda keep: float(rest + sum(_macs(layer, keep, widths) for layer in layers))


def widths_within(
    predicted: Cost,
    counted: Cost,
    scores: Mapping[str, torch.Tensor],
    options: Mapping[str, Sequence[int]],
    budget: float,
) -> dict[str, int] | None:
    """Return the most important widths that keep to a budget of multiply-accumulates, None if none do.

    Args:
        predicted: quick to ask, see `work_by_width`.
        counted: of the network that is cut to these widths: what has the last word.
        scores: of the channels (n,) by group.
        options: widths that each group may have, rising.
    """
    asked = budget
    for _ in range(TRIES):
        try:
            keep = allot({name: score.tolist() for name, score in scores.items()}, options, predicted, asked)
        except BudgetError:
            return None
        if (found := counted(keep.keep)) <= budget:
            return keep.keep
        asked *= budget / found
    return None


def _macs(layer: Layer, keep: Widths, original: Widths) -> int:
    cin, cout = widths_at(layer, keep, original)
    height, width = layer.shape.kernel
    return height * width * layer.shape.pixels * cout * (1 if layer.shape.groups == "depthwise" else cin)
