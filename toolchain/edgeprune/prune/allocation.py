"""How many channels each group keeps: a multiple of the hardware's step, never 0, never above the original.

Runtimes compute channels in vectors or tiles of 8, 16 or 32. An odd width makes a smaller model slower: a
yolov8n with 5 % of its channels removed without rounding took 13 % longer on ONNX Runtime.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch

from edgeprune.errors import ConfigError


def on_step(width: float, step: int, original: int) -> int:
    """Round a wanted width to the nearest multiple of `step`, at least one step, at most the original.

    A group narrower than one step keeps all its channels.
    """
    nearest = int(width / step + 0.5) * step
    return min(original, max(step, nearest))


def local_widths(widths: Sequence[int], ratio: float, step: int, max_ratio: float) -> list[int]:
    """Keep the same share of every group, on the step."""
    return [_bounded(width * (1 - ratio), width, step, max_ratio) for width in widths]


def global_widths(scores: Sequence[torch.Tensor], ratio: float, step: int, max_ratio: float) -> list[int]:
    """Remove the least important channels of the whole network, groups made comparable by their mean score.

    Args:
        scores: one tensor (channels,) a group.
    """
    if not scores:
        return []
    normalised = [score / score.mean().clamp_min(1e-12) for score in scores]
    pooled = torch.cat(normalised).sort().values
    threshold = pooled[min(int(len(pooled) * ratio), len(pooled) - 1)]
    return [_bounded(float((score >= threshold).sum()), len(score), step, max_ratio) for score in normalised]


def _bounded(wanted: float, width: int, step: int, max_ratio: float) -> int:
    floor = width * (1 - max_ratio)
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
