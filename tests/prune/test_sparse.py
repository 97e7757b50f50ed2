"""Regularisers: the gradients are those of the penalties, the schedules are what is written of them."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from edgeprune.prune.groups import find_groups, trace
from edgeprune.prune.sparse import (
    ALPHA,
    REGULARISERS,
    Coupled,
    add_gradients,
    couple,
    grown_at,
    strength_at,
)


class Residual(nn.Module):
    """Two convolutions that share their channels by an addition, a depthwise one, and one that reads them."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.stem_bn = nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8)
        self.body, self.body_bn = nn.Conv2d(8, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8)
        self.deep, self.deep_bn = nn.Conv2d(8, 8, 3, padding=1, groups=8, bias=False), nn.BatchNorm2d(8)
        self.side, self.side_bn = nn.Conv2d(8, 6, 1, bias=False), nn.BatchNorm2d(6)
        self.head = nn.Conv2d(14, 2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem_bn(self.stem(x)).relu()
        x = self.deep_bn(self.deep(x)).relu()
        x = (x + self.body_bn(self.body(x))).relu()
        return self.head(torch.cat((x, self.side_bn(self.side(x)).relu()), 1))


SHARED = ("stem_bn", "body_bn", "deep_bn")  # one group by addition and depthwise convolution


@pytest.fixture
def net() -> Residual:
    torch.manual_seed(0)
    model = Residual()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, -1.0, 1.0)
    return model


def coupled(model: Residual, ratio: float = 0.25, max_ratio: float = 0.75) -> list[Coupled]:
    groups = find_groups(trace(model, torch.zeros(1, 3, 8, 8), [model.head]), model, [model.head])
    found = couple(groups, ratio, max_ratio)
    return sorted(found, key=lambda group: -group.width)  # the shared group, then the side branch


def gradients(model: Residual, name: str, strength: float, groups: list[Coupled]) -> dict[str, torch.Tensor]:
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    add_gradients(groups, name, strength)
    return {key: parameter.grad for key, parameter in model.named_parameters() if parameter.grad is not None}


def expected(model: Residual, penalty: torch.Tensor) -> dict[str, torch.Tensor]:
    found = torch.autograd.grad(penalty, list(model.parameters()), allow_unused=True)
    return {
        name: torch.zeros_like(parameter) if grad is None else grad
        for (name, parameter), grad in zip(model.named_parameters(), found, strict=True)
    }


def assert_same(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> None:
    assert left.keys() == right.keys()
    for name, grad in left.items():
        torch.testing.assert_close(grad, right[name], msg=lambda text, name=name: f"{name}: {text}")


def channel_squares(model: Residual) -> list[torch.Tensor]:
    """Return the squared norm of each channel over all layers that share it, of both groups, written out."""
    shared = [
        model.stem.weight, model.body.weight, model.deep.weight,
        model.body.weight.movedim(1, 0), model.side.weight.movedim(1, 0),
        model.head.weight[:, :8].movedim(1, 0),
    ]  # fmt: skip
    first = sum(weight.flatten(1).square().sum(1) for weight in shared)
    first = first + sum(getattr(model, name).weight.square() for name in SHARED)
    side = model.side.weight.flatten(1).square().sum(1) + model.side_bn.weight.square()
    return [first, side + model.head.weight[:, 8:].movedim(1, 0).flatten(1).square().sum(1)]


def test_slim_is_the_subgradient_of_l1_on_the_scales(net: Residual) -> None:
    groups = coupled(net)
    penalty = sum(getattr(net, name).weight.abs().sum() for name in (*SHARED, "side_bn"))
    assert_same(gradients(net, "slim", 0.3, groups), expected(net, 0.3 * penalty))


def test_group_slim_is_the_gradient_of_group_lasso_on_the_scales(net: Residual) -> None:
    groups = coupled(net)
    norm = torch.stack([getattr(net, name).weight for name in SHARED]).norm(dim=0)
    penalty = math.sqrt(len(SHARED)) * norm.sum() + net.side_bn.weight.abs().sum()
    assert_same(gradients(net, "group_slim", 0.3, groups), expected(net, 0.3 * penalty))


def test_group_sl_presses_weak_channels_of_a_group_harder_over_all_its_layers(net: Residual) -> None:
    groups = coupled(net)
    penalty = torch.zeros(())
    for squares in channel_squares(net):
        norm = squares.detach().sqrt()
        factor = 2 ** (ALPHA * (norm.max() - norm) / (norm.max() - norm.min()))
        penalty = penalty + (factor * squares).sum() / 2
    assert_same(gradients(net, "group_sl", 0.3, groups), expected(net, 0.3 * penalty))


def test_growing_reg_is_l2_on_the_channels_to_be_removed_and_on_no_other(net: Residual) -> None:
    groups = coupled(net, ratio=0.3)
    assert 0 < sum(int(group.doomed.sum()) for group in groups) < 14
    penalty = torch.zeros(())
    for group, squares in zip(groups, channel_squares(net), strict=True):
        penalty = penalty + (group.doomed * squares).sum() / 2
    assert_same(gradients(net, "growing_reg", 0.3, groups), expected(net, 0.3 * penalty))


def test_the_marked_channels_are_the_weakest_within_the_bound(net: Residual) -> None:
    with torch.no_grad():
        for weight in (net.side.weight, net.side_bn.weight):
            weight[1:] *= 1e-3
        net.head.weight[:, 9:] *= 1e-3
    free, bounded = coupled(net, 0.36, 1.0)[1], coupled(net, 0.36, 0.5)[1]
    assert free.doomed.tolist() == [0, 1, 1, 1, 1, 1]
    assert bounded.doomed.sum() == 3 and bounded.doomed[0] == 0


@pytest.mark.parametrize("name", REGULARISERS)
def test_gradients_are_added_to_what_is_there_and_frozen_layers_stay_free(net: Residual, name: str) -> None:
    groups = coupled(net)
    alone = gradients(net, name, 0.3, groups)
    weights = {key: parameter.detach().clone() for key, parameter in net.named_parameters()}
    for parameter in net.parameters():
        parameter.grad = torch.ones_like(parameter)
    net.stem_bn.weight.grad = None
    add_gradients(groups, name, 0.3)
    for key, parameter in net.named_parameters():
        assert torch.equal(parameter.detach(), weights[key])
        if key == "stem_bn.weight":
            assert parameter.grad is None
        else:
            torch.testing.assert_close(parameter.grad, 1 + alone[key])


@pytest.mark.parametrize("name", REGULARISERS)
def test_a_channel_of_zeros_stays_finite(net: Residual, name: str) -> None:
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.zero_()
    assert all(torch.isfinite(grad).all() for grad in gradients(net, name, 1.0, coupled(net)).values())


epochs = st.integers(1, 400)
strengths = st.floats(1e-8, 1e3)


@given(epochs, strengths)
def test_the_strength_starts_whole_never_rises_and_ends_near_nothing(count: int, start: float) -> None:
    run = [strength_at(epoch, count, start) for epoch in range(count + 1)]
    assert run[0] == start
    assert all(later <= earlier for earlier, later in pairwise(run))
    assert 0 <= run[-1] <= 1e-12 * start
    assert all(value > 0 for value in run[:-1])


@given(epochs, strengths)
def test_the_growing_strength_rises_in_equal_steps_to_its_end(count: int, end: float) -> None:
    run = [grown_at(epoch, count, end) for epoch in range(count)]
    assert run[-1] == end and run[0] > 0
    assert all(
        later - earlier == pytest.approx(end / count, rel=1e-6, abs=1e-9 * end)
        for earlier, later in pairwise(run)
    )
