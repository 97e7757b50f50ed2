"""One-shot structured pruning of a network: score, allot widths on the step, cut."""

from __future__ import annotations

import copy
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from torch import nn

from edgeprune.config.recipe import DEFAULT_RATIO, PruneRecipe, Scope
from edgeprune.core.errors import ConfigError, ModelError
from edgeprune.prune.allocation import (
    channels_to_remove,
    find_limit,
    own_ratios,
    smallest_ratio,
    widths,
)
from edgeprune.prune.criteria import CRITERIA, NEEDS
from edgeprune.prune.evidence import Evidence
from edgeprune.prune.groups import Group, count_macs, find_groups, kept_whole, remove, structure, trace
from edgeprune.prune.knapsack import options_of
from edgeprune.prune.proof import find_inexact
from edgeprune.prune.whole import describe_blocks, whole_blocks
from edgeprune.prune.work import widths_within, work_by_width
from edgeprune.records.pruning import LayerWidth, Pruning


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
    evidence: Evidence,
    uncut: nn.Module | None = None,
) -> Pruned:
    """Prune a copy of a network to the recipe's share of channels or of multiply-accumulates.

    Groups whose cut turns out not to be exact (see `proof`) are left whole, and named in the report.

    Args:
        model: traceable network in eval mode; it is left as it is.
        fixed: names the instances of a network whose channels must stay.
        example: one input, float32 (1, 3, H, W).
        step: channel step; every pruned width is a multiple of it.
        evidence: what the recipe's criterion needs, gathered on this very network.
        uncut: the network before earlier cuts, which the recipe's shares are of; None where there were none.

    Raises:
        ConfigError: the goal is out of reach, or so small that rounding to the step leaves nothing pruned.
        ModelError: no channel can be removed, or cuts that are exact alone are not so together.
    """
    twin = copy.deepcopy(model)
    groups = _groups(twin, fixed, example, recipe.skip)[1]
    if not groups and (whole := describe_blocks(model, whole_blocks(model))):
        raise ModelError(_nothing_to_prune(whole))
    original = uncut or model
    before = {group.name: _width_in(original, group) for group in groups}
    scores = _scores(groups, recipe, evidence)
    classes, own = _classes(groups, recipe.scope), own_ratios(groups, recipe.ratios)

    def kept(ratio: float) -> dict[str, int]:
        return widths(scores, classes, ratio, step, recipe.max_ratio, own, before)

    def work(keep: Mapping[str, int]) -> float:
        return count_macs(cut_to(model, fixed, example, recipe.skip, scores, keep), example)[0]

    if recipe.macs is not None:
        goal, macs = f"macs {recipe.macs:g}", count_macs(original, example)[0]
        found = None
        if recipe.scope == "global" and not own and (predicted := work_by_width(twin, example, groups)):
            options = options_of(scores, before, step, recipe.max_ratio)
            found = widths_within(predicted, work, scores, options, recipe.macs * macs)
        keep = found or kept(
            smallest_ratio(lambda r: work(kept(r)) / macs, recipe.macs, recipe.max_ratio, "prune.macs")
        )
        ratio = 1 - sum(keep.values()) / sum(before.values())
    else:
        ratio = DEFAULT_RATIO if recipe.ratio is None else recipe.ratio
        goal, keep = f"ratio {ratio:g}", kept(ratio)
        if ratio > recipe.max_ratio:
            raise ConfigError(f"prune.ratio: {ratio:g} is above prune.max_ratio {recipe.max_ratio:g}")
    pruned = cut_to(model, fixed, example, recipe.skip, scores, keep)
    doomed = channels_to_remove(scores, keep)
    if inexact := find_inexact(model, fixed, example, recipe.skip, doomed):
        less = recipe.model_copy(update={"skip": (*recipe.skip, *inexact)})
        return _with_whole(prune(model, fixed, example, less, step, evidence, uncut), inexact)
    report = account(original, pruned, fixed, example, recipe, CutTerms(goal, ratio, step))
    if uncut is None and report.params_after == report.params_before:
        raise ConfigError(
            f"{goal} prunes nothing: rounded to steps of {step} channels every layer keeps its width; "
            "ask for more"
        )
    limit = find_limit(scores) if recipe.scope == "global" else None
    return Pruned(pruned, report.model_copy(update={"limit": limit}))


def _with_whole(pruned: Pruned, names: Sequence[str]) -> Pruned:
    """Note the layers that were left whole because cuts there had not been exact."""
    whole = (*(f"{name} (whose cut is not exact)" for name in names), *pruned.report.whole)
    return replace(pruned, report=pruned.report.model_copy(update={"whole": whole}))


def _nothing_to_prune(whole: Sequence[str]) -> str:
    more = f" and {len(whole) - 1} more" if len(whole) > 1 else ""
    return (
        f"nothing of this network can be pruned: {whole[0]}{more} mix their channels in ways that cannot be "
        "followed; build it with --no-prune, or take a network of convolutions and batch norms"
    )


