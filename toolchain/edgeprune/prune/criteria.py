"""Criteria: which channels of a group matter least. Each maps a group to one float32 score a channel.

To add one: a function here and a line in `CRITERIA`, and one in `NEEDS` if weights are not enough for it. A
criterion changes nothing. Its scores can be compared between groups, so that all channels of a network can be
ranked together. What estimates the rise of the loss (`taylor`, `hessian`, `obdc`) is in one unit for the
whole network and stays as it is. Norms mean nothing beside those of other layers: they are scaled to a mean
of 1 in each group.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from zlib import crc32

import torch
from torch import nn

from edgeprune.core.errors import ConfigError
from edgeprune.prune.evidence import Evidence, Need
from edgeprune.prune.groups import Group, members

Score = Callable[[Group, Evidence], torch.Tensor]
"""Group of n channels, and what data say of the network -> float32 (n,), >= 0, higher is more important."""

_TINY = torch.finfo(
    torch.float32
).tiny  # instead of 0 below a fraction: sparse training can bring a whole group to 0


def random(group: Group, evidence: Evidence) -> torch.Tensor:
    """Score at random: the baseline that any other criterion has to beat."""
    generator = torch.Generator().manual_seed(evidence.seed ^ crc32(group.name.encode()))
    return _mean_one(torch.rand(group.width, generator=generator))


def l1(group: Group, evidence: Evidence) -> torch.Tensor:
    """Sum of absolute weights of the root's filters (Li et al., arXiv 1608.08710)."""
    return _mean_one(_filters(group).abs().sum(1))


def l2(group: Group, evidence: Evidence) -> torch.Tensor:
    """Sum of squared weights of the root's filters."""
    return _mean_one(_filters(group).square().sum(1))


def fpgm(group: Group, evidence: Evidence) -> torch.Tensor:
    """Sum of Euclidean distances from a root's filter to all others (FPGM, arXiv 1811.00250, equation 8).

    The filter with the smallest sum lies nearest to the geometric median: the others can stand in for it.
    """
    filters = _filters(group)
    return _mean_one(torch.cdist(filters, filters, compute_mode="donot_use_mm_for_euclid_dist").sum(1))


def lamp(group: Group, evidence: Evidence) -> torch.Tensor:
    """Layer-adaptive magnitude: a squared norm over the sum of those not smaller (arXiv 2010.07611)."""
    ascending, order = _summed(group, _square).sort()
    not_smaller = ascending.flip(0).cumsum(0).flip(0)
    return torch.zeros_like(ascending).scatter_(0, order, ascending / not_smaller.clamp_min(_TINY))


def slim(group: Group, evidence: Evidence) -> torch.Tensor:
    """Scale |gamma| of the batch norms, after sparse training (Network Slimming, arXiv 1708.06519)."""
    return _mean_one(_of_scales(group, lambda _name, gamma: gamma.abs()))


def group_slim(group: Group, evidence: Evidence) -> torch.Tensor:
    """Norm of gamma over all batch norms that share the channel, which a group lasso shrinks in training."""
    return _mean_one(_of_scales(group, _square).sqrt())


def group_norm(group: Group, evidence: Evidence) -> torch.Tensor:
    """Squared norm over all layers that share the channel (DepGraph, arXiv 2301.12900, equation 6)."""
    return _mean_one(_summed(group, _square))


def group_sl(group: Group, evidence: Evidence) -> torch.Tensor:
    """Squared group norm over the group's largest, after sparse learning (DepGraph, arXiv 2301.12900)."""
    norms = _summed(group, _square)
    return norms / norms.max().clamp_min(_TINY)


def growing_reg(group: Group, evidence: Evidence) -> torch.Tensor:
    """Squared group norm, after training under a penalty that grows (Wang et al., arXiv 2012.09243)."""
    return group_norm(group, evidence)


def taylor(group: Group, evidence: Evidence) -> torch.Tensor:
    """First-order change of the loss, |weight * gradient|, over all layers (arXiv 1906.10771)."""
    gradients = evidence.gradients
    return _summed(group, lambda name, weight: (weight * _of(gradients, name, weight)).abs())


def hessian(group: Group, evidence: Evidence) -> torch.Tensor:
    """Second-order rise of the loss, weight^2 h / 2, over all layers (Optimal Brain Damage, LeCun 1989).

    Its diagonal h is that of the empirical Fisher matrix: the mean of the samples' squared gradients.
    """
    squares = evidence.squared_gradients
    return _summed(group, lambda name, weight: weight.square() * _of(squares, name, weight) / 2)


