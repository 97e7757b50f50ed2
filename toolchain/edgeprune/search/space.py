"""What a search varies, and the network that one choice of it stands for.

A choice is the kept width of every group on the channel step, which residual blocks go, the activation, the
image size, and whether convolutions are rewritten. As an optimiser sees it: one integer a group, one flag a
block, and so on; `encode` and `decode` go back and forth.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from edgeprune.config.input_size import read_size
from edgeprune.config.recipe import PruneRecipe, Recipe
from edgeprune.core.errors import BudgetError, ConfigError
from edgeprune.images.dataset import Dataset
from edgeprune.images.size import ImageSize, input_shape, size_text
from edgeprune.models import ModelAdapter
from edgeprune.prune.activation import swap_activation
from edgeprune.prune.depth import drop_blocks, removable_blocks
from edgeprune.prune.factorise import rewritable, rewrite
from edgeprune.prune.groups import kept_whole
from edgeprune.prune.knapsack import allot, width_options
from edgeprune.prune.layers import deployed_layers
from edgeprune.prune.recalibrate import note_statistics, recalibrate
from edgeprune.prune.stages import PruneContext, batches, evidence_for
from edgeprune.prune.surgery import cut_to, score_groups
from edgeprune.prune.worth import rewrites_worth_it
from edgeprune.records.latency_table import LatencyTable

SEEDED = (1.0, 0.75, 0.55, 0.4, 0.3)
"""Budgets that the knapsack is solved for to begin with, as shares of the slowest one that is allowed."""
_WIDTH, _DROP = "width.", "drop."


@dataclass(frozen=True)
class Space:
    """What may be chosen from.

    Attributes:
        widths: widths that each group may have, ascending, its original one last.
        blocks: residual blocks that may be dropped.
        activations, imgszs: the alternatives, what the latency table was measured with first.
        rewriting: whether convolutions may be rewritten.
    """

    widths: Mapping[str, Sequence[int]]
    blocks: Sequence[str]
    activations: Sequence[str]
    imgszs: Sequence[ImageSize]
    rewriting: bool

    def parameters(self) -> dict[str, tuple[Any, ...]]:
        """Return every parameter's values in order; a width's are steps counted from the narrowest."""
        flags = [f"{_DROP}{name}" for name in self.blocks] + ["rewrite"] * self.rewriting
        return (
            {f"{_WIDTH}{name}": tuple(range(len(options))) for name, options in self.widths.items()}
            | dict.fromkeys(flags, (False, True))
            | {"activation": tuple(self.activations), "imgsz": tuple(map(_written, self.imgszs))}
        )


@dataclass(frozen=True)
class Choice:
    """One network of the space.

    Attributes:
        keep: channels that each group keeps.
        dropped: residual blocks that go, by their names in the unpruned network.
    """

    keep: Mapping[str, int]
    dropped: tuple[str, ...]
    activation: str
    imgsz: ImageSize
    rewrite: bool = False


def encode(space: Space, choice: Choice) -> dict[str, Any]:
    """Return a choice as values of `Space.parameters`."""
    flags = {f"{_DROP}{name}": name in choice.dropped for name in space.blocks}
    return (
        {f"{_WIDTH}{name}": list(options).index(choice.keep[name]) for name, options in space.widths.items()}
        | flags
        | ({"rewrite": choice.rewrite} if space.rewriting else {})
        | {"activation": choice.activation, "imgsz": _written(choice.imgsz)}
    )


def decode(space: Space, params: Mapping[str, Any]) -> Choice:
    """Return the choice that values of `Space.parameters` stand for."""
    return Choice(
        keep={name: options[params[f"{_WIDTH}{name}"]] for name, options in space.widths.items()},
        dropped=tuple(name for name in space.blocks if params[f"{_DROP}{name}"]),
        activation=params["activation"],
        imgsz=read_size(params["imgsz"]),
        rewrite=params.get("rewrite", False),
    )


def _written(imgsz: ImageSize) -> int | str:
    """Return a size as a study's storage takes it: it holds numbers and texts, no pairs."""
    return imgsz if isinstance(imgsz, int) else size_text(imgsz)


