"""Regularisers that drive channels towards zero in training, before the cut.

Each adds the gradient of its penalty to the parameters' `.grad`, between backward and the optimiser's step.
The penalty is on the channels of coupled groups, so that all layers that share one give it up together.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch_pruning as tp
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from edgeprune.config.recipe import DEFAULT_RATIO, PruneRecipe
from edgeprune.prune.groups import Group, find_groups, trace

ALPHA = 4.0
"""A group's least important channel is pressed 2^ALPHA times as hard as its most important one (DepGraph)."""

_INPUT_SIDE = (tp.function.prune_conv_in_channels, tp.function.prune_linear_in_channels)


@dataclass(frozen=True)
class Part:
    """The slices of one layer's weight that belong to a group's channels.

    Attributes:
        dim: dimension of the weight that the channels lie along: 0 for outputs, 1 for inputs.
        places: int64 (n,), where along `dim`.
        channels: int64 (n,), the group's channel that each place belongs to.
    """

    layer: nn.Module
    dim: int
    places: torch.Tensor
    channels: torch.Tensor

    @property
    def weight(self) -> nn.Parameter:
        """The layer's weight: looked up each time, since a trainer may move it."""
        weight: nn.Parameter = self.layer.weight  # type: ignore[assignment]
        return weight

    @property
    def is_scale(self) -> bool:
        """Whether this is a batch norm's scale (gamma)."""
        return isinstance(self.layer, _BatchNorm)

    def squares(self, width: int) -> torch.Tensor:
        """Return the sum of squared weights of each channel, float (width,)."""
        weight = self.weight.detach()
        rows = weight.index_select(self.dim, self.places.to(weight.device)).movedim(self.dim, 0)
        sums = rows.flatten(1).square().sum(1) if rows.dim() > 1 else rows.square()
        return weight.new_zeros(width).index_add_(0, self.channels.to(weight.device), sums)

    def pull(self, factor: torch.Tensor) -> None:
        """Add `factor` (one a channel) times the weight to the gradient; a frozen layer has none."""
        weight, grad = self.weight.detach(), self.weight.grad
        if grad is None:
            return
        places = self.places.to(weight.device)
        shape = [-1 if dim == self.dim else 1 for dim in range(weight.dim())]
        factors = factor[self.channels.to(weight.device)].to(weight.dtype).view(shape)
        grad.index_add_(self.dim, places, weight.index_select(self.dim, places) * factors)


@dataclass(frozen=True)
class Coupled:
    """A group as the regularisers see it.

    Attributes:
        width: number of channels.
        parts: the weights that the channels own.
        doomed: float (width,), 1 for the channels that are to be removed, else 0.
    """

    name: str
    width: int
    parts: tuple[Part, ...]
    doomed: torch.Tensor

    @property
    def scales(self) -> list[Part]:
        """The batch-norm scales among the parts."""
        return [part for part in self.parts if part.is_scale]


def find_coupled(
    model: nn.Module, example: torch.Tensor, fixed: Sequence[nn.Module], recipe: PruneRecipe
) -> list[Coupled]:
    """Trace a network and couple the channels that a recipe may cut; see `couple`.

    Args:
        example: input of the network, float32 (1, 3, H, W).
        fixed: layers that are never pruned.

    Raises:
        ModelError: the network cannot be traced.
    """
    groups = find_groups(trace(model, example, fixed), model, fixed, recipe.skip)
    return couple(groups, DEFAULT_RATIO if recipe.ratio is None else recipe.ratio, recipe.max_ratio)


def couple(groups: Sequence[Group], ratio: float, max_ratio: float = 1.0) -> list[Coupled]:
    """Resolve groups to the weights of their channels, and mark those that are to be removed.

    Marked is the share `ratio` of all channels with the smallest norm over their group's mean norm, but in no
    group more than `max_ratio`. The marks are set once and stay, as in arXiv 2012.09243.
    """
    parts = [_parts(group) for group in groups]
    norms = [_squares(own, group.width).sqrt().cpu() for own, group in zip(parts, groups, strict=True)]
    relative = [norm / norm.mean().clamp_min(1e-12) for norm in norms]
    ranked = torch.cat(relative).sort().values if relative else torch.zeros(0)
    threshold = ranked[int(len(ranked) * ratio)] if int(len(ranked) * ratio) < len(ranked) else math.inf
    coupled = []
    for group, own, norm in zip(groups, parts, relative, strict=True):
        count = min(int((norm < threshold).sum()), int(group.width * max_ratio))
        doomed = torch.zeros(group.width)
        doomed[norm.argsort()[:count]] = 1.0
        coupled.append(Coupled(group.name, group.width, own, doomed))
    return coupled


