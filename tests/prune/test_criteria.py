"""Every criterion gives one finite score a channel, leaves the network as it is, and does what it says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
import torch_pruning as tp
from torch import nn

from edgeprune.adapters.ultralytics import detect as adapter
from edgeprune.config.recipe import Criterion, PruneRecipe, Recipe
from edgeprune.core.errors import ConfigError
from edgeprune.images.dataset import Dataset
from edgeprune.images.preprocess import Preprocess
from edgeprune.prune.criteria import CRITERIA, NEEDS
from edgeprune.prune.evidence import Evidence, Need, gather
from edgeprune.prune.groups import Group, find_groups, trace
from edgeprune.prune.stages import PruneContext, evidence_for
from edgeprune.prune.surgery import score_groups

SPEC = Preprocess(64)
EXAMPLE = torch.zeros(1, 3, 64, 64)


def groups_of(path: Path) -> tuple[nn.Module, list[Group]]:
    model = adapter.prunable(adapter.load(path))
    fixed = adapter.unprunable(model)
    return model, find_groups(trace(model, EXAMPLE, fixed), model, fixed)


def everything(model: nn.Module, tiny: Dataset) -> Evidence:
    """Gather all kinds of evidence on six images."""
    needs: dict[str, Any] = {
        need: gather(model, need, adapter.labelled_images(tiny, SPEC, 6, 0), adapter.loss)
        for need in get_args(Need)
    }
    return Evidence(**needs)


@pytest.fixture(scope="module")
def traced(checkpoints: dict[str, Path]) -> tuple[nn.Module, list[Group]]:
    return groups_of(checkpoints["yolov8n"])


@pytest.fixture(scope="module")
def seen(traced: tuple[nn.Module, list[Group]], tiny: Dataset) -> Evidence:
    return everything(traced[0], tiny)


def test_the_recipe_offers_these_criteria() -> None:
    assert set(get_args(Criterion)) == set(CRITERIA)
    assert NEEDS.keys() <= CRITERIA.keys()


ESTIMATES = ("taylor", "hessian", "obdc")
"""What estimates the rise of the loss."""


@pytest.mark.parametrize("name", CRITERIA)
def test_one_finite_score_a_channel_and_an_untouched_network(
    traced: tuple[nn.Module, list[Group]], seen: Evidence, name: str
) -> None:
    model, groups = traced
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    for group in groups:
        score = CRITERIA[name](group, seen)
        assert score.shape == (group.width,)
        assert score.dtype == torch.float32
        assert not score.requires_grad
        assert torch.isfinite(score).all()
        assert (score >= 0).all()
        assert score.unique().numel() > 1
        if name not in {"lamp", "group_sl", *ESTIMATES}:  # the first two are scaled as their papers have it
            assert score.mean() == pytest.approx(1, rel=1e-4)
    after = model.state_dict()
    assert all(torch.equal(after[key], before[key]) for key in before)


@pytest.mark.parametrize("family", ["yolo11n", "yolo26n"])
def test_depthwise_layers_and_two_headed_networks_are_scored(
    checkpoints: dict[str, Path], tiny: Dataset, family: str
) -> None:
    model, groups = groups_of(checkpoints[family])
    evidence = everything(model, tiny)
    for group in groups:
        for name, criterion in CRITERIA.items():
            score = criterion(group, evidence)
            assert score.shape == (group.width,)
            assert torch.isfinite(score).all(), (group.name, name)
            # With so few images no box may fall to a level of the head: data say nothing of it then.
            assert score.max() > 0 or (name in NEEDS and group.name.startswith("model.23.")), (
                group.name,
                name,
            )


@pytest.mark.parametrize("name", CRITERIA)
def test_the_same_evidence_gives_the_same_scores_in_any_order(
    traced: tuple[nn.Module, list[Group]], seen: Evidence, name: str
) -> None:
    groups = traced[1][:6]
    there = {group.name: CRITERIA[name](group, seen) for group in groups}
    back = {group.name: CRITERIA[name](group, seen) for group in reversed(groups)}
    assert all(torch.equal(there[key], back[key]) for key in there)


def test_chance_depends_on_the_seed_and_the_group(traced: tuple[nn.Module, list[Group]]) -> None:
    same_width = [group for group in traced[1] if group.width == traced[1][1].width][:2]
    one, other = (CRITERIA["random"](same_width[0], Evidence(seed)) for seed in (0, 1))
    assert not torch.equal(one, other)
    assert not torch.equal(one, CRITERIA["random"](same_width[1], Evidence(0)))


@pytest.mark.parametrize("name", [name for name in CRITERIA if name not in {"random", "apoz"}])
def test_a_channel_of_zeros_is_the_least_important(
    checkpoints: dict[str, Path], tiny: Dataset, name: str
) -> None:
    model, groups = groups_of(checkpoints["yolov5n"])
    group = groups[1]
    with torch.no_grad():
        for dep, indices in group.coupled:  # the channel's weights in every layer that shares it
            module = dep.target.module
            if isinstance(module, nn.Conv2d) and dep.handler.__name__ == "prune_out_channels":
                module.weight[indices[3]] = 0
            elif isinstance(module, nn.Conv2d):
                module.weight[:, indices[3]] = 0
            elif isinstance(module, nn.BatchNorm2d):
                module.weight[indices[3]] = 0
    recipe = Recipe(prune=PruneRecipe(criterion=name, images=3))
    assert CRITERIA[name](group, evidence_for(PruneContext(adapter, tiny, SPEC, recipe), model)).argmin() == 3


@pytest.mark.parametrize("name", CRITERIA)
def test_a_whole_group_of_zeros_still_has_finite_scores(
    traced: tuple[nn.Module, list[Group]], name: str
) -> None:
    nothing = tiny_groups(nn.Conv2d(3, 4, 1, bias=False), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 2, 1))
    with torch.no_grad():
        for parameter in nothing[0].parameters():
            parameter.zero_()
    assert torch.isfinite(CRITERIA[name](nothing[1], Evidence())).all()


# Known answers, on networks small enough to work out by hand.


def tiny_groups(*layers: nn.Module) -> tuple[nn.Sequential, Group]:
    """Return a network that ends in a fixed layer, and its first group."""
    model = nn.Sequential(*layers).eval()
    groups = find_groups(trace(model, torch.rand(1, 3, 4, 4), [layers[-1]]), model, [layers[-1]])
    return model, groups[0]


def squared_error(model: nn.Module, batch: torch.Tensor) -> torch.Tensor:
    return (model(batch) ** 2).sum()


@pytest.fixture
def plain() -> tuple[nn.Sequential, Group]:
    torch.manual_seed(0)
    return tiny_groups(nn.Conv2d(3, 4, 3, bias=False), nn.ReLU(), nn.Conv2d(4, 2, 1))


def batches(count: int = 3) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(1, 3, 4, 4, generator=generator) for _ in range(count)]


def same_ranking(score: torch.Tensor, expected: torch.Tensor) -> None:
    torch.testing.assert_close(score, expected / expected.mean(), rtol=1e-4, atol=1e-6)


def test_l1_and_l2_are_what_they_say(traced: tuple[nn.Module, list[Group]]) -> None:
    group = traced[1][0]
    weight = group.root.weight.detach().flatten(1)
    same_ranking(CRITERIA["l1"](group, Evidence()), weight.abs().sum(1))
    same_ranking(CRITERIA["l2"](group, Evidence()), weight.pow(2).sum(1))


def test_group_norm_lamp_and_slim_agree_with_torch_pruning(traced: tuple[nn.Module, list[Group]]) -> None:
    """It leaves depthwise weights out; yolov8n has none among its groups."""
    theirs = {
        "group_norm": tp.importance.GroupMagnitudeImportance(p=2),
        "group_sl": tp.importance.GroupMagnitudeImportance(p=2, normalizer="max"),
        "lamp": tp.importance.LAMPImportance(p=2),
        "slim": tp.importance.BNScaleImportance(),
    }
    for group in traced[1]:
        for name, importance in theirs.items():
            torch.testing.assert_close(
                CRITERIA[name](group, Evidence()), importance(group.coupled).detach(), rtol=1e-3, atol=1e-5
            )


def test_fpgm_takes_the_filter_that_the_others_can_stand_in_for(plain: tuple[nn.Sequential, Group]) -> None:
    model, group = plain
    with torch.no_grad():  # one filter apart from the rest, one in their middle, of the same absolute values
        model[0].weight.zero_()
        for channel, value in enumerate((1.0, -1.0, 0.9, 1.1)):
            model[0].weight[channel, 0, 0, 0] = value
    same_ranking(CRITERIA["fpgm"](group, Evidence()), torch.tensor([2.2, 6.0, 2.2, 2.4]))


def test_slim_reads_gamma_and_group_slim_all_that_share_the_channel() -> None:
    model, group = tiny_groups(
        nn.Conv2d(3, 4, 3, bias=False),
        nn.BatchNorm2d(4),
        nn.Conv2d(4, 4, 1, groups=4),
        nn.BatchNorm2d(4),
        nn.Conv2d(4, 2, 1),
    )
    with torch.no_grad():
        model[1].weight.copy_(torch.tensor([0.1, -0.5, 0.3, 2.0]))
        model[3].weight.copy_(torch.tensor([1.0, 0.0, 0.4, 1.0]))
    same_ranking(CRITERIA["slim"](group, Evidence()), torch.tensor([1.1, 0.5, 0.7, 3.0]))
    same_ranking(CRITERIA["group_slim"](group, Evidence()), torch.tensor([1.01, 0.25, 0.25, 5.0]).sqrt())


def test_taylor_is_weight_times_gradient(plain: tuple[nn.Sequential, Group]) -> None:
    model, group = plain
    images = batches(1)
    squared_error(model, images[0]).backward()
    first, last = model[0].weight, model[2].weight
    expected = (first * first.grad).abs().sum((1, 2, 3)) + (last * last.grad).abs().sum((0, 2, 3))
    model.zero_grad()
    evidence = Evidence(gradients=gather(model, "gradients", images, squared_error))
    torch.testing.assert_close(CRITERIA["taylor"](group, evidence), expected.detach())
    assert first.grad is None


def test_hessian_squares_the_gradients_of_single_samples(plain: tuple[nn.Sequential, Group]) -> None:
    model, group = plain
    expected = torch.zeros(4)
    for image in batches():
        model.zero_grad()
        squared_error(model, image).backward()
        expected += (model[0].weight ** 2 * model[0].weight.grad ** 2).sum((1, 2, 3)).detach()
        expected += (model[2].weight ** 2 * model[2].weight.grad ** 2).sum((0, 2, 3)).detach()
    evidence = Evidence(squared_gradients=gather(model, "squared_gradients", batches(), squared_error))
    torch.testing.assert_close(CRITERIA["hessian"](group, evidence), expected / len(batches()) / 2)


@pytest.mark.parametrize("inplace", [False, True])
def test_obdc_is_the_quadratic_form_of_the_kronecker_factors(inplace: bool) -> None:
    torch.manual_seed(0)
    model, group = tiny_groups(nn.Conv2d(3, 4, 3), nn.ReLU(inplace=inplace), nn.Conv2d(4, 2, 1))
    inputs, outputs = torch.zeros(27, 27), torch.zeros(4)  # A, and the diagonal of S
    for image in batches():
        patches = nn.functional.unfold(image, 3)[0]  # (27, positions)
        inputs += patches @ patches.T / 3
        signal = model[0](image).detach().requires_grad_()
        (gradient,) = torch.autograd.grad((model[2](signal.relu()) ** 2).sum(), signal)
        outputs += gradient.square().mean((0, 2, 3)) / 3
    filters = model[0].weight.detach().flatten(1)
    expected = outputs * torch.einsum("oi,ij,oj->o", filters, inputs, filters) / 2
    evidence = Evidence(factors=gather(model, "factors", batches(), squared_error))
    torch.testing.assert_close(CRITERIA["obdc"](group, evidence), expected.detach(), rtol=1e-4, atol=1e-6)


class Branches(nn.Module):
    """Two layers side by side; the last one hardly listens to the second."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.loud, self.quiet, self.last = nn.Conv2d(3, 4, 1), nn.Conv2d(3, 4, 1), nn.Conv2d(8, 2, 1)
        self.quiet.load_state_dict(self.loud.state_dict())
        with torch.no_grad():
            self.last.weight[:, 4:] = self.last.weight[:, :4] / 100

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.last(torch.cat((self.loud(images), self.quiet(images)), 1))