def _width_in(model: nn.Module, group: Group) -> int:
    """Return how many channels a group has in a network that may be wider."""
    root: Any = model.get_submodule(group.name)
    now: Any = group.root
    return int(root.out_channels * group.width // now.out_channels)


class CutTerms(NamedTuple):
    """What a cut was asked for: its goal in words, the share of channels, the channel step."""

    goal: str
    ratio: float
    step: int


def account(
    before: nn.Module,
    after: nn.Module,
    fixed: Callable[[nn.Module], Sequence[nn.Module]],
    example: torch.Tensor,
    recipe: PruneRecipe,
    terms: CutTerms,
) -> Pruning:
    """Return the account of what was cut from a network: size, work, and the widths of every layer."""
    macs, parameters = zip(count_macs(before, example), count_macs(after, example), strict=True)
    return Pruning(
        criterion=recipe.criterion,
        goal=terms.goal,
        ratio=terms.ratio,
        step=terms.step,
        params_before=parameters[0],
        params_after=parameters[1],
        macs_before=macs[0],
        macs_after=macs[1],
        layers=_widths(before, after, fixed, recipe.skip),
        whole=describe_blocks(before, whole_blocks(before)),
    )


def score_groups(
    model: nn.Module,
    fixed: Callable[[nn.Module], Sequence[nn.Module]],
    example: torch.Tensor,
    recipe: PruneRecipe,
    evidence: Evidence,
) -> dict[str, torch.Tensor]:
    """Score the channels of every prunable group with the recipe's criterion.

    Args:
        model: traceable network in eval mode; it is left as it is.
        fixed: names the instances of a network whose channels must stay.
        example: one input, float32 (1, 3, H, W).
        evidence: what was gathered on this very network for the criterion.

    Returns:
        Float32 tensors (channels,), higher is more important, by group name, in the order of the network.

    Raises:
        ConfigError: the criterion needs data, and the evidence holds none.
    """
    return _scores(_groups(copy.deepcopy(model), fixed, example, recipe.skip)[1], recipe, evidence)


def cut_to(
    model: nn.Module,
    fixed: Callable[[nn.Module], Sequence[nn.Module]],
    example: torch.Tensor,
    skip: Sequence[str],
    scores: Mapping[str, torch.Tensor],
    keep: Mapping[str, int],
) -> nn.Module:
    """Return a pruned copy of a network in which every group keeps its most important channels.

    Args:
        model: the network that was scored; it is left as it is.
        skip: the same patterns of layers to leave alone.
        scores: as `score_groups` gave them.
        keep: how many channels each group keeps.

    Raises:
        ModelError: the network does not run after the cut of a group, which is named.
    """
    doomed = channels_to_remove(scores, keep)

    def cut(after_each: Callable[[nn.Module, str], None]) -> nn.Module:
        twin = copy.deepcopy(model)
        graph, groups = _groups(twin, fixed, example, skip)
        for group in groups:
            if group.name in doomed:
                remove(graph, group, doomed[group.name])
                after_each(twin, group.name)
        return twin

    def run(twin: nn.Module, name: str) -> None:
        if (trouble := _trouble(twin, example)) is not None:
            raise ModelError(
                f"{name}: after the cut of its channels the network does not run ({trouble}); "
                f"leave the layer whole with prune.skip"
            )

    twin = cut(lambda _twin, _name: None)
    if _trouble(twin, example) is not None:
        cut(run)  # once more, to find the group
    return twin


def _trouble(model: nn.Module, example: torch.Tensor) -> str | None:
    """Run a network, and return what went wrong, if anything did."""
    try:
        with torch.no_grad():
            model(example)
    except (RuntimeError, IndexError, ValueError, TypeError, AttributeError) as exc:
        return (str(exc).splitlines() or [type(exc).__name__])[0][:120]
    return None


def _scores(groups: Sequence[Group], recipe: PruneRecipe, evidence: Evidence) -> dict[str, torch.Tensor]:
    need = NEEDS.get(recipe.criterion)
    if need and not getattr(evidence, need):
        raise ConfigError(
            f"prune.criterion: {recipe.criterion} needs {need.replace('_', ' ')}, gathered over images, "
            "and there are none; give data, or take a criterion of weights"
        )
    return {group.name: CRITERIA[recipe.criterion](group, evidence) for group in groups}


def _groups(
    model: nn.Module,
    fixed: Callable[[nn.Module], Sequence[nn.Module]],
    example: torch.Tensor,
    skip: Sequence[str],
) -> tuple[Any, list[Group]]:
    kept = fixed(model)
    graph = trace(model, example, kept)
    return graph, find_groups(graph, model, kept, skip)


def _classes(groups: Sequence[Group], scope: Scope) -> dict[str, Hashable]:
    """Return with which other groups a group's channels are ranked: all, those of its structure, or none."""
    if scope == "global":
        return {group.name: None for group in groups}
    return {group.name: structure(group) if scope == "isomorphic" else group.name for group in groups}


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
            after=new[name].out_channels if name in new else 0,
            prunable=module not in kept,
        )
        for name, module in before.named_modules()
        if isinstance(module, nn.Conv2d)
    )
