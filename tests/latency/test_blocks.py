"""What the latency table says of a network without blocks: the same as of that network itself."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from conftest import FAMILIES
from edgeprune.core.errors import ConfigError
from edgeprune.latency.blocks import cost_with_blocks, groups_in_table, groups_inside, layers_without
from edgeprune.models import get_adapter
from edgeprune.prune.depth import drop_blocks, removable_blocks
from edgeprune.prune.layers import deployed_layers
from edgeprune.prune.surgery import cut_to
from edgeprune.records.latency_table import LatencyTable, Layer
from made_tables import made_table

ADAPTER = get_adapter("ultralytics")


def network(checkpoints: dict[str, Path], family: str) -> tuple[nn.Module, LatencyTable]:
    model = ADAPTER.prunable(ADAPTER.load(checkpoints[family]))
    return model, made_table(ADAPTER, model, 64)


def own_layers(model: nn.Module) -> tuple[Layer, ...]:
    """Return the convolutions of a network that follow a group, with what they really read and write."""
    return deployed_layers(ADAPTER, model, 64)[0]


@pytest.mark.parametrize("family", FAMILIES)
def test_the_layers_without_any_block_are_those_of_the_network_without_it(
    checkpoints: dict[str, Path], family: str
) -> None:
    model, table = network(checkpoints, family)
    names = removable_blocks(model)
    for dropped in ([names[0]], [names[-1]], names[1:3], names):
        less = drop_blocks(model, dropped)
        found = {layer.name: (layer.cin, layer.cout) for layer in layers_without(table, model, dropped)}
        assert found == {layer.name: (layer.cin, layer.cout) for layer in own_layers(less)}
        # of a network that has lost them already it is the same, with nothing more to drop
        assert layers_without(table, less, ()) == layers_without(table, model, dropped)


def test_a_cut_network_costs_what_its_own_layers_do(checkpoints: dict[str, Path]) -> None:
    """Widths and blocks together, then more of both, always by the table of the uncut network."""
    model, table = network(checkpoints, "yolov8n")
    blocks = removable_blocks(model)
    example = torch.zeros(1, 3, 64, 64)
    keep = {name: width // 2 for name, width in table.original.items()}
    scores = {name: torch.rand(width) for name, width in table.original.items()}
    narrow = cut_to(model, ADAPTER.unprunable, example, (), scores, keep)
    cost = cost_with_blocks(table, model, blocks)
    for dropped in ([], ["model.4.m.1"], ["model.2.m.0", "model.6.m.0", "model.6.m.1"]):
        less = drop_blocks(narrow, dropped)
        own = sum(table.layer_ms(layer.shape, layer.cin, layer.cout) for layer in own_layers(less))
        assert cost(keep | dict.fromkeys(dropped, 0)) == pytest.approx(own)
        names = groups_in_table(table, deployed_layers(ADAPTER, less, 64)[1])
        kept = {names[name]: width for name, width in deployed_layers(ADAPTER, less, 64)[1].items()}
        again = cost_with_blocks(table, less, blocks)
        assert again(kept) == pytest.approx(own)
        assert again(kept | {"model.8.m.0": 0}) == pytest.approx(
            cost(keep | dict.fromkeys([*dropped, "model.8.m.0"], 0))
        )


def test_a_group_goes_with_a_block_only_where_nothing_else_has_its_channels(
    checkpoints: dict[str, Path],
) -> None:
    _, table = network(checkpoints, "yolov8n")
    assert groups_inside(table, "model.4.m.0") == {"model.4.m.0.cv1.conv"}
    assert groups_inside(table, "model.4") >= {"model.4.m.0.cv1.conv", "model.4.m.1.cv1.conv"}


def test_a_group_of_another_network_is_refused(checkpoints: dict[str, Path]) -> None:
    _, table = network(checkpoints, "yolov8n")
    with pytest.raises(ConfigError, match=r"no group model\.99\.conv: it is of another network"):
        groups_in_table(table, ["model.0.conv", "model.99.conv"])
