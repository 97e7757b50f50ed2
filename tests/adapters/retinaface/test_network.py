"""The network of RetinaFace: the names and shapes of its published weights, and an exact surgery."""

from __future__ import annotations

import copy
import hashlib

import torch
from torch import nn

from edgeprune.adapters.retinaface.adapter import ADAPTER
from edgeprune.adapters.retinaface.network import RetinaFace, Separable
from edgeprune.prune.depth import drop_blocks, removable_blocks
from edgeprune.prune.groups import find_groups, remove, trace
from made_faces import faces_network

PUBLISHED = "100a884cd2d9cc4142a9f85791c0f468ead3fadaa46e1a0b2ba2ef89806ce32e"
"""sha256 of the lines of `keys.txt` beside the published weights: names and shapes, sorted."""
IMAGES = torch.rand(1, 3, 64, 64, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 255


def test_names_and_shapes_are_those_of_the_published_weights() -> None:
    state = RetinaFace().state_dict()
    lines = sorted(f"{name} {tuple(tensor.shape)}" for name, tensor in state.items())
    assert hashlib.sha256("\n".join(lines).encode()).hexdigest() == PUBLISHED


def test_pruning_a_group_equals_zeroing_what_its_consumers_read() -> None:
    masked, pruned = (ADAPTER.prunable(faces_network()).double() for _ in range(2))
    graphs = [trace(net, IMAGES, ADAPTER.unprunable(net)) for net in (masked, pruned)]
    twins, groups = (
        find_groups(graph, net, ADAPTER.unprunable(net))
        for graph, net in zip(graphs, (masked, pruned), strict=True)
    )
    assert len(groups) == 32
    changed = 0
    with torch.no_grad():
        for index, (twin, group) in enumerate(zip(twins, groups, strict=True)):
            channels = list(range(index % 3, group.width, 5))
            pruner = graphs[0].get_pruner_of_module(twin.root).prune_out_channels
            for item, columns in graphs[0].get_pruning_group(twin.root, pruner, channels):
                if isinstance(item.target.module, nn.Conv2d) and item.handler.__name__ == "prune_in_channels":
                    item.target.module.weight[:, columns] = 0
            before = pruned(IMAGES)
            remove(graphs[1], group, channels)
            expected, got = masked(IMAGES), pruned(IMAGES)
            changed += not torch.equal(before[0], got[0])
            for one, other in zip(expected, got, strict=True):
                assert (one - other).abs().max() / one.abs().max() <= 1e-6, group.name
    assert changed > 25  # the mask is no idle one, but for channels that the last ReLU hides


def test_blocks_that_keep_their_shape_can_be_dropped_and_the_rest_keep_their_names() -> None:
    model = faces_network()
    names = removable_blocks(model)
    assert names == [
        "body.stage1.3",
        "body.stage1.5",
        *(f"body.stage2.{n}" for n in range(1, 6)),
        "body.stage3.1",
    ]
    less = drop_blocks(model, names)
    by_hand = copy.deepcopy(model)
    for name in names:
        by_hand.set_submodule(name, nn.Identity())
    images = IMAGES.float()
    assert torch.equal(less(images)[0], by_hand(images)[0])
    assert removable_blocks(less) == []
    assert sum(isinstance(module, Separable) for module in less.modules()) == 13 - len(names)
