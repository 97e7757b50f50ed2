"""Weights fit a network or are refused by name; a fresh network takes the widths of a pruned one."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from edgeprune.core.errors import ModelError
from edgeprune.models.fit import find_misfits, fit, name_misfits

HERE = Path("weights.pth")


def network(first: int, second: int) -> nn.Module:
    """A stem, a depthwise layer, a grouped one, an up-sampling one and a linear end."""
    return nn.Sequential(
        nn.Conv2d(3, first, 3), nn.BatchNorm2d(first), nn.PReLU(first),
        nn.Conv2d(first, first, 3, groups=first), nn.Conv2d(first, second, 1, groups=2),
        nn.ConvTranspose2d(second, first, 2, groups=2), nn.GroupNorm(2, first),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.LayerNorm(first), nn.Linear(first, 4),
    ).eval()  # fmt: skip


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 6), st.integers(1, 6))
def test_a_fresh_network_takes_the_widths_of_the_weights(first: int, second: int) -> None:
    pruned, fresh = network(2 * first, 2 * second), network(16, 16)
    fit(fresh, pruned.state_dict(), HERE)
    image = torch.rand(1, 3, 12, 12)
    assert torch.equal(fresh(image), pruned(image))
    assert [str(layer) for layer in fresh] == [str(layer) for layer in pruned]


def test_what_does_not_fit_is_named_all_at_once() -> None:
    state = dict(network(8, 8).state_dict())
    state["extra.weight"] = torch.zeros(2)
    del state["0.bias"]
    state["10.weight"] = torch.zeros(9, 8)
    found = find_misfits(network(8, 8), state)
    assert found == [
        "10.weight has shape [9, 8], not [4, 8]",
        "0.bias is missing",
        "extra.weight is not one of its layers",
    ]
    assert name_misfits(found * 3).endswith("; and 4 more")


def test_counts_of_batches_may_be_absent() -> None:
    state = dict(network(8, 8).state_dict())
    del state["1.num_batches_tracked"]
    assert not find_misfits(network(8, 8), state)


def test_weights_of_another_network_are_refused() -> None:
    with pytest.raises(ModelError, match=r"weights\.pth: the weights do not fit.*10\.weight is missing"):
        fit(network(8, 8), network(8, 8)[:10].state_dict(), HERE)
    with pytest.raises(ModelError, match=r"0\.weight has 1 axes, not 4"):
        fit(network(8, 8), {**network(8, 8).state_dict(), "0.weight": torch.zeros(3)}, HERE)


def test_weights_of_a_diverged_training_are_refused() -> None:
    state = {**network(8, 8).state_dict(), "0.bias": torch.full((8,), torch.nan)}
    with pytest.raises(ModelError, match=r"0\.bias holds NaN"):
        fit(network(8, 8), state, HERE)
