"""Criteria: which channels of a group matter least. Each maps a group to one float32 score a channel.

To add one: a function here and a line in `CRITERIA`. A criterion reads weights, it never changes them.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch_pruning as tp

from edgeprune.prune.groups import Group

Score = Callable[[Group, torch.Generator], torch.Tensor]
"""Group of n channels -> float tensor (n,), higher is more important. The generator is for chance alone."""


def random(group: Group, generator: torch.Generator) -> torch.Tensor:
    """Score at random: the baseline that any other criterion has to beat."""
    return torch.rand(group.width, generator=generator)


def l1(group: Group, generator: torch.Generator) -> torch.Tensor:
    """Sum of absolute weights of the root's filters (Li et al., arXiv 1608.08710)."""
    return _magnitude(group, p=1)


def l2(group: Group, generator: torch.Generator) -> torch.Tensor:
    """Sum of squared weights of the root's filters."""
    return _magnitude(group, p=2)


def group_norm(group: Group, generator: torch.Generator) -> torch.Tensor:
    """Norm over all layers that share the channel (DepGraph, arXiv 2301.12900, equation 6)."""
    return _scored(tp.importance.GroupMagnitudeImportance(p=2), group)


def lamp(group: Group, generator: torch.Generator) -> torch.Tensor:
    """Layer-adaptive magnitude: a squared norm over the sum of those not smaller (arXiv 2010.07611)."""
    return _scored(tp.importance.LAMPImportance(p=2), group)


CRITERIA: dict[str, Score] = {
    "random": random,
    "l1": l1,
    "l2": l2,
    "group_norm": group_norm,
    "lamp": lamp,
}


def _magnitude(group: Group, p: int) -> torch.Tensor:
    return _scored(tp.importance.MagnitudeImportance(p=p, group_reduction="first"), group)


def _scored(importance: Callable[[object], torch.Tensor | None], group: Group) -> torch.Tensor:
    with torch.no_grad():
        scores = importance(group.coupled)
    if scores is None:
        raise RuntimeError(f"{group.name}: the criterion gave no scores")
    return scores.detach().float().cpu()
