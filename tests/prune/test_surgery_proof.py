"""Surgery is exact: without a channel a network computes what it does when nothing reads that channel.

For every group of every family. Channels of all groups are masked: what reads them is zeroed. Then they are
cut, group by group, and the predictions have to stay as they are.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
import torch
from torch import nn

from edgeprune.adapters.ultralytics import classify, detect
from edgeprune.prune.groups import Group, find_groups, members, remove, trace
from edgeprune.prune.proof import mask
from edgeprune.prune.traceable import TRACEABLE, class_name
from edgeprune.prune.whole import FOLLOWED, training_branches, whole_blocks
from made_families import network

PROVEN = {
    "odd": 40,
    "yolov3-spp": 30,
    "yolov3-tiny": 15,
    "yolov5": 40,
    "yolov6": 40,
    "yolov8": 40,
    "yolov8-obb": 40,
    "yolov8-pose": 40,
    "yolov8-seg": 40,
    "yolov8-cls-resnet50": 30,
    "yolov8-ghost": 40,
    "yolov9t": 110,
    "yolov9e": 110,
    "yolov10s": 60,
    "yolo11": 50,
    "yolo11-cls": 20,
    "yolo12": 40,
    "yolo12,l": 40,
    "yolo26": 60,
    "yolo26-cls": 20,
    "yolo26-obb": 60,
    "yolo26-pose": 60,
    "yolo26-seg": 60,
}
"""Networks that together hold every block that is followed, and the least number of their groups."""
IMAGES = torch.rand(1, 3, 64, 64, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
LIMIT = 1e-6
made = cache(network)  # every test changes a copy of its own
EVERY = 4  # groups that are cut between two looks at the predictions


def adapter_for(stem: str) -> Any:
    return classify if "-cls" in stem else detect


def predictions(model: nn.Module) -> list[torch.Tensor]:
    """Return what every branch of the head gives before it is decoded, and what only a training asks for.

    Of a classifier its outputs.
    """
    with training_branches(model):
        outputs = model(IMAGES)
    raw = outputs[1]
    if isinstance(raw, torch.Tensor):
        return list(outputs)
    branches = [raw["one2many"], raw["one2one"]] if "one2one" in raw else [raw]
    given = [branch[key] for branch in branches for key in sorted(branch) if key != "feats"]
    return [one for value in given for one in (value if isinstance(value, tuple) else (value,))]


def furthest(expected: list[torch.Tensor], got: list[torch.Tensor]) -> float:
    pairs = zip(expected, got, strict=True)
    return max(float((one - other).abs().max() / one.abs().max()) for one, other in pairs)


def matter(group: Group, channels: list[int]) -> bool:
    """Whether the predictions, whose gradients are there, depend on what reads these channels of a group."""
    for layer in members(group, nn.Conv2d, nn.ConvTranspose2d, nn.Linear):
        if layer.reads and not layer.produces:
            weight = (layer.module.weight * layer.module.weight.grad).abs()
            axis = 0 if isinstance(layer.module, nn.ConvTranspose2d) else 1
            chosen = torch.isin(layer.owners, torch.tensor(channels))
            if weight.index_select(axis, layer.channels[chosen]).sum() > 0:
                return True
    return False


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("stem", PROVEN)
def test_cutting_a_group_changes_nothing_once_nothing_reads_it(stem: str) -> None:
    adapter = adapter_for(stem)
    model = adapter.prunable(made(stem)).double()
    fixed = adapter.unprunable(model)
    graph = trace(model, IMAGES, fixed)
    groups = find_groups(graph, model, fixed)
    assert len(groups) >= PROVEN[stem]
    doomed = {group.name: list(range(index % 3, group.width, 5)) for index, group in enumerate(groups)}
    torch.stack([one.square().sum() for one in predictions(model)]).sum().backward()
    with torch.no_grad():
        for group in groups:
            assert matter(group, doomed[group.name]), group.name
            assert mask(graph, group, doomed[group.name]) > 0, group.name
        expected = predictions(model)
        for index, group in enumerate(groups, 1):
            before = group.root.out_channels
            remove(graph, group, doomed[group.name])
            assert group.root.out_channels == before - group.ties * len(doomed[group.name])
            if index % EVERY == 0 or index == len(groups):
                assert furthest(expected, predictions(model)) <= LIMIT, group.name


@pytest.mark.usefixtures("one_thread")
def test_the_proof_notices_a_channel_of_another_number() -> None:
    model = detect.prunable(made("yolov8")).double()
    fixed = detect.unprunable(model)
    graph = trace(model, IMAGES, fixed)
    group = find_groups(graph, model, fixed)[3]
    with torch.no_grad():
        mask(graph, group, [0])
        expected = predictions(model)
        remove(graph, group, [1])
        assert furthest(expected, predictions(model)) > LIMIT * 10


def test_every_block_that_is_followed_stands_in_a_network_that_is_proven() -> None:
    proven = set()
    for stem in PROVEN:
        model = adapter_for(stem).prunable(made(stem))
        inside = tuple(f"{name}." for name in whole_blocks(model))
        proven |= {
            class_name(module) for name, module in model.named_modules() if not name.startswith(inside)
        }
    ours = ("ultralytics.", "edgeprune.models.blocks.")
    blocks = {name for name in (*FOLLOWED, *TRACEABLE) if name.startswith(ours)}
    assert blocks - proven == set()
