"""How many channels each group keeps: a multiple of the hardware's step, never 0, never above the original.

Runtimes compute channels in vectors or tiles of 8, 16 or 32. An odd width makes a smaller model slower: a
yolov8n with 5 % of its channels removed without rounding took 13 % longer on ONNX Runtime.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping, Sequence

import torch

from edgeprune.core.errors import ConfigError
from edgeprune.prune.groups import Group, goes_by
from edgeprune.records.pruning import Limit


def on_step(width: float, step: int, original: int) -> int:
    """Round a wanted width to the nearest multiple of `step`, at least one step, at most the original.

    Half-way goes down: with half of all channels cut, a network on the step is no slower than one beside it.
    A group narrower than one step keeps all its channels.
    """
    nearest = math.ceil(width / step - 0.5) * step
    return min(original, max(step, nearest))


def own_ratios(groups: Sequence[Group], ratios: Mapping[str, float]) -> dict[str, float]:
    """Return the ratio of each group that a pattern of the recipe names, the last such pattern winning.

    Args:
        ratios: glob pattern of layer names -> share of channels to remove.

    Raises:
        ConfigError: a pattern names no prunable layer.
    """
    own: dict[str, float] = {}
    for pattern, ratio in ratios.items():
        named = [group.name for group in groups if goes_by(group, pattern)]
        if not named:
            raise ConfigError(f"prune.ratios: {pattern!r} names no layer that can be pruned")
        own |= dict.fromkeys(named, ratio)
    return own


def widths(
    scores: Mapping[str, torch.Tensor],
    classes: Mapping[str, Hashable],
    ratio: float,
    step: int,
    max_ratio: float,
    own: Mapping[str, float] | None = None,
    before: Mapping[str, int] | None = None,
) -> dict[str, int]:
    """Allot the kept width of every group, by a ranking of all channels within each class of groups.

    Args:
        scores: one tensor (channels,) a group, comparable between the groups of a class.
        classes: class of each group.
        ratio: share of the channels to remove from every class.
        step: channel step; a changed width is a multiple of it.
        max_ratio: no group loses more than this share of its channels.
        own: ratios of single groups, which are then ranked by themselves.
        before: widths that the shares are of, where groups have been cut already; None for those of now.
    """
    own = own or {}
    before = before or {name: len(score) for name, score in scores.items()}
    ranked: dict[Hashable, list[str]] = {}
    for name in scores:
        ranked.setdefault(("own", name) if name in own else ("class", classes[name]), []).append(name)
    kept: dict[str, int] = {}
    for names in ranked.values():
        pooled = torch.cat([scores[name] for name in names])
        owners = torch.cat([torch.full((len(scores[name]),), index) for index, name in enumerate(names)])
        # By rank, not by a threshold: after sparse training any number of channels may share a score of 0.
        original = sum(before[name] for name in names)
        left = original - round(original * own.get(names[0], ratio))
        doomed = pooled.argsort(stable=True)[: max(0, len(pooled) - left)]
        for name, lost in zip(names, owners[doomed].bincount(minlength=len(names)).tolist(), strict=True):
            width = len(scores[name])
            kept[name] = _bounded(width - lost, width, step, before[name] * (1 - max_ratio))
    return {name: kept[name] for name in scores}


def find_limit(scores: Mapping[str, torch.Tensor]) -> Limit:
    """Return the largest threshold over all channels that leaves no layer empty, as people slim YOLOv5 by.

    Args:
        scores: one tensor (channels,) a group, comparable between all groups.
    """
    first = min(scores, key=lambda name: float(scores[name].max()))
    threshold = scores[first].max()
    below = sum(int((score < threshold).sum()) for score in scores.values())
    return Limit(threshold=float(threshold), ratio=below / sum(map(len, scores.values())), layer=first)


def _bounded(wanted: float, width: int, step: int, floor: float) -> int:
    kept = on_step(max(wanted, floor), step, width)
    # Rounding to the nearest step may undercut the floor by half a step: the bound is kept, not approached.
    return kept if kept >= floor else min(width, kept + step)


def smallest_ratio(
    measure: Callable[[float], float], goal: float, upper: float, name: str, probes: int = 7
) -> float:
    """Find by bisection the smallest ratio whose measured share is at most `goal`.

    Args:
        measure: share of the original (MACs, or latency) that is left at a ratio; falls as the ratio grows.
        goal: the share to reach, in (0, 1).
        upper: the largest ratio allowed.
        name: what is measured, for the message.

    Raises:
        ConfigError: even `upper` does not reach the goal; the message names what it does reach.
    """
    reached = measure(upper)
    if reached > goal:
        raise ConfigError(
            f"{name}: no pruning reaches {goal:.3f} of the original; the most that prune.max_ratio allows "
            f"({upper:.2f}) leaves {reached:.3f}"
        )
    low, high = 0.0, upper
    for _ in range(probes):
        middle = (low + high) / 2
        low, high = (low, middle) if measure(middle) <= goal else (middle, high)
    return high


def channels_to_remove(scores: Mapping[str, torch.Tensor], keep: Mapping[str, int]) -> dict[str, list[int]]:
    """Name the least important channels of each group that has to shrink, as sorted indices."""
    return {
        name: sorted(score.argsort()[: len(score) - keep[name]].tolist())
        for name, score in scores.items()
        if keep[name] < len(score)
    }