def _parts(group: Group) -> tuple[Part, ...]:
    parts = []
    for item in group.coupled:
        layer, inputs = item.dep.target.module, item.dep.handler in _INPUT_SIDE
        if not isinstance(layer, nn.Conv2d | nn.Linear | _BatchNorm) or layer.weight is None:
            continue
        if inputs and getattr(layer, "groups", 1) > 1:
            continue  # the inputs of a grouped convolution are numbered within each of its groups
        places = torch.tensor(item.idxs, dtype=torch.int64)
        parts.append(Part(layer, int(inputs), places, group.owners(item)))
    return tuple(parts)


def _squares(parts: Sequence[Part], width: int) -> torch.Tensor:
    return torch.stack([part.squares(width) for part in parts]).sum(0)


def slim(group: Coupled, strength: float) -> None:
    """L1 on every batch-norm scale: strength x sum |gamma| (network slimming, arXiv 1708.06519)."""
    for part in group.scales:
        weight, grad = part.weight.detach(), part.weight.grad
        if grad is not None:
            places = part.places.to(weight.device)
            grad.index_add_(0, places, strength * weight[places].sign())


def group_slim(group: Coupled, strength: float) -> None:
    """Group lasso on the n_k scales that share channel k: strength x sum_k sqrt(n_k) ||gamma_k||.

    The weight sqrt(n_k) is that of Yuan and Lin (2006); with one batch norm it is `slim`.
    """
    scales = group.scales
    if not scales:
        return
    norm = _squares(scales, group.width).sqrt().clamp_min(1e-12)
    counts = torch.stack([part.channels.bincount(minlength=group.width) for part in scales]).sum(0)
    for part in scales:
        part.pull(strength * counts.to(norm.device).sqrt() / norm)


def group_sl(group: Coupled, strength: float) -> None:
    """Shrink all weights of channels: strength / 2 x sum_k 2^(ALPHA u_k) ||w_k||^2 (arXiv 2301.12900).

    u_k runs from 0 for the channel of the group's largest norm to 1 for that of the smallest, anew at each
    step and constant within it. Norms, not their squares, as the authors' own code has it.
    """
    norm = _squares(group.parts, group.width).sqrt()
    rank = (norm.max() - norm) / (norm.max() - norm.min()).clamp_min(1e-12)
    for part in group.parts:
        part.pull(strength * 2 ** (ALPHA * rank))


def growing_reg(group: Coupled, strength: float) -> None:
    """L2 on the channels to be removed: strength / 2 x sum of ||w_k||^2 over them (arXiv 2012.09243)."""
    if not group.doomed.any():
        return
    for part in group.parts:
        part.pull(strength * group.doomed.to(part.weight.device))


def strength_at(epoch: int, epochs: int, start: float) -> float:
    """Return the strength in an epoch, counted from 0: from `start` along a half cosine towards 0.

    The last epochs are all but free of the penalty, so that the channels that stay can settle.
    """
    return start * (1 + math.cos(math.pi * epoch / epochs)) / 2


def grown_at(epoch: int, epochs: int, end: float) -> float:
    """Return the strength in an epoch, counted from 0: in equal steps up to `end` in the last one.

    For `growing_reg`, which grows by nature and has nothing to decay: channels that stay are never pressed.
    """
    return end * ((epoch + 1) / epochs)


@dataclass(frozen=True)
class Regulariser:
    """What one step adds to the gradients of a group, and how its strength runs over the epochs."""

    penalise: Callable[[Coupled, float], None]
    schedule: Callable[[int, int, float], float]


REGULARISERS: dict[str, Regulariser] = {
    "slim": Regulariser(slim, strength_at),
    "group_slim": Regulariser(group_slim, strength_at),
    "group_sl": Regulariser(group_sl, strength_at),
    "growing_reg": Regulariser(growing_reg, grown_at),
}


def add_gradients(groups: Sequence[Coupled], name: str, strength: float) -> None:
    """Add the gradients of the named penalty to the `.grad` of the groups' parameters, in place."""
    for group in groups:
        REGULARISERS[name].penalise(group, strength)
