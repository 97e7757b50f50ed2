"""Pruning all four families: widths on the step, a fixed head, goals met or refused, and exact surgery."""

from __future__ import annotations

from itertools import cycle, product
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from torch import nn

from conftest import FAMILIES
from edgeprune.adapters.ultralytics import detect as adapter
from edgeprune.config.recipe import DEFAULT_RATIO, Criterion, PruneRecipe, Recipe, Scope
from edgeprune.core.errors import ConfigError
from edgeprune.images.dataset import Dataset
from edgeprune.images.preprocess import Preprocess
from edgeprune.prune.criteria import CRITERIA
from edgeprune.prune.evidence import Evidence
from edgeprune.prune.groups import count_macs, find_groups, kept_whole, members, structure, trace
from edgeprune.prune.stages import PruneContext, evidence_for
from edgeprune.prune.surgery import Pruned, cut_to, prune, score_groups

EXAMPLE = torch.zeros(1, 3, 64, 64)
# Each criterion once, every family with every scope and both steps.
CELLS = list(zip(cycle(product(FAMILIES, get_args(Scope))), cycle((8, 16)), CRITERIA, strict=False))
WITH_ATTENTION = {
    "yolo11n": {"model.10.cv1.conv", "model.10.m.0.ffn.1.conv"},
    "yolo26n": {
        "model.10.cv1.conv", "model.10.m.0.ffn.1.conv",
        "model.22.cv1.conv", "model.22.m.0.0.cv2.conv", "model.22.m.0.1.ffn.1.conv",
    },
}  # fmt: skip


def pruned(model: nn.Module, step: int = 8, seed: int = 0, **recipe: Any) -> Pruned:
    settings = PruneRecipe.model_validate({"criterion": "group_norm", **recipe})
    return prune(model, adapter.unprunable, EXAMPLE, settings, step, Evidence(seed))


@pytest.fixture(scope="module")
def models(checkpoints: dict[str, Path]) -> dict[str, nn.Module]:
    return {family: adapter.prunable(adapter.load(path)) for family, path in checkpoints.items()}


@pytest.fixture(scope="module")
def small(models: dict[str, nn.Module]) -> nn.Module:
    return models["yolov8n"]


def convolutions(model: nn.Module) -> dict[str, nn.Conv2d]:
    return {name: module for name, module in model.named_modules() if isinstance(module, nn.Conv2d)}


@pytest.mark.parametrize(("cell", "step", "criterion"), CELLS)
def test_every_changed_width_is_on_the_step_and_the_network_runs(
    models: dict[str, nn.Module], tiny: Dataset, cell: tuple[str, Scope], step: int, criterion: Criterion
) -> None:
    family, scope = cell
    model = models[family]
    prunes = PruneRecipe(ratio=0.5, max_ratio=0.7, scope=scope, criterion=criterion, images=2)
    evidence = evidence_for(PruneContext(adapter, tiny, Preprocess(64), Recipe(prune=prunes)), model)
    result = prune(model, adapter.unprunable, EXAMPLE, prunes, step, evidence)
    before, after = convolutions(model), convolutions(result.model)
    assert before.keys() == after.keys()
    changed = [name for name in before if before[name].out_channels != after[name].out_channels]
    assert len(changed) > len(before) / 4
    for name in changed:
        old, new = before[name].out_channels, after[name].out_channels
        assert 0 < new < old
        assert new % step == 0
        assert new >= old * 0.3
        assert after[name].weight.shape[0] == new
    report = result.report
    assert {(row.layer, row.before, row.after) for row in report.layers} == {
        (name, before[name].out_channels, after[name].out_channels) for name in before
    }
    assert all(row.before == row.after for row in report.layers if not row.prunable)
    assert (report.macs_after, report.params_after) == count_macs(result.model, EXAMPLE)
    assert report.params_after == sum(tensor.numel() for tensor in result.model.parameters())
    images = torch.rand(2, 3, 64, 96)
    with torch.no_grad():
        got, expected = result.model(images)[0], model(images)[0]
    assert got.shape == expected.shape
    assert torch.isfinite(got).all()
    raw = result.model.train()(images)  # both branches of a head with two
    assert all(torch.isfinite(out["scores"]).all() for out in (raw.values() if "one2one" in raw else [raw]))


def test_pruning_leaves_the_given_network_as_it_is(small: nn.Module) -> None:
    before = {name: tensor.clone() for name, tensor in small.state_dict().items()}
    pruned(small, ratio=0.5)
    after = small.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_without_a_goal_the_default_ratio_is_taken_and_told(small: nn.Module) -> None:
    report = pruned(small).report
    assert report.ratio == DEFAULT_RATIO
    assert report.goal == f"ratio {DEFAULT_RATIO:g}"
    assert (report.criterion, report.step) == ("group_norm", 8)


def test_the_same_seed_prunes_the_same_channels(small: nn.Module) -> None:
    one, same, other = (
        pruned(small, seed=seed, criterion="random", ratio=0.5).model.state_dict() for seed in (1, 1, 2)
    )
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not all(torch.equal(one[name], other[name]) for name in one)


def test_skipped_layers_keep_their_widths(small: nn.Module) -> None:
    result = pruned(small, ratio=0.5, skip=("model.0.*", "model.2*", "model.22.cv3.*"))
    before, after = convolutions(small), convolutions(result.model)
    for name in before:
        if name.startswith(("model.0.", "model.2", "model.22.cv3")):
            assert after[name].out_channels == before[name].out_channels, name
    assert result.report.params_after < result.report.params_before
    assert not next(row for row in result.report.layers if row.layer == "model.0.conv").prunable


