"""What a network costs by its latency table when blocks of it go, see `prune.depth`.

The table is of the uncut network. A network that was cut before has lost blocks: their layers are not in it,
and what read them has fewer inputs. No layer changes its name by that, but a group may: it is named by one of
its layers, and that one may be gone.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from functools import cache

from torch import nn

from edgeprune.core.errors import ConfigError
from edgeprune.prune.depth import folded_slices
from edgeprune.prune.knapsack import Cost
from edgeprune.records.latency_table import LatencyTable, Layer


def groups_in_table(table: LatencyTable, names: Iterable[str]) -> dict[str, str]:
    """Return by which name the table has each group of a network that was cut from its own.

    Raises:
        ConfigError: the table is of another network.
    """
    written = {layer.name: layer.out_group for layer in table.layers}
    found = {}
    for name in names:
        known = name if name in table.original else written.get(name)
        if known is None:
            raise ConfigError(f"the latency table has no group {name}: it is of another network")
        found[name] = known
    return found


def groups_inside(table: LatencyTable, block: str) -> frozenset[str]:
    """Return the groups that no layer outside of a block shares."""
    inner, outer = set[str](), set[str]()
    for layer in table.layers:
        side = inner if layer.name.startswith(f"{block}.") else outer
        side.update(name for name, _ in layer.in_groups)
        side.update([layer.out_group] if layer.out_group else ())
    return frozenset(inner - outer)


def cost_with_blocks(table: LatencyTable, model: nn.Module, blocks: Collection[str]) -> Cost:
    """Return what predicts the latency in ms of a network that was cut from the table's, as `allot` asks.

    What is in no layer follows the volume of the activations: a block takes its own with it.

    Args:
        model: the network as it is now.
        blocks: names of those that may go.
    """

    @cache
    def without(dropped: frozenset[str]) -> tuple[Layer, ...]:
        return layers_without(table, model, dropped)

    def layers_at(keep: Mapping[str, int]) -> tuple[Layer, ...]:
        return without(frozenset(name for name in blocks if keep.get(name) == 0))

    return table.predictor(layers_at)


def layers_without(table: LatencyTable, model: nn.Module, dropped: Collection[str]) -> tuple[Layer, ...]:
    """Return the table's layers that a network has once blocks are dropped, at their uncut widths.

    Args:
        model: cut from the table's own network.
        dropped: names of blocks to drop.
    """
    there = {name for name, _ in model.named_modules()}
    narrower = folded_slices(model, dropped)
    gone = tuple(f"{name}." for name in dropped)
    return tuple(
        _without_slices(table, layer, narrower.get(layer.name, ()))
        for layer in table.layers
        if layer.name in there and not layer.name.startswith(gone)
    )


def _without_slices(table: LatencyTable, layer: Layer, places: Collection[str]) -> Layer:
    """Return a layer that no longer reads what each of some inner blocks has written."""
    cin, groups = layer.cin, dict(layer.in_groups)
    for place in places:
        written = [other for other in table.layers if other.name.startswith(f"{place}.")]
        if not written:  # no group reaches it
            continue
        last = written[-1]
        cin -= last.cout
        if last.out_group in groups:
            groups[last.out_group] -= last.out_each
    return layer.model_copy(update={"cin": cin, "in_groups": tuple(groups.items())})