@dataclass(frozen=True)
class Scored:
    """The unpruned network and the importance of its channels: what every choice is cut from."""

    model: nn.Module
    scores: Mapping[str, torch.Tensor]


def score_network(context: PruneContext, source: Path) -> Scored:
    """Load a checkpoint and score its groups with the recipe's criterion."""
    adapter = context.adapter
    model = adapter.prunable(adapter.load(source))
    evidence = evidence_for(context, model)
    example = torch.zeros(context.spec.shape)
    return Scored(model, score_groups(model, adapter.unprunable, example, context.recipe.prune, evidence))


def space_of(
    network: Scored,
    table: LatencyTable,
    recipe: PruneRecipe,
    activations: Sequence[str],
    imgszs: Sequence[ImageSize],
) -> Space:
    """Return what may be chosen for a network: its groups, their widths on the table's step, its blocks.

    Raises:
        ConfigError: the table is of another network.
    """
    if unknown := next((name for name in network.scores if name not in table.original), None):
        raise ConfigError(f"the latency table has no group {unknown}: it is of another network")
    stays = kept_whole(network.model, (), recipe.skip)
    blocks = [
        name for name in removable_blocks(network.model) if network.model.get_submodule(name) not in stays
    ]
    widths = {
        name: tuple(width_options(len(scores), table.step, recipe.max_ratio))
        for name, scores in network.scores.items()
    }
    return Space(widths, tuple(blocks), tuple(activations), tuple(imgszs), bool(recipe.rewrite))


def seeds(space: Space, network: Scored, table: LatencyTable, limit_ms: float | None) -> list[Choice]:
    """Return what to begin with: the knapsack's widths at a few budgets, for each activation and image size.

    Args:
        limit_ms: no seed is predicted to be slower; None begins with the unpruned network.
    """
    top = min(table.whole_ms, limit_ms or table.whole_ms)
    scores = {name: values.tolist() for name, values in network.scores.items()}
    keeps = []
    for share in SEEDED:
        try:
            keeps.append(allot(scores, space.widths, table.predictor(), share * top).keep)
        except BudgetError:  # not within reach by widths alone
            break
    keeps = keeps or [{name: options[0] for name, options in space.widths.items()}]
    return [
        Choice(keep, (), activation, imgsz)
        for imgsz in space.imgszs
        for activation in space.activations
        for keep in keeps
    ]


def predicted_ms(choice: Choice, table: LatencyTable) -> float | None:
    """Predict a choice's latency, or return None where the table is not true of it.

    It holds for the image size and the activation that it was measured with, and for layers as they are. What
    reads a dropped block's output gets narrower too: that is not counted, so depth is not predicted too fast.
    """
    if choice.imgsz != table.imgsz or choice.activation != "keep" or choice.rewrite:
        return None
    gone = tuple(f"{name}." for name in choice.dropped)
    left = [layer for layer in table.layers if not layer.name.startswith(gone)] if gone else table.layers
    return table.network_ms(left, choice.keep, table.original)


def realize(
    adapter: ModelAdapter,
    network: Scored,
    choice: Choice,
    table: LatencyTable,
    dataset: Dataset,
    recipe: Recipe,
) -> nn.Module:
    """Return the network that a choice stands for: cut, its batch norms following that, not trained.

    Blocks are dropped after the cut (their names are the unpruned network's), and convolutions rewritten
    before the activation is swapped: the table knows them with the one they had.
    """
    prune, fixed = recipe.prune, adapter.unprunable
    example = torch.zeros(input_shape(table.imgsz))
    spec = adapter.preprocess(choice.imgsz)
    model = copy.deepcopy(network.model)
    note_statistics(model, batches(dataset, spec, recipe.seed))
    model = cut_to(model, fixed, example, prune.skip, network.scores, choice.keep)
    model = drop_blocks(model, choice.dropped)
    if choice.rewrite:
        candidates = rewritable(model, fixed(model), prune.skip)
        layers, _ = deployed_layers(adapter, model, table.imgsz, prune.skip)
        model = rewrite(
            model, rewrites_worth_it(candidates, layers, prune.rewrite, table.factor_ms, table.step)
        )
    if choice.activation != "keep":
        model = swap_activation(model, choice.activation, prune.skip)
    recalibrate(model, batches(dataset, spec, recipe.seed))
    return model
