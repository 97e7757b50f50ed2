"""Batch-norm statistics after surgery: measured anew, and nothing else touched."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from edgeprune.prune.groups import find_groups, remove, trace
from edgeprune.prune.recalibrate import note_statistics, recalibrate


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


def test_a_network_that_was_not_cut_stays_as_it_is(network: nn.Module) -> None:
    network[1].running_mean.uniform_(-1, 1)
    network[1].running_var.uniform_(0.5, 2)
    before = copy.deepcopy(network.state_dict())
    batches = [torch.randn(4, 3, 8, 8) for _ in range(3)]
    note_statistics(network, batches)
    recalibrate(network, batches)
    after = network.state_dict()
    assert list(after) == list(before), "the notes are gone"
    assert all(torch.allclose(after[name].float(), before[name].float(), atol=1e-6) for name in before)


def test_statistics_move_by_what_changed_on_the_same_images(network: nn.Module) -> None:
    network[1].running_mean.fill_(0.25)
    network[1].running_var.fill_(2.0)
    batches = [torch.randn(64, 3, 8, 8)]
    note_statistics(network, batches)
    with torch.no_grad():
        network[0].weight.mul_(3)
        network[0].bias.mul_(3).add_(5)
    first = network[0](batches[0]).mean((0, 2, 3))
    recalibrate(network, batches)
    assert torch.allclose(network[1].running_mean, 0.25 + first - (first - 5) / 3, atol=1e-4)
    assert torch.allclose(network[1].running_var, torch.full((4,), 18.0), rtol=0.01)


@pytest.mark.parametrize("gone", [(0,), (1, 3)])
def test_notes_are_cut_along_with_the_channels_through_joins(gone: tuple[int, ...]) -> None:
    model = Joined().eval()
    batches = [torch.randn(8, 3, 8, 8)]
    note_statistics(model, batches)
    example = torch.zeros(1, 3, 8, 8)
    graph = trace(model, example, ())
    left = next(group for group in find_groups(graph, model, (), ()) if group.name == "left")
    remove(graph, left, gone)
    kept = [channel for channel in range(4) if channel not in gone]
    joined = torch.tensor([*kept, *range(4, 8)])
    expected = model.norm.running_mean + 0  # zeros of the width that is left
    assert len(expected) == len(joined)
    recalibrate(model, batches)
    # No activation before the norm reads another channel, so the cut changed no channel that is left.
    assert torch.allclose(model.norm.running_mean, expected, atol=1e-6)
    assert torch.allclose(model.norm.running_var, torch.ones(len(joined)), atol=1e-5)


class Joined(nn.Module):
    """Two convolutions, joined, and a batch norm of both."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.left, self.right = nn.Conv2d(3, 4, 3), nn.Conv2d(3, 4, 3)
        self.norm, self.last = nn.BatchNorm2d(8), nn.Conv2d(8, 2, 1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        joined = torch.cat((self.left(images), self.right(images)), 1)
        found: torch.Tensor = self.last(torch.relu(self.norm(joined)))
        return found
