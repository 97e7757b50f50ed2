"""What goes with a residual block, in the unit of the channels' scores, so that depth competes with widths.

Zeroing the layers that write a block's branch zeroes the branch. So a block is worth what the criterion says
of all their channels: the score of a group, over these layers alone. mAP50-95 on val right after a cut of
YOLOv8n by `taylor` on 64 images, to shares of the latency by the table of x86-openvino, no training (BCCD at
320 px, 2026-11-30; uncut .5785):

    a block's loss                              .85     .75     .65     .55
    no block goes                               .5817   .5554   .5181   .4642
    the layers that write it (this)             .5796   .5696   .5343   .4782
    measured rise of the loss without it        .5812   .5724   .5343   .4779
    |sum g a| by channel, mean over images      .5796   .5702   .5216

The measured rise needs a pass over the images for every block, and a cut of widths to scale it by, and leads
to all but the same networks. |sum g a| makes the early blocks too cheap; taken over the whole branch at once,
with batch norms measured anew, it left .386 at .65 of the latency, where this left .519.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from edgeprune.config.recipe import PruneRecipe
from edgeprune.prune.criteria import CRITERIA
from edgeprune.prune.depth import removable_blocks
from edgeprune.prune.evidence import Evidence
from edgeprune.prune.groups import Group, find_groups, kept_whole, trace

IN_LOSS = frozenset(("taylor", "hessian", "obdc"))
"""Criteria whose scores estimate the rise of the loss: only they have a unit in common with a block."""


def score_blocks(
    model: nn.Module,
    fixed: Callable[[nn.Module], Sequence[nn.Module]],
    example: torch.Tensor,
    recipe: PruneRecipe,
    evidence: Evidence,
) -> dict[str, float]:
    """Score the blocks of `residual_blocks`, in the unit of `score_groups`.

    Args:
        model, fixed, example, recipe: as there.
        evidence: what was gathered on this very network for the criterion.
    """
    score = CRITERIA[recipe.criterion]
    written = residual_blocks(model, fixed, example, recipe)
    return {name: float(score(group, evidence).sum()) for name, group in written.items()}


def residual_blocks(
    model: nn.Module,
    fixed: Callable[[nn.Module], Sequence[nn.Module]],
    example: torch.Tensor,
    recipe: PruneRecipe,
) -> dict[str, Group]:
    """Return the blocks that may go beside channels, each with the part of a group that writes its branch.

    A block that reads one group of channels and writes another is none of them: their widths could differ.
    Nor is one in which a layer is skipped. With a number of blocks in the recipe, or a criterion without a
    unit in common with them, there are none.

    Args:
        model: traceable network in eval mode; it is left as it is.
        fixed: names the instances of a network whose channels must stay.
        example: one input, float32 (1, 3, H, W).
    """
    if recipe.depth is not None or recipe.criterion not in IN_LOSS:
        return {}
    twin = copy.deepcopy(model)
    groups = find_groups(trace(twin, example, fixed(twin)), twin, fixed(twin), recipe.skip)
    skipped = kept_whole(twin, (), recipe.skip)
    written = {}
    for name in removable_blocks(twin):
        layers = set(twin.get_submodule(name).modules())
        shared = [group for group in groups if _is_shared(group, layers)]
        if len(shared) == 1 and not layers & skipped:
            written[name] = _written_in(shared[0], layers)
    zeroed = copy.deepcopy(twin)
    wholly = _give_what_they_get(zeroed, example, {name: _names(group) for name, group in written.items()})
    return {name: written[name] for name in wholly}


def _names(group: Group) -> set[str]:
    modules = (item.dep.target.module for item in group.coupled)
    return {group.names[module] for module in modules if module in group.names}


def _is_shared(group: Group, layers: set[nn.Module]) -> bool:
    """Whether some of a group's layers are among these, and some are not."""
    return len({item.dep.target.module in layers for item in group.coupled if _is_layer(item)}) == 2


def _is_layer(item: Any) -> bool:
    return isinstance(item.dep.target.module, nn.Conv2d | nn.BatchNorm2d | nn.Linear)


def _written_in(group: Group, layers: set[nn.Module]) -> Group:
    """Return a group with only those of its layers that write its channels inside a block."""
    coupled: list[Any] = [
        item
        for item in group.coupled
        if item.dep.target.module in layers and item.dep.handler.__name__ == "prune_out_channels"
    ]
    return replace(group, coupled=coupled)


@torch.no_grad()
def _give_what_they_get(
    model: nn.Module, example: torch.Tensor, written: Mapping[str, Collection[str]]
) -> list[str]:
    """Name the blocks that are identities when the layers that write their branches are zero; zeroes them."""
    same: dict[str, bool] = {}
    hooks = []
    for name, layers in written.items():
        for layer in layers:
            for parameter in model.get_submodule(layer).parameters(recurse=False):
                parameter.zero_()

        def note(_block: nn.Module, args: tuple[Any, ...], out: Any, name: str = name) -> None:
            is_same = isinstance(out, torch.Tensor) and torch.equal(out, args[0])
            same[name] = is_same and same.get(name, True)

        hooks.append(model.get_submodule(name).register_forward_hook(note))
    noise = torch.rand(example.shape, generator=torch.Generator().manual_seed(0))
    try:
        model(noise.to(example))
    finally:
        for hook in hooks:
            hook.remove()
    return [name for name in written if same.get(name)]