def obdc(group: Group, evidence: Evidence) -> torch.Tensor:
    """Rise of the loss without a filter, by Kronecker-factored curvature (OBD-C, arXiv 1905.05934).

    For the filter w of output channel i: S_ii (w' A w) / 2, where A is the second moment of the convolution's
    inputs and S that of the loss's gradients at its outputs (for convolutions as in arXiv 1602.01407). As
    w' A w is the energy of the channel's own output, neither matrix has to be stored. Summed over all
    convolutions that produce the channel.
    """
    rise = torch.zeros(group.width)
    for layer in members(group, nn.Conv2d):
        if layer.produces and layer.name in evidence.factors:
            energy, sensitivity = evidence.factors[layer.name].float().cpu()
            rise.index_add_(0, layer.owners, (energy * sensitivity / 2)[layer.channels])
    return rise


def apoz(group: Group, evidence: Evidence) -> torch.Tensor:
    """Share of activations that are not zero, 1 - APoZ (arXiv 1607.03250), in what the next layers read.

    SiLU is all but never 0: what is not above 0 counts as zero, which is where ReLU would have given 0.
    """
    alive, readers = torch.zeros(group.width), torch.zeros(group.width)
    for layer in members(group, nn.Conv2d, nn.Linear):
        if layer.reads and layer.name in evidence.activity:
            alive.index_add_(0, layer.owners, evidence.activity[layer.name].float().cpu()[layer.channels])
            readers.index_add_(0, layer.owners, torch.ones(len(layer.owners)))
    return _mean_one(alive / readers.clamp_min(1))


def combined(group: Group, evidence: Evidence) -> torch.Tensor:
    """Norms of the weights and of their gradient over all layers, each with a mean of 1, in given shares."""
    weights = _summed(group, _square).sqrt()
    gradient = _summed(group, lambda name, weight: _of(evidence.gradients, name, weight).square()).sqrt()
    of_weights, of_gradient = evidence.combine
    return of_weights * _mean_one(weights) + of_gradient * _mean_one(gradient)


CRITERIA: dict[str, Score] = {
    "random": random,
    "l1": l1,
    "l2": l2,
    "fpgm": fpgm,
    "lamp": lamp,
    "slim": slim,
    "group_slim": group_slim,
    "group_norm": group_norm,
    "group_sl": group_sl,
    "growing_reg": growing_reg,
    "taylor": taylor,
    "hessian": hessian,
    "obdc": obdc,
    "apoz": apoz,
    "combined": combined,
}

NEEDS: dict[str, Need] = {
    "taylor": "gradients",
    "hessian": "squared_gradients",
    "obdc": "factors",
    "apoz": "activity",
    "combined": "gradients",
}
"""The field of `Evidence` that a criterion reads, for those that need data."""


Value = Callable[[str, torch.Tensor], torch.Tensor]
"""A parameter's name and the parameter -> a value of each single weight, shaped as the parameter."""


def _summed(group: Group, value: Value, *kinds: type[nn.Module]) -> torch.Tensor:
    """Sum a value of each weight over all weights that go with a channel, in all layers of these kinds."""
    total = torch.zeros(group.width)
    for layer in members(group, *(kinds or (nn.Conv2d, nn.ConvTranspose2d, nn.BatchNorm2d, nn.Linear))):
        each = value(f"{layer.name}.weight", layer.module.get_parameter("weight").detach()).float().cpu()
        if isinstance(layer.module, nn.ConvTranspose2d):  # (in, out / groups, ...)
            each = each.transpose(0, 1)
        if layer.produces:
            sums = each.flatten(1).sum(1) if each.ndim > 1 else each
        else:  # (out, in / groups, ...) -> one sum for each input channel
            parts = getattr(layer.module, "groups", 1)
            sums = each.reshape(parts, len(each) // parts, each.shape[1], -1).sum((1, 3)).flatten()
        total.index_add_(0, layer.owners, sums[layer.channels])
    return total


def _of_scales(group: Group, value: Value) -> torch.Tensor:
    if not any(members(group, nn.BatchNorm2d)):
        raise ConfigError(
            f"prune.criterion: {group.name} has no batch norm to read the scale of; name it in prune.skip, "
            "or take a criterion of weights"
        )
    return _summed(group, value, nn.BatchNorm2d)


def _filters(group: Group) -> torch.Tensor:
    weight: torch.Tensor = group.root.get_parameter("weight").detach().flatten(1).float().cpu()
    return weight.view(group.ties, group.width, -1).transpose(0, 1).flatten(1)


def _square(_name: str, weight: torch.Tensor) -> torch.Tensor:
    return weight.square()


def _of(gathered: Mapping[str, torch.Tensor], name: str, weight: torch.Tensor) -> torch.Tensor:
    """Return what was gathered for a parameter: 0 where the loss does not depend on it."""
    return gathered[name] if name in gathered else torch.zeros_like(weight)


def _mean_one(scores: torch.Tensor) -> torch.Tensor:
    return scores / scores.mean().clamp_min(_TINY)
