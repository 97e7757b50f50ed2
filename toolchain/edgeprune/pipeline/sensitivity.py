"""How much a layer matters: its share of the time."""

from __future__ import annotations

from collections.abc import Sequence

from edgeprune.bench.node_times import NodeTime
from edgeprune.quantize.units import Unit


def unit_ms(nodes: Sequence[NodeTime], units: Sequence[Unit]) -> dict[str, float]:
    """Add up what the nodes of an engine take for each unit, in ms.

    Runtimes name what they make of a node after it, with a suffix, so the longest name that a node's begins
    with tells where it belongs. What is named after none (a reorder between two layers) counts for none.
    """
    owner = {node: unit.name for unit in units for node in unit.nodes}
    total = dict.fromkeys((unit.name for unit in units), 0.0)
    for node in nodes:
        names = [*node.layers, node.name]
        found = [known for name in names for known in owner if name.startswith(known)]
        if found:
            total[owner[max(found, key=len)]] += node.ms
    return total
