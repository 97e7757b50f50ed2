"""Blocks that are followed in another form: halves stay equally wide, and the block stays in its place."""

from __future__ import annotations

from functools import cache

import pytest
import torch
from ultralytics.nn.modules.block import ADown

from edgeprune.adapters.ultralytics import detect
from edgeprune.config.recipe import PruneRecipe
from edgeprune.prune.criteria import l1
from edgeprune.prune.evidence import Evidence
from edgeprune.prune.groups import find_groups, trace
from edgeprune.prune.layers import layers_of
from edgeprune.prune.surgery import prune
from edgeprune.records.latency_table import widths_at
from made_families import network

EXAMPLE = torch.zeros(1, 3, 64, 64)
made = cache(network)


def test_the_halves_of_a_feature_map_stay_equally_wide_and_on_the_step() -> None:
    model = detect.prunable(made("yolov9e"))
    cut = prune(
        model, detect.unprunable, EXAMPLE, PruneRecipe(ratio=0.4, criterion="l1"), 8, Evidence()
    ).model
    blocks = [module for module in cut.modules() if isinstance(module, ADown)]
    assert len(blocks) == sum(isinstance(module, ADown) for module in model.modules()) > 0
    for block in blocks:
        width = block.cv1.conv.in_channels
        assert width == block.cv2.conv.in_channels
        assert width % 8 == 0


@pytest.mark.parametrize("stem", ["yolov9e", "yolov8-ghost"])
def test_the_widths_of_every_layer_follow_those_of_its_groups(stem: str) -> None:
    """Also where a channel of a group stands for two of a layer: in halves and in ghost bottlenecks."""
    model = detect.prunable(made(stem))
    fixed = detect.unprunable(model)
    groups = find_groups(trace(model, EXAMPLE, fixed), model, fixed)
    original = {group.name: group.width for group in groups}
    cut = prune(
        model, detect.unprunable, EXAMPLE, PruneRecipe(ratio=0.4, criterion="l1"), 8, Evidence()
    ).model
    keep = {group.name: cut.get_submodule(group.name).out_channels // group.ties for group in groups}
    assert any(width < original[name] for name, width in keep.items())
    for layer in layers_of(model, EXAMPLE, groups):
        conv = cut.get_submodule(layer.name)
        assert widths_at(layer, keep, original) == (conv.in_channels, conv.out_channels), layer.name


def test_a_channel_that_stands_for_two_has_the_score_of_both() -> None:
    model = detect.prunable(made("yolov9e"))
    fixed = detect.unprunable(model)
    group = next(
        group for group in find_groups(trace(model, EXAMPLE, fixed), model, fixed) if group.ties == 2
    )
    each = group.root.get_parameter("weight").detach().abs().flatten(1).sum(1)
    both = each[: group.width] + each[group.width :]
    assert torch.allclose(l1(group, Evidence()), both / both.mean(), rtol=1e-5)