def test_a_skipped_layer_keeps_all_that_share_its_channels(small: nn.Module) -> None:
    result = pruned(small, ratio=0.5, skip=("model.4.m.1.cv2.conv",))  # in a residual chain with two others
    before, after = convolutions(small), convolutions(result.model)
    for name in ("model.4.cv1.conv", "model.4.m.0.cv2.conv", "model.4.m.1.cv2.conv"):
        assert after[name].out_channels == before[name].out_channels
    assert after["model.4.m.1.cv1.conv"].out_channels < before["model.4.m.1.cv1.conv"].out_channels


def test_layers_take_the_ratios_that_the_recipe_gives_them(small: nn.Module) -> None:
    ratios = {"model.1": 0.0, "model.3.conv": 0.5, "model.4.m.1.cv2.conv": 0.25}
    result = pruned(small, ratio=0.4, ratios=ratios)
    before, after = convolutions(small), convolutions(result.model)
    kept = {name: after[name].out_channels / before[name].out_channels for name in before}
    assert kept["model.1.conv"] == 1
    assert kept["model.3.conv"] == 0.5
    # The name of one layer holds for all that share its channels.
    assert kept["model.4.cv1.conv"] == kept["model.4.m.0.cv2.conv"] == kept["model.4.m.1.cv2.conv"] == 0.75
    assert result.report.params_after < pruned(small, ratio=0.0, ratios=ratios).report.params_after


def test_every_convolution_that_may_shrink_is_in_one_group(models: dict[str, nn.Module]) -> None:
    """Behind a depthwise convolution too: torch-pruning may list that one first, and not its producer."""
    for family, model in models.items():
        fixed = adapter.unprunable(model)
        groups = find_groups(trace(model, EXAMPLE, fixed), model, fixed)
        produced = [layer.name for group in groups for layer in members(group, nn.Conv2d) if layer.produces]
        assert len(produced) == len(set(produced))
        whole = kept_whole(model, fixed)
        left = {name for name, module in convolutions(model).items() if module not in whole} - set(produced)
        # What is added to an attention's output shares its fixed channels.
        assert left <= WITH_ATTENTION.get(family, set())


def test_isomorphic_groups_are_those_of_one_structure(models: dict[str, nn.Module]) -> None:
    for model in models.values():
        fixed = adapter.unprunable(model)
        groups = find_groups(trace(model, EXAMPLE, fixed), model, fixed)
        kinds = {structure(group) for group in groups}
        assert 1 < len(kinds) < len(groups)
    same, other = (
        ("model.4.m.0.cv1.conv", "model.6.m.0.cv1.conv"),
        ("model.4.m.1.cv2.conv", "model.6.m.1.cv2.conv"),
    )
    small = models["yolov8n"]
    fixed = adapter.unprunable(small)
    found = {
        group.name: structure(group) for group in find_groups(trace(small, EXAMPLE, fixed), small, fixed)
    }
    assert found[same[0]] == found[same[1]]  # inside a residual block
    assert found[other[0]] == found[other[1]]  # along a residual chain
    assert found[same[0]] != found[other[0]]


def test_scores_are_reused_for_any_widths(small: nn.Module) -> None:
    recipe = PruneRecipe(criterion="l1", skip=("model.22.*",))
    before = {name: tensor.clone() for name, tensor in small.state_dict().items()}
    scores = score_groups(small, adapter.unprunable, EXAMPLE, recipe, Evidence())
    assert not any(name.startswith("model.22.") for name in scores)
    for keep in ({"model.0.conv": 5}, {"model.0.conv": 16, "model.3.conv": 1}, {}):
        widths = {name: keep.get(name, len(score)) for name, score in scores.items()}
        cut = convolutions(cut_to(small, adapter.unprunable, EXAMPLE, recipe.skip, scores, widths))
        assert {name: cut[name].out_channels for name in widths} == widths
        for name, width in keep.items():
            best = scores[name].topk(width).indices.sort().values
            whole = convolutions(small)[name].weight[best]
            assert torch.equal(cut[name].weight[:, 0], whole[:, 0]) or cut[name].in_channels < whole.shape[1]
    assert all(torch.equal(tensor, before[name]) for name, tensor in small.state_dict().items())


def test_a_goal_in_macs_is_reached_and_not_by_far(small: nn.Module) -> None:
    report = pruned(small, macs=0.6).report
    assert 0.5 <= report.macs_after / report.macs_before <= 0.6
    assert report.goal == "macs 0.6"
    assert report.macs_before == count_macs(small, EXAMPLE)[0]


@pytest.mark.parametrize(
    ("recipe", "expected"),
    [
        ({"macs": 0.01}, "prune.macs: no pruning reaches 0.010 of the original"),
        ({"ratio": 0.8}, "prune.ratio: 0.8 is above prune.max_ratio 0.75"),
        ({"ratio": 0.01, "scope": "local"}, "ratio 0.01 prunes nothing: rounded to steps of 8 channels"),
        ({"ratio": 0.5, "skip": ("*",)}, "prunes nothing"),
        ({"ratio": 0.5, "skip": ("*",), "scope": "global"}, "prunes nothing"),
        ({"ratios": {"model.99*": 0.5}}, "prune.ratios: 'model.99*' names no layer that can be pruned"),
        ({"criterion": "taylor"}, "prune.criterion: taylor needs gradients, gathered over images"),
    ],
)
def test_a_goal_that_cannot_be_met_is_refused(
    small: nn.Module, recipe: dict[str, Any], expected: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        pruned(small, **recipe)
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)