@pytest.mark.parametrize("name", ESTIMATES)
def test_what_estimates_the_loss_can_be_compared_between_layers(name: str) -> None:
    model = Branches().eval()
    groups = find_groups(trace(model, torch.rand(1, 3, 4, 4), [model.last]), model, [model.last])
    seen = Evidence(**{NEEDS[name]: gather(model, NEEDS[name], batches(), squared_error)})
    loud, quiet = (CRITERIA[name](group, seen) for group in groups)
    assert [group.name for group in groups] == ["loud", "quiet"]
    assert loud.min() > 10 * quiet.max()


@pytest.mark.parametrize("activation", [nn.ReLU, nn.SiLU])
def test_apoz_counts_what_is_not_above_zero(activation: Callable[[], nn.Module]) -> None:
    model, group = tiny_groups(nn.Conv2d(3, 4, 1), activation(), nn.Conv2d(4, 2, 1))
    with torch.no_grad():  # each channel is the first colour less a limit
        model[0].weight.zero_()
        model[0].weight[:, 0] = 1
        model[0].bias.copy_(-torch.tensor([0.5, 3.5, 7.5, 15.5]))
    image = torch.arange(48.0).reshape(1, 3, 4, 4)
    evidence = Evidence(activity=gather(model, "activity", [image], squared_error))
    same_ranking(CRITERIA["apoz"](group, evidence), torch.tensor([15.0, 12.0, 8.0, 0.0]))


