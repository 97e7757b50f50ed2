"""The passes before width pruning: depth, rewriting, activation. Each stays only if the target gets faster.

Each pass starts from the weights that are there; the fine-tune after width pruning trains them back too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from edgeprune.config.recipe import PruneRecipe
from edgeprune.core.errors import ConfigError
from edgeprune.prune.activation import ACTIVATIONS, silu_names, swap_activation
from edgeprune.prune.depth import Measure, drop_blocks, rank_blocks, removable_blocks
from edgeprune.prune.factorise import rewritable, rewrite
from edgeprune.prune.groups import find_groups, kept_whole, trace
from edgeprune.prune.layers import layers_of
from edgeprune.prune.worth import LayerMs, rewrites_worth_it
from edgeprune.records.pruning import PassName, PassReport

Fixed = Callable[[nn.Module], Sequence[nn.Module]]

LAYER_DROP = 0.02
"""Score that rewriting one layer may cost before any training: a rewriting that loses more is left out."""


@dataclass(frozen=True)
class Gauges:
    """What the passes are judged by.

    Attributes:
        accuracy: score of a network on the val split.
        latency: of a network in milliseconds, on the target in the precision that ships; None when the
            target is not measured here.
        layer_ms: latency of one layer on the target, from its table; None when there is no table.
        metric: what `accuracy` is.
    """

    accuracy: Measure
    latency: Measure | None = None
    layer_ms: LayerMs | None = None
    metric: str = "accuracy"


def apply_passes(
    model: nn.Module, fixed: Fixed, example: torch.Tensor, recipe: PruneRecipe, step: int, gauges: Gauges
) -> tuple[nn.Module, tuple[PassReport, ...]]:
    """Apply the passes that the recipe asks for; return the network and an account of each.

    Args:
        model: from `ModelAdapter.prunable`; left as it is, and returned itself when no pass is asked for.
        fixed: names the instances of a network that must stay as they are.
        example: one input, float32 (1, 3, H, W).
        step: channel step that ranks are multiples of.

    Raises:
        ConfigError: a pass needs a measurement that is not to be had here, or more blocks than there are.
    """
    reports = []
    if recipe.depth:
        model, report = _depth(model, recipe, gauges)
        reports.append(report)
    if recipe.rewrite:  # before the activation: a table knows the layers with the one they had
        model, report = _rewriting(model, fixed(model), example, recipe, step, gauges)
        reports.append(report)
    if recipe.activation in ACTIVATIONS:  # ``auto`` is decided by who knows the target
        model, report = _activation(model, recipe, gauges)
        reports.append(report)
    return model, tuple(reports)


def _depth(model: nn.Module, recipe: PruneRecipe, gauges: Gauges) -> tuple[nn.Module, PassReport]:
    latency = _needed(gauges.latency, "prune.depth")
    skipped = kept_whole(model, (), recipe.skip)
    names = [name for name in removable_blocks(model) if model.get_submodule(name) not in skipped]
    wanted = recipe.depth or 0
    if wanted > len(names):
        raise ConfigError(
            f"prune.depth: {wanted} blocks are to be dropped, this model has {len(names)} that can be"
        )
    ranked = rank_blocks(model, names, gauges.accuracy, latency)
    chosen = [block.name for block in ranked if block.gained_ms > 0][:wanted]
    refused = [
        f"{block.name}: the network is not faster without it" for block in ranked if block.gained_ms <= 0
    ]
    return _judged("depth", model, drop_blocks(model, chosen), chosen, refused, gauges)


def _rewriting(
    model: nn.Module,
    fixed: Sequence[nn.Module],
    example: torch.Tensor,
    recipe: PruneRecipe,
    step: int,
    gauges: Gauges,
) -> tuple[nn.Module, PassReport]:
    _needed(gauges.latency, "prune.rewrite")
    if gauges.layer_ms is None:
        raise ConfigError("prune.rewrite: needs the target's latency table; run `edgeprune profile` first")
    candidates = rewritable(model, fixed, recipe.skip)
    layers = layers_of(model, example, find_groups(trace(model, example, fixed), model, fixed, recipe.skip))
    plan = rewrites_worth_it(candidates, layers, recipe.rewrite, gauges.layer_ms, step)
    before = gauges.accuracy(model) if plan else 0.0
    kept, refused = {}, []
    for name, how in plan.items():
        drop = before - gauges.accuracy(rewrite(model, {name: how}))
        if drop > LAYER_DROP:
            refused.append(f"{name}: {how.kind} of rank {how.rank} alone costs {drop:.3f} {gauges.metric}")
        else:
            kept[name] = how
    applied = [f"{name}: {how.kind} of rank {how.rank}" for name, how in kept.items()]
    return _judged("rewrite", model, rewrite(model, kept), applied, refused, gauges)


def _activation(model: nn.Module, recipe: PruneRecipe, gauges: Gauges) -> tuple[nn.Module, PassReport]:
    names = silu_names(model, recipe.skip)
    swapped = swap_activation(model, recipe.activation, recipe.skip)
    applied = [f"SiLU to {recipe.activation} in {len(names)} layers"] if names else []
    return _judged("activation", model, swapped, applied, [], gauges)


def _judged(
    name: PassName,
    before: nn.Module,
    after: nn.Module,
    applied: Sequence[str],
    refused: Sequence[str],
    gauges: Gauges,
) -> tuple[nn.Module, PassReport]:
    """Return the changed network if the target does not measure it slower, else the one before."""
    if not applied:
        return before, PassReport(name=name, refused=tuple(refused))
    scores = [gauges.accuracy(net) for net in (before, after)]
    report = PassReport(
        name=name,
        applied=tuple(applied),
        refused=tuple(refused),
        metric=gauges.metric,
        score_before=scores[0],
        score_after=scores[1],
    )
    if gauges.latency is None:
        return after, report
    times = [gauges.latency(net) for net in (before, after)]
    report = report.model_copy(update={"ms_before": times[0], "ms_after": times[1]})
    if times[1] < times[0]:
        return after, report
    undone = tuple(f"{what}: measured, it makes the network no faster" for what in applied)
    return before, report.model_copy(update={"applied": (), "refused": (*refused, *undone)})


def _needed(latency: Measure | None, key: str) -> Measure:
    if latency is None:
        raise ConfigError(f"{key}: this target is not measured here; leave it out or build on the target")
    return latency
