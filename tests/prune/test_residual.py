"""Which blocks may go beside channels, and what they are worth in the unit of the channels."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest
import torch
from torch import nn

from conftest import FAMILIES
from edgeprune.adapters.ultralytics import detect as adapter
from edgeprune.config.recipe import PruneRecipe
from edgeprune.images.dataset import Dataset
from edgeprune.images.preprocess import Preprocess
from edgeprune.models.droppable import Droppable
from edgeprune.models.following import mark_followed
from edgeprune.prune.criteria import NEEDS
from edgeprune.prune.depth import removable_blocks
from edgeprune.prune.evidence import Evidence, gather
from edgeprune.prune.residual import residual_blocks, score_blocks

EXAMPLE = torch.zeros(1, 3, 64, 64)


class Branch(nn.Module, Droppable):
    """x + f(x), or f(x) alone."""

    def __init__(self, width: int, adds: bool) -> None:
        super().__init__()
        self.adds = adds
        self.into = nn.Conv2d(width, 2 * width, 1)
        self.out = nn.Conv2d(2 * width, width, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = self.out(torch.relu(self.into(x)))
        return x + out if self.adds else out


class Network(nn.Module):
    """An own network with one residual block and one of the same shape that adds nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 16, 3, padding=1)
        self.adds = Branch(16, adds=True)
        self.plain = Branch(16, adds=False)
        self.last = nn.Conv2d(16, 4, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(self.plain(self.adds(self.first(x))))  # type: ignore[no-any-return]


def network() -> Network:
    """Return one that is known to be followed, as the adapter of own networks gives it."""
    torch.manual_seed(0)
    model = Network().eval()
    mark_followed(model, EXAMPLE, [model.last])
    return model


def fixed(model: nn.Module) -> list[nn.Module]:
    return [cast(Network, model).last]


@pytest.mark.parametrize("family", FAMILIES)
def test_every_bottleneck_with_a_shortcut_may_go(checkpoints: dict[str, Path], family: str) -> None:
    model = adapter.prunable(adapter.load(checkpoints[family]))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    found = residual_blocks(model, adapter.unprunable, EXAMPLE, PruneRecipe())
    attention = {name for name in removable_blocks(model) if hasattr(model.get_submodule(name), "attn")}
    assert set(removable_blocks(model)) - set(found) <= attention | {
        name for name in removable_blocks(model) if name.rpartition(".")[0] + ".1" in attention
    }
    assert len(found) >= 4
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_of_own_blocks_those_that_add_to_their_input() -> None:
    found = residual_blocks(network(), fixed, EXAMPLE, PruneRecipe())
    assert list(found) == ["adds"]


@pytest.mark.parametrize(
    "changes",
    [{"criterion": "l1"}, {"criterion": "group_norm"}, {"depth": 0}, {"depth": 1}, {"skip": ("adds.into",)}],
)
def test_none_may_go_where_the_recipe_or_the_criterion_leaves_no_choice(changes: dict[str, Any]) -> None:
    assert score_blocks(network(), fixed, EXAMPLE, PruneRecipe(**changes), Evidence()) == {}


@pytest.mark.parametrize("criterion", ["taylor", "hessian", "obdc"])
def test_a_block_is_worth_what_the_layer_is_that_writes_its_branch(criterion: str) -> None:
    model = network()
    images = [torch.rand(1, 3, 16, 16) for _ in range(3)]

    def loss(net: nn.Module, image: torch.Tensor) -> torch.Tensor:
        return cast(torch.Tensor, net(image).square().sum())

    need = NEEDS[criterion]
    evidence = Evidence(**cast(Any, {need: gather(model, need, images, loss)}))
    recipe = PruneRecipe(criterion=cast(Any, criterion))
    weight, name = model.adds.out.weight.detach(), "adds.out.weight"
    if criterion == "taylor":
        expected = (weight * evidence.gradients[name]).abs().sum()
    elif criterion == "hessian":
        expected = (weight.square() * evidence.squared_gradients[name] / 2).sum()
    else:
        energy, sensitivity = evidence.factors["adds.out"]
        expected = (energy * sensitivity / 2).sum()
    found = score_blocks(model, fixed, EXAMPLE, recipe, evidence)
    assert found == {"adds": pytest.approx(float(expected), rel=1e-4)}


def test_a_block_of_no_use_to_the_loss_is_worth_nothing(checkpoints: dict[str, Path], tiny: Dataset) -> None:
    model = adapter.prunable(adapter.load(checkpoints["yolov8n"]))
    end = model.get_submodule("model.4.m.1.cv2.bn")
    nn.init.zeros_(cast(nn.BatchNorm2d, end).weight)
    images = adapter.labelled_images(tiny, Preprocess(64), 2, 0)
    recipe = PruneRecipe()
    need = NEEDS[recipe.criterion]
    evidence = Evidence(**cast(Any, {need: gather(model, need, images, adapter.loss)}))
    found = score_blocks(model, adapter.unprunable, EXAMPLE, recipe, evidence)
    assert found["model.4.m.1"] == 0 and min(found["model.4.m.0"], found["model.2.m.0"]) > 0
