"""Split blocks: the same function, bit for bit, in a form that can be traced."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from ultralytics.nn.modules.block import C2PSA, C2f

from conftest import FAMILIES
from edgeprune.adapters.ultralytics import detect as adapter


@pytest.mark.parametrize("family", FAMILIES)
def test_a_split_network_computes_the_same_bits(checkpoints: dict[str, Path], family: str) -> None:
    model = adapter.load(checkpoints[family])
    before = {name: type(module).__name__ for name, module in model.named_modules()}
    split = adapter.prunable(model)
    images = torch.rand(2, 3, 64, 96)
    with torch.no_grad():
        expected, got = model(images)[0], split(images)[0]
    assert expected.std() > 0
    assert (expected - got).abs().max() == 0
    assert not any(isinstance(module, C2f | C2PSA) for module in split.modules())
    assert sum(p.numel() for p in split.parameters()) == sum(p.numel() for p in model.parameters())
    assert {name: type(module).__name__ for name, module in model.named_modules()} == before


@pytest.mark.parametrize("family", FAMILIES)
def test_a_split_network_trains_to_the_same_bits(checkpoints: dict[str, Path], family: str) -> None:
    model = adapter.load(checkpoints[family])
    images = torch.rand(2, 3, 64, 64)
    raw = [net.train()(images) for net in (model, adapter.prunable(model))]
    raw = [net.get("one2many", net) for net in raw]
    assert torch.equal(raw[0]["boxes"], raw[1]["boxes"])
    assert torch.equal(raw[0]["scores"], raw[1]["scores"])


def test_splitting_twice_changes_nothing(checkpoints: dict[str, Path]) -> None:
    once = adapter.prunable(adapter.load(checkpoints["yolo11n"]))
    twice = adapter.prunable(once)
    assert [name for name, _ in once.named_modules()] == [name for name, _ in twice.named_modules()]