def test_combined_adds_two_norms_in_the_shares_of_the_recipe(plain: tuple[nn.Sequential, Group]) -> None:
    model, group = plain
    gradients = gather(model, "gradients", batches(), squared_error)
    weights = (model[0].weight ** 2).sum((1, 2, 3)) + (model[2].weight ** 2).sum((0, 2, 3))
    slopes = (gradients["0.weight"] ** 2).sum((1, 2, 3)) + (gradients["2.weight"] ** 2).sum((0, 2, 3))
    of_weights, of_slopes = (norm.detach().sqrt() / norm.detach().sqrt().mean() for norm in (weights, slopes))
    for shares in ((0.7, 0.3), (1.0, 0.0), (0.2, 0.8)):
        score = CRITERIA["combined"](group, Evidence(combine=shares, gradients=gradients))
        torch.testing.assert_close(score, shares[0] * of_weights + shares[1] * of_slopes)


# Gathering.


@pytest.mark.parametrize("need", get_args(Need))
def test_gathering_leaves_the_network_as_it_is(
    traced: tuple[nn.Module, list[Group]], tiny: Dataset, need: Need
) -> None:
    model = traced[0]
    model.train()
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    args = dict(model.args)
    gather(model, need, adapter.labelled_images(tiny, SPEC, 2, 0), adapter.loss)
    assert model.training
    model.eval()
    assert all(torch.equal(tensor, before[key]) for key, tensor in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not any(module._forward_hooks for module in model.modules())
    assert dict(model.args) == args and getattr(model, "criterion", None) is None


def test_only_what_a_criterion_needs_is_gathered(
    traced: tuple[nn.Module, list[Group]], tiny: Dataset
) -> None:
    for name in ("l1", "apoz", "taylor"):
        recipe = Recipe(seed=4, prune=PruneRecipe(criterion=name, images=2, combine=(0.5, 0.5)))
        evidence = evidence_for(PruneContext(adapter, tiny, SPEC, recipe), traced[0])
        assert (evidence.seed, evidence.combine) == (4, (0.5, 0.5))
        assert {need for need in get_args(Need) if getattr(evidence, need)} == {NEEDS.get(name)} - {None}


@pytest.mark.parametrize("name", NEEDS)
def test_a_criterion_that_needs_data_says_so_in_one_line(checkpoints: dict[str, Path], name: str) -> None:
    model = adapter.prunable(adapter.load(checkpoints["yolov5n"]))
    with pytest.raises(ConfigError) as caught:
        score_groups(model, adapter.unprunable, EXAMPLE, PruneRecipe(criterion=name), Evidence())
    assert f"prune.criterion: {name} needs" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_no_images_are_an_error(plain: tuple[nn.Sequential, Group]) -> None:
    with pytest.raises(ConfigError, match=r"needs gradients, and there are no images"):
        gather(plain[0], "gradients", [], squared_error)


@pytest.mark.parametrize("name", ["slim", "group_slim"])
def test_a_layer_without_batch_norm_has_no_scale(plain: tuple[nn.Sequential, Group], name: str) -> None:
    with pytest.raises(ConfigError, match=r"prune\.criterion: 0 has no batch norm"):
        CRITERIA[name](plain[1], Evidence())
