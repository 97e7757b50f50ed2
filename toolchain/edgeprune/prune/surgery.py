"""One-shot structured pruning of a network: score, allot widths on the step, cut."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from edgeprune.errors import ConfigError
from edgeprune.prune.allocation import (
    channels_to_remove,
    global_widths,
    local_widths,
    smallest_ratio,
)
from edgeprune.prune.criteria import CRITERIA
from edgeprune.prune.groups import Group, count_macs, find_groups, kept_whole, remove, trace
from edgeprune.recipe import DEFAULT_RATIO, PruneRecipe
from edgeprune.summary import LayerWidth, Pruning


@dataclass(frozen=True)
class Pruned:
    """A pruned network and the account of what was done to it."""

    model: nn.Module
    report: Pruning


def prune(
    model: nn.Module,
    fixed: Callable[[nn.Module], Sequence[nn.Module]],
    example: torch.Tensor,
    recipe: PruneRecipe,
    step: int,
    seed: int,
    latency_share: Callable[[nn.Module], float] | None = None,
) -> Pruned:
    """Prune a copy of a network to the recipe's goal.

    Args:
        model: traceable network in eval mode; it is left as it is.
        fixed: names the instances of a network whose channels must stay.
        example: one input, float32 (1, 3, H, W).
        step: channel step; every pruned width is a multiple of it.
        latency_share: measures a network's latency on the target over the original's, for the `speedup` goal.

    Raises:
        ConfigError: the goal is out of reach, or so small that rounding to the step leaves nothing pruned.
    """
    before = count_macs(model, example)

    def cut(ratio: float) -> nn.Module:
        return _cut(model, fixed, example, recipe, ratio, step, seed)

    if recipe.macs is not None:
        goal = f"macs {recipe.macs:g}"
        ratio = smallest_ratio(
            lambda r: count_macs(cut(r), example)[0] / before[0], recipe.macs, recipe.max_ratio, "prune.macs"
        )
    elif recipe.speedup is not None:
        if latency_share is None:
            raise ConfigError(
                "prune.speedup: this target is not measured here; give prune.ratio or prune.macs"
            )
        goal = f"speedup {recipe.speedup:g}"
        ratio = smallest_ratio(
            lambda r: latency_share(cut(r)), 1 / recipe.speedup, recipe.max_ratio, "prune.speedup", probes=4
        )
    else:
        ratio = DEFAULT_RATIO if recipe.ratio is None else recipe.ratio
        goal = f"ratio {ratio:g}"
    if ratio > recipe.max_ratio:
        raise ConfigError(f"prune.ratio: {ratio:g} is above prune.max_ratio {recipe.max_ratio:g}")
    pruned = cut(ratio)
    after = count_macs(pruned, example)
    if after[1] == before[1]:
        raise ConfigError(
            f"{goal} prunes nothing: rounded to steps of {step} channels every layer keeps its width; "
            "ask for more"
        )
    report = Pruning(
        criterion=recipe.criterion,
        goal=goal,
        ratio=ratio,
        step=step,
        params_before=before[1],
        params_after=after[1],
        macs_before=before[0],
        macs_after=after[0],
        layers=_widths(model, pruned, fixed, recipe.skip),
    )
    return Pruned(pruned, report)


def _cut(
    model: nn.Module,
    fixed: Callable[[nn.Module], Sequence[nn.Module]],
    example: torch.Tensor,
    recipe: PruneRecipe,
    ratio: float,
    step: int,
    seed: int,
) -> nn.Module:
    twin = copy.deepcopy(model)
    kept = fixed(twin)
    graph = trace(twin, example, kept)
    groups = find_groups(graph, twin, kept, recipe.skip)
    generator = torch.Generator().manual_seed(seed)
    scores = {group.name: CRITERIA[recipe.criterion](group, generator) for group in groups}
    keep = dict(zip(scores, _kept(groups, list(scores.values()), recipe, ratio, step), strict=True))
    doomed = channels_to_remove(scores, keep)
    for group in groups:
        if group.name in doomed:
            remove(graph, group, doomed[group.name])
    return twin


def _kept(
    groups: Sequence[Group], scores: Sequence[torch.Tensor], recipe: PruneRecipe, ratio: float, step: int
) -> list[int]:
    if recipe.scope == "global":
        return global_widths(scores, ratio, step, recipe.max_ratio)
    return local_widths([group.width for group in groups], ratio, step, recipe.max_ratio)


def _widths(
    before: nn.Module,
    after: nn.Module,
    fixed: Callable[[nn.Module], Sequence[nn.Module]],
    skip: Sequence[str],
) -> tuple[LayerWidth, ...]:
    kept = kept_whole(before, fixed(before), skip)
    new = dict(after.named_modules())
    return tuple(
        LayerWidth(
            layer=name,
            before=module.out_channels,
            after=new[name].out_channels,
            prunable=module not in kept,
        )
        for name, module in before.named_modules()
        if isinstance(module, nn.Conv2d)
    )
