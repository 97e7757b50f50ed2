"""Surgery is exact: without a channel a network computes what it does when nothing reads that channel.

For every group of every family. One after the other they are pruned out of one network and masked in a twin,
whose consumers' input columns are zeroed: after each, both have to give the same predictions.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from conftest import FAMILIES
from edgeprune.adapters.ultralytics import detect as adapter
from edgeprune.prune.groups import find_groups, remove, trace

IMAGES = torch.rand(1, 3, 64, 64, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
LIMIT = 1e-6


def predictions(model: nn.Module) -> list[torch.Tensor]:
    """Return the raw boxes and scores of every branch of the head."""
    raw = model(IMAGES)[1]
    branches = [raw["one2many"], raw["one2one"]] if "one2one" in raw else [raw]
    return [branch[key] for branch in branches for key in ("boxes", "scores")]


def mask(graph: Any, root: nn.Module, channels: list[int]) -> int:
    """Zero the input columns that read these channels of a group, and count the layers that do."""
    doomed = graph.get_pruning_group(root, graph.get_pruner_of_module(root).prune_out_channels, channels)
    readers = [
        (dep.target.module, columns)
        for dep, columns in doomed
        if isinstance(dep.target.module, nn.Conv2d) and dep.handler.__name__ == "prune_in_channels"
    ]
    for module, columns in readers:
        module.weight[:, columns] = 0
    return len(readers)


@pytest.mark.parametrize("family", FAMILIES)
def test_pruning_a_group_equals_zeroing_what_its_consumers_read(
    checkpoints: dict[str, Path], family: str
) -> None:
    model = adapter.load(checkpoints[family])
    masked, pruned = (adapter.prunable(model).double() for _ in range(2))
    mask_graph, prune_graph = (trace(net, IMAGES, adapter.unprunable(net)) for net in (masked, pruned))
    whole = find_groups(mask_graph, masked, adapter.unprunable(masked))
    groups = find_groups(prune_graph, pruned, adapter.unprunable(pruned))
    assert [group.name for group in groups] == [group.name for group in whole]
    assert len(groups) > 30
    with torch.no_grad():
        before = predictions(masked)
        for index, (twin, group) in enumerate(zip(whole, groups, strict=True)):
            channels = list(range(index % 3, group.width, 5))
            assert mask(mask_graph, twin.root, channels) > 0, group.name
            remove(prune_graph, group, channels)
            assert group.root.out_channels == group.width - len(channels)
            expected, got = predictions(masked), predictions(pruned)
            for one, other in zip(expected, got, strict=True):
                assert (one - other).abs().max() / one.abs().max() <= LIMIT, group.name
            # The mask is no idle one: it changes what the network predicts.
            assert not all(torch.equal(one, other) for one, other in zip(before, expected, strict=True)), (
                group.name
            )
            before = expected


def test_the_proof_notices_a_channel_of_another_number(checkpoints: dict[str, Path]) -> None:
    model = adapter.load(checkpoints["yolov8n"])
    masked, pruned = (adapter.prunable(model).double() for _ in range(2))
    for net, channels in ((masked, [0]), (pruned, [1])):
        fixed = adapter.unprunable(net)
        graph = trace(net, IMAGES, fixed)
        group = find_groups(graph, net, fixed)[3]
        if net is masked:
            with torch.no_grad():
                mask(graph, group.root, channels)
        else:
            remove(graph, group, channels)
    with torch.no_grad():
        pairs = zip(predictions(masked), predictions(pruned), strict=True)
        assert max(float((one - other).abs().max() / one.abs().max()) for one, other in pairs) > LIMIT * 10
