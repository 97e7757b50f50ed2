"""Pruning all four families: widths on the step, a fixed head, goals met or refused, and exact surgery."""

from __future__ import annotations

from itertools import cycle, product
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from conftest import FAMILIES
from edgeprune.errors import ConfigError
from edgeprune.models import ultralytics as adapter
from edgeprune.prune.criteria import CRITERIA
from edgeprune.prune.groups import count_macs, find_groups, remove, trace
from edgeprune.prune.surgery import Pruned, prune
from edgeprune.recipe import DEFAULT_RATIO, PruneRecipe

EXAMPLE = torch.zeros(1, 3, 64, 64)
# Every family with both steps and both scopes; the criteria take turns, each with several families.
CELLS = [
    (*cell, criterion)
    for cell, criterion in zip(product(FAMILIES, (8, 16), ("local", "global")), cycle(CRITERIA), strict=False)
]


def pruned(model: nn.Module, step: int = 8, seed: int = 0, **recipe: Any) -> Pruned:
    return prune(model, adapter.unprunable, EXAMPLE, PruneRecipe(**recipe), step, seed)


@pytest.fixture(scope="module")
def models(checkpoints: dict[str, Path]) -> dict[str, nn.Module]:
    return {family: adapter.prunable(adapter.load(path)) for family, path in checkpoints.items()}


@pytest.fixture(scope="module")
def small(models: dict[str, nn.Module]) -> nn.Module:
    return models["yolov8n"]


def convolutions(model: nn.Module) -> dict[str, nn.Conv2d]:
    return {name: module for name, module in model.named_modules() if isinstance(module, nn.Conv2d)}


@pytest.mark.parametrize(("family", "step", "scope", "criterion"), CELLS)
def test_every_changed_width_is_on_the_step_and_the_network_runs(
    models: dict[str, nn.Module], family: str, step: int, scope: str, criterion: str
) -> None:
    model = models[family]
    result = pruned(model, step, ratio=0.5, max_ratio=0.7, scope=scope, criterion=criterion)
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


def test_a_goal_in_macs_is_reached_and_not_by_far(small: nn.Module) -> None:
    report = pruned(small, macs=0.6).report
    assert 0.5 <= report.macs_after / report.macs_before <= 0.6
    assert report.goal == "macs 0.6"
    assert report.macs_before == count_macs(small, EXAMPLE)[0]


def test_a_goal_in_speedup_is_reached_by_what_is_measured(small: nn.Module) -> None:
    measured: list[float] = []

    def share(model: nn.Module) -> float:
        measured.append(count_macs(model, EXAMPLE)[0] / whole)
        return measured[-1]

    whole = count_macs(small, EXAMPLE)[0]
    result = prune(small, adapter.unprunable, EXAMPLE, PruneRecipe(speedup=1.6), 8, 0, latency_share=share)
    assert result.report.macs_after / whole <= 1 / 1.6
    assert result.report.goal == "speedup 1.6"
    assert len(measured) == 5


@pytest.mark.parametrize(
    ("recipe", "expected"),
    [
        ({"macs": 0.01}, "prune.macs: no pruning reaches 0.010 of the original"),
        ({"ratio": 0.8}, "prune.ratio: 0.8 is above prune.max_ratio 0.75"),
        ({"ratio": 0.01, "scope": "local"}, "ratio 0.01 prunes nothing: rounded to steps of 8 channels"),
        ({"ratio": 0.5, "skip": ("*",)}, "prunes nothing"),
        ({"ratio": 0.5, "skip": ("*",), "scope": "global"}, "prunes nothing"),
        ({"speedup": 1.5}, "prune.speedup: this target is not measured here"),
    ],
)
def test_a_goal_that_cannot_be_met_is_refused(
    small: nn.Module, recipe: dict[str, Any], expected: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        pruned(small, **recipe)
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("family", FAMILIES)
def test_surgery_equals_zeroing_what_the_consumers_read(models: dict[str, nn.Module], family: str) -> None:
    """Removing channels of a group changes nothing that zeroed input columns of their consumers did not."""
    model = adapter.prunable(models[family]).double()
    images = torch.rand(1, 3, 64, 64, dtype=torch.float64)
    fixed = adapter.unprunable(model)
    graph = trace(model, images, fixed)
    groups = find_groups(graph, model, fixed)
    original = model(images)[0].detach()
    assert len(groups) > 30
    for group in groups[:: 1 if family in {"yolov8n", "yolo11n"} else 4]:
        channels = list(range(1, group.width, 4))
        doomed = graph.get_pruning_group(
            group.root, graph.get_pruner_of_module(group.root).prune_out_channels, channels
        )
        with torch.no_grad():
            for dep, columns in doomed:
                if isinstance(dep.target.module, nn.Conv2d) and dep.handler.__name__ == "prune_in_channels":
                    dep.target.module.weight[:, columns] = 0
            zeroed = model(images)[0]
            remove(graph, group, channels)
            cut = model(images)[0]
        assert group.root.out_channels == group.width - len(channels)
        assert ((zeroed - cut).abs().max() / zeroed.abs().max()) <= 1e-6, group.name
    assert not torch.allclose(original, cut)
