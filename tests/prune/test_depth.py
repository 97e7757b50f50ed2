"""Depth: what dropping a block leaves is the network with that block's branch at zero, in each family."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from torch import nn
from ultralytics.nn.tasks import DetectionModel

from conftest import FAMILIES, build_detector
from edgeprune.adapters.ultralytics import detect as adapter
from edgeprune.core.errors import ModelError
from edgeprune.prune.depth import drop_block, drop_blocks, rank_blocks, removable_blocks
from edgeprune.prune.groups import find_groups, remove, trace

IMAGES = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def models(checkpoints: dict[str, Path]) -> dict[str, nn.Module]:
    return {family: adapter.prunable(adapter.load(path)) for family, path in checkpoints.items()}


def output(model: nn.Module) -> torch.Tensor:
    with torch.no_grad():
        result: torch.Tensor = model(IMAGES)[0]
    return result


def zeroed(model: nn.Module, *names: str) -> nn.Module:
    """Return a copy in which the residual branches of blocks give zero."""
    twin = copy.deepcopy(model)
    for name in names:
        block = twin.get_submodule(name)
        ends = [block.cv2] if hasattr(block, "cv2") else [block.attn.proj, block.ffn[-1]]
        for end in ends:
            nn.init.zeros_(end.bn.weight)
            nn.init.zeros_(end.bn.bias)
    return twin


def difference(left: nn.Module, right: nn.Module) -> float:
    one, other = output(left), output(right)
    return float((one - other).abs().max() / one.abs().max())


@pytest.mark.parametrize("family", FAMILIES)
def test_dropping_any_block_equals_zeroing_its_branch(models: dict[str, nn.Module], family: str) -> None:
    model = models[family]
    names = removable_blocks(model)
    assert len(names) >= 4
    for name in names:
        less = drop_block(model, name)
        assert difference(zeroed(model, name), less) < 1e-5, name
        assert sum(p.numel() for p in less.parameters()) < sum(p.numel() for p in model.parameters())
    assert removable_blocks(model) == names


@pytest.mark.parametrize("family", FAMILIES)
def test_all_blocks_can_go_and_the_rest_saves_loads_and_prunes(
    models: dict[str, nn.Module], family: str, tmp_path: Path
) -> None:
    model = models[family]
    names = removable_blocks(model)
    less = drop_blocks(model, names)
    assert removable_blocks(less) == []
    assert difference(zeroed(model, *names), less) < 1e-5
    adapter.save(less, tmp_path / "less.pt")
    again = adapter.load(tmp_path / "less.pt")
    assert difference(less, again) < 0.01  # half precision
    fixed = adapter.unprunable(again)
    graph = trace(again, IMAGES, fixed)
    for group in find_groups(graph, again, fixed):
        remove(graph, group, [0])
    assert torch.isfinite(output(again)).all()


def test_a_block_without_a_shortcut_is_not_offered_and_refused(models: dict[str, nn.Module]) -> None:
    names = removable_blocks(models["yolov8n"])
    assert "model.4.m.1" in names
    assert "model.15.m.0" not in names  # the neck's bottlenecks have no shortcut
    for call in (drop_block, lambda model, name: drop_blocks(model, [name])):
        with pytest.raises(ModelError, match=r"model\.15\.m\.0: not a block that can be dropped"):
            call(models["yolov8n"], "model.15.m.0")


def test_a_block_of_the_unsplit_network_is_not_offered() -> None:
    model = build_detector("yolov8n")
    assert isinstance(model, DetectionModel)
    assert removable_blocks(model) == []


def test_blocks_are_ranked_by_accuracy_lost_per_millisecond_gained(models: dict[str, nn.Module]) -> None:
    model = models["yolov8n"]
    names = removable_blocks(model)[:4]
    # name -> accuracy and latency without it
    effects = dict(zip(names, [(0.4, 9.0), (0.3, 6.0), (0.6, 9.5), (0.5, 10.5)], strict=True))
    accuracies = iter([0.5, *(effect[0] for effect in effects.values())])
    latencies = iter([10.0, *(effect[1] for effect in effects.values())])
    ranked = rank_blocks(model, names, lambda net: next(accuracies), lambda net: next(latencies))
    assert [block.name for block in ranked] == [names[2], names[1], names[0], names[3]]
    assert [round(block.drop, 6) for block in ranked] == [-0.1, 0.2, 0.1, 0.0]
    assert ranked[-1].gained_ms < 0
    assert ranked[-1].cost == float("inf")
