"""A cut is proven on the network itself, and one that is not exact is refused with the layer's name."""

from __future__ import annotations

import pytest
import torch
import torchvision
from torch import nn

from edgeprune.config.recipe import PruneRecipe
from edgeprune.core.errors import ModelError
from edgeprune.models.base import output_layers
from edgeprune.models.following import MARK, mark_followed
from edgeprune.prune.evidence import Evidence
from edgeprune.prune.groups import find_groups, trace
from edgeprune.prune.proof import LIMIT, difference, require_exact
from edgeprune.prune.surgery import prune

IMAGE = torch.rand(1, 3, 64, 64)


def fixed(model: nn.Module) -> list[nn.Module]:
    return output_layers(model, torch.zeros(IMAGE.shape))


def marked(name: str) -> nn.Module:
    """Return a network whose batch norms do something, as they do once trained."""
    torch.manual_seed(0)
    model: nn.Module = torchvision.models.get_model(name, weights=None, num_classes=4).eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.bias, -0.2, 0.2)
            nn.init.uniform_(module.running_mean, -0.1, 0.1)
    mark_followed(model, IMAGE, fixed(model))
    return model


def halves(model: nn.Module) -> dict[str, list[int]]:
    groups = find_groups(trace(model, IMAGE, fixed(model)), model, fixed(model))
    return {group.name: list(range(0, group.width, 2)) for group in groups}


@pytest.mark.parametrize(
    ("name", "least", "whole"),
    [
        ("resnet18", 12, set()),
        ("mobilenet_v3_small", 26, set()),
        ("regnet_y_400mf", 21, set()),
        ("squeezenet1_1", 25, set()),
        ("shufflenet_v2_x0_5", 1, {"InvertedResidual"}),
    ],
)
def test_every_group_of_a_network_is_cut_exactly(name: str, least: int, whole: set[str]) -> None:
    model = marked(name)
    assert {type(module).__name__ for module in model.modules() if getattr(module, MARK)} == whole
    doomed = halves(model)
    assert len(doomed) >= least
    assert difference(model, fixed, IMAGE, (), doomed) <= LIMIT


class Normed(nn.Module):
    """A block that divides by the mean over its channels, and says it does not."""

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return features / features.square().mean(1, keepdim=True).sqrt()


@pytest.fixture
def normed() -> nn.Module:
    """Return a network with a group, `2`, that looks as if it could be cut."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 1), Normed(), nn.Conv2d(8, 8, 1), nn.Conv2d(8, 2, 1)
    ).eval()
    mark_followed(model, IMAGE, fixed(model))
    setattr(model[3], MARK, "")
    return model


def test_a_cut_that_changes_what_is_computed_is_refused(normed: nn.Module) -> None:
    doomed = {name: [0, 3] for name in ("0", "2", "4")}
    with pytest.raises(ModelError, match=r"^2: the network computes something else.*prune\.skip=\[2\]'$"):
        require_exact(normed, fixed, IMAGE, (), doomed)
    require_exact(normed, fixed, IMAGE, (), {"0": [0, 3], "4": [1]})


def test_a_group_whose_cut_is_not_exact_is_left_whole_and_named(normed: nn.Module) -> None:
    pruned = prune(
        normed, fixed, IMAGE, PruneRecipe(ratio=0.5, scope="local", criterion="group_norm"), 4, Evidence()
    )
    assert {layer.layer: layer.after for layer in pruned.report.layers} == {"0": 4, "2": 8, "4": 4, "5": 2}
    assert pruned.report.whole == ("2 (whose cut is not exact)",)
