"""Batch-norm statistics after surgery: measured anew, and nothing else touched."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from edgeprune.prune.recalibrate import recalibrate


@pytest.fixture
def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 2, 1)).eval()


def test_the_statistics_are_those_of_the_images(network: nn.Module) -> None:
    batches = [torch.randn(4, 3, 8, 8) * 3 + 1 for _ in range(5)]
    recalibrate(network, batches)
    outputs = torch.stack([network[0](images) for images in batches])
    assert torch.allclose(network[1].running_mean, outputs.mean((0, 1, 3, 4)), atol=1e-5)
    variance = torch.stack([output.var((0, 2, 3)) for output in outputs]).mean(0)
    assert torch.allclose(network[1].running_var, variance, rtol=1e-4)


def test_weights_mode_and_momentum_stay(network: nn.Module) -> None:
    before = copy.deepcopy(network)
    recalibrate(network, [torch.randn(4, 3, 8, 8)])
    assert all(torch.equal(a, b) for a, b in zip(network.parameters(), before.parameters(), strict=True))
    assert not network.training
    assert not network[1].training
    assert network[1].momentum == before[1].momentum
