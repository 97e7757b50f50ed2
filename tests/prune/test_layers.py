"""What the latency table knows of a network's layers: widths follow every real cut, in all four families."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from torch import nn

from conftest import FAMILIES
from edgeprune.adapters.ultralytics import detect as adapter
from edgeprune.prune.groups import find_groups, remove, trace
from edgeprune.prune.layers import deployed_layers, layers_of
from edgeprune.records.latency_table import widths_at

EXAMPLE = torch.zeros(1, 3, 64, 64)


@pytest.fixture(scope="module")
def models(checkpoints: dict[str, Path]) -> dict[str, nn.Module]:
    return {family: adapter.prunable(adapter.load(path)) for family, path in checkpoints.items()}


@pytest.mark.parametrize("family", FAMILIES)
def test_predicted_widths_are_those_of_a_real_cut(models: dict[str, nn.Module], family: str) -> None:
    model = copy.deepcopy(models[family])
    fixed = adapter.unprunable(model)
    graph = trace(model, EXAMPLE, fixed)
    groups = find_groups(graph, model, fixed)
    layers = layers_of(model, EXAMPLE, groups)
    original = {group.name: group.width for group in groups}
    convolutions = {name: m for name, m in model.named_modules() if isinstance(m, nn.Conv2d)}
    assert len(layers) == len({layer.name for layer in layers}) > 50
    widths = {name: (conv.in_channels, conv.out_channels) for name, conv in convolutions.items()}
    keep = {}
    for index, group in enumerate(groups):
        keep[group.name] = group.width - (1 + index % (group.width // 2))
        remove(graph, group, list(range(keep[group.name], group.width)))
    for layer in layers:
        conv = convolutions[layer.name]
        assert widths_at(layer, keep, original) == (conv.in_channels, conv.out_channels), layer.name
    changed = {
        name for name, conv in convolutions.items() if widths[name] != (conv.in_channels, conv.out_channels)
    }
    assert changed <= {layer.name for layer in layers}
    assert torch.isfinite(model(EXAMPLE)[0]).all()


def test_shapes_tell_size_kernel_and_activation(models: dict[str, nn.Module]) -> None:
    layers, original = deployed_layers(adapter, models["yolo11n"], 64)
    shapes = {layer.name: layer.shape for layer in layers}
    assert str(shapes["model.0.conv"]) == "3x3 stride 2 SiLU at 64x64"
    assert str(shapes["model.10.m.0.ffn.1.conv"]) == "1x1 Identity at 2x2"
    assert str(shapes["model.23.cv3.0.0.0.conv"]) == "3x3 depthwise SiLU at 8x8"
    assert str(shapes["model.23.cv2.0.2"]) == "1x1 Identity at 8x8"
    assert original["model.0.conv"] == 16
    pooled = next(layer for layer in layers if layer.name == "model.9.cv2.conv")
    assert pooled.in_groups == (("model.9.cv1.conv", 4),)  # the input of the pyramid and its three poolings


def test_only_the_branch_that_ships_is_counted(models: dict[str, nn.Module]) -> None:
    names = {layer.name for layer in deployed_layers(adapter, models["yolo26n"], 64)[0]}
    assert any(".23.cv2." in name for name in names)  # one-to-many, which this checkpoint exports
    assert not any(".one2one_" in name for name in names)


def test_a_skipped_layer_is_in_no_group(models: dict[str, nn.Module]) -> None:
    layers, original = deployed_layers(adapter, models["yolov8n"], 64, skip=("model.0.*",))
    assert "model.0.conv" not in original
    by_name = {layer.name: layer for layer in layers}
    assert "model.0.conv" not in by_name  # nothing of it can change
    assert (by_name["model.1.conv"].in_groups, by_name["model.1.conv"].out_group) == ((), "model.1.conv")
