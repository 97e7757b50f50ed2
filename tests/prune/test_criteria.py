"""Every criterion gives one finite score a channel and leaves the network as it is."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest
import torch

from edgeprune.models import ultralytics as adapter
from edgeprune.prune.criteria import CRITERIA
from edgeprune.prune.groups import Group, find_groups, trace
from edgeprune.recipe import Criterion


def groups_of(path: Path) -> tuple[torch.nn.Module, list[Group]]:
    model = adapter.prunable(adapter.load(path))
    fixed = adapter.unprunable(model)
    graph = trace(model, torch.zeros(1, 3, 64, 64), fixed)
    return model, find_groups(graph, model, fixed)


@pytest.fixture(scope="module")
def traced(checkpoints: dict[str, Path]) -> tuple[torch.nn.Module, list[Group]]:
    return groups_of(checkpoints["yolov8n"])


def test_the_recipe_offers_these_criteria() -> None:
    assert set(get_args(Criterion)) == set(CRITERIA)


@pytest.mark.parametrize("name", CRITERIA)
def test_one_finite_score_a_channel_and_an_untouched_network(
    traced: tuple[torch.nn.Module, list[Group]], name: str
) -> None:
    model, groups = traced
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    generator = torch.Generator().manual_seed(0)
    for group in groups:
        score = CRITERIA[name](group, generator)
        assert score.shape == (group.width,)
        assert score.dtype == torch.float32
        assert not score.requires_grad
        assert torch.isfinite(score).all()
        assert (score >= 0).all()
        assert score.unique().numel() > 1
    after = model.state_dict()
    assert all(torch.equal(after[key], before[key]) for key in before)


@pytest.mark.parametrize("name", CRITERIA)
def test_the_same_seed_gives_the_same_scores(traced: tuple[torch.nn.Module, list[Group]], name: str) -> None:
    _, groups = traced
    runs = [
        [CRITERIA[name](group, generator) for group in groups[:6]]
        for generator in (torch.Generator().manual_seed(5) for _ in range(2))
    ]
    assert all(torch.equal(one, other) for one, other in zip(*runs, strict=True))


def test_chance_depends_on_the_seed(traced: tuple[torch.nn.Module, list[Group]]) -> None:
    group = traced[1][0]
    one, other = (CRITERIA["random"](group, torch.Generator().manual_seed(seed)) for seed in (0, 1))
    assert not torch.equal(one, other)


@pytest.mark.parametrize("name", [name for name in CRITERIA if name != "random"])
def test_a_channel_of_zeros_is_the_least_important(checkpoints: dict[str, Path], name: str) -> None:
    _, groups = groups_of(checkpoints["yolov5n"])
    group = groups[1]
    with torch.no_grad():
        for dep, indices in group.coupled:  # the channel's weights in every layer that shares it
            module = dep.target.module
            if isinstance(module, torch.nn.Conv2d) and dep.handler.__name__ == "prune_out_channels":
                module.weight[indices[3]] = 0
            elif isinstance(module, torch.nn.Conv2d):
                module.weight[:, indices[3]] = 0
            elif isinstance(module, torch.nn.BatchNorm2d):
                module.weight[indices[3]] = 0
    assert CRITERIA[name](group, torch.Generator()).argmin() == 3


def test_l1_and_l2_are_what_they_say(traced: tuple[torch.nn.Module, list[Group]]) -> None:
    group = traced[1][0]
    weight = group.root.weight.detach().flatten(1)
    for name, expected in (("l1", weight.abs().sum(1)), ("l2", weight.pow(2).sum(1))):
        score = CRITERIA[name](group, torch.Generator())
        torch.testing.assert_close(score / score.mean(), expected / expected.mean())
