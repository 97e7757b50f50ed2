"""The passes as a recipe asks for them: each kept only when the measurement says so, the rest told."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from torch import nn

from edgeprune.adapters.ultralytics import detect as adapter
from edgeprune.config.recipe import Activation, PruneRecipe, RewriteKind, load_recipe
from edgeprune.core.errors import ConfigError
from edgeprune.images.dataset import Dataset
from edgeprune.models import Training
from edgeprune.prune.activation import ACTIVATIONS, silu_names
from edgeprune.prune.depth import removable_blocks
from edgeprune.prune.evidence import Evidence
from edgeprune.prune.factorise import REWRITES
from edgeprune.prune.groups import count_macs
from edgeprune.prune.passes import Gauges, apply_passes
from edgeprune.prune.surgery import prune
from edgeprune.records.latency_table import Shape
from edgeprune.records.pruning import PassReport

DEEP = ("model.7", "model.8", "model.1?", "model.2?")  # wide layers, slow to factor
EXAMPLE = torch.zeros(1, 3, 64, 64)


@pytest.fixture(scope="module")
def model(checkpoints: dict[str, Path]) -> nn.Module:
    return adapter.prunable(adapter.load(checkpoints["yolov8n"]))


def macs(net: nn.Module) -> float:
    """Stand for a latency: falls with every layer that goes."""
    return count_macs(net, EXAMPLE)[0] / 1e6 + len(silu_names(net))


def table(shape: Shape, cin: int, cout: int) -> float:
    width = cin if shape.groups == "dense" else 1
    return shape.kernel[0] * shape.kernel[1] * shape.pixels * width * cout / 1e6


def run(net: nn.Module, gauges: Gauges, **recipe: Any) -> tuple[nn.Module, tuple[PassReport, ...]]:
    return apply_passes(net, adapter.unprunable, EXAMPLE, PruneRecipe(**recipe), 8, gauges)


def test_every_name_of_the_recipe_has_its_function() -> None:
    assert {*get_args(Activation)} == {"auto", "keep", *ACTIVATIONS}
    assert get_args(RewriteKind) == tuple(REWRITES)


def test_without_a_pass_the_network_is_handed_on(model: nn.Module) -> None:
    assert run(model, Gauges(lambda net: 0.5)) == (model, ())


def test_all_passes_apply_in_order_and_width_pruning_follows(model: nn.Module) -> None:
    gauges = Gauges(lambda net: 0.5, macs, table)
    result, reports = run(model, gauges, depth=2, rewrite=("spatial", "tucker"), activation="relu6")
    assert [report.name for report in reports] == ["depth", "rewrite", "activation"]
    assert len(reports[0].applied) == 2
    assert set(reports[0].applied) < set(removable_blocks(model))
    assert len(removable_blocks(result)) == len(removable_blocks(model)) - 2
    assert any("spatial of rank" in what for what in reports[1].applied)
    assert silu_names(result) == []
    for report in reports:
        assert report.ms_after is not None
        assert report.ms_before is not None
        assert report.ms_after < report.ms_before
    assert reports[-1].ms_after == macs(result)
    pruned = prune(
        result, adapter.unprunable, EXAMPLE, PruneRecipe(ratio=0.5, criterion="group_norm"), 8, Evidence()
    )
    assert torch.isfinite(pruned.model(torch.rand(1, 3, 64, 64))[0]).all()


def test_what_is_no_faster_is_undone_and_told(model: nn.Module) -> None:
    gauges = Gauges(lambda net: 0.5, lambda net: 10.0, table)
    result, reports = run(model, gauges, depth=1, rewrite=("channel",), activation="hardswish")
    assert result is model
    assert [report.applied for report in reports] == [(), (), ()]
    assert len(reports[0].refused) == len(removable_blocks(model))
    assert all("makes the network no faster" in line for line in reports[1].refused)
    assert reports[2].refused == (
        f"SiLU to hardswish in {len(silu_names(model))} layers: measured, it makes the network no faster",
    )
    assert (reports[2].ms_before, reports[2].ms_after) == (10.0, 10.0)


def test_a_layer_whose_rewriting_costs_too_much_stays(model: nn.Module) -> None:
    def accuracy(net: nn.Module) -> float:
        return 0.2 if isinstance(net.get_submodule("model.3"), nn.Sequential) else 0.5

    result, (report,) = run(model, Gauges(accuracy, macs, table), rewrite=("channel",), skip=DEEP)
    assert report.refused == ("model.3: channel of rank 24 alone costs 0.300 accuracy",)
    assert not isinstance(result.get_submodule("model.3"), nn.Sequential)
    assert isinstance(result.get_submodule("model.5"), nn.Sequential)


def test_the_passes_obey_skip(model: nn.Module) -> None:
    gauges = Gauges(lambda net: 0.5, macs, table)
    _, (report,) = run(model, gauges, depth=1, skip=("model.2", "model.4", "model.6"))
    assert report.applied == ("model.8.m.0",)


def test_an_unmeasured_target_can_only_have_its_activation_swapped(model: nn.Module) -> None:
    here = Gauges(lambda net: 0.5)
    result, (report,) = run(model, here, activation="relu")
    assert silu_names(result) == []
    assert (report.ms_before, report.ms_after, report.score_after) == (None, None, 0.5)
    for recipe, words in (
        ({"depth": 1}, "prune.depth: this target is not measured here"),
        ({"rewrite": ("spatial",)}, "prune.rewrite: this target is not measured here"),
    ):
        with pytest.raises(ConfigError, match=words):
            run(model, here, **recipe)
    with pytest.raises(ConfigError, match=r"prune\.rewrite: needs the target's latency table"):
        run(model, Gauges(lambda net: 0.5, macs), rewrite=("spatial",))
    with pytest.raises(ConfigError, match=r"prune\.depth: 99 blocks are to be dropped, this model has 6"):
        run(model, Gauges(lambda net: 0.5, macs), depth=99)


def test_a_network_after_all_passes_trains_and_keeps_its_shape(
    model: nn.Module, checkpoints: dict[str, Path], tiny: Dataset, tmp_path: Path
) -> None:
    gauges = Gauges(lambda net: 0.5, macs, table)
    result, _ = run(model, gauges, depth=1, rewrite=tuple(REWRITES), activation="relu", skip=DEEP)
    adapter.save(result, tmp_path / "student.pt")
    recipe = load_recipe(finetune__epochs=1, finetune__batch=6, finetune__device="cpu")
    out = tmp_path / "out.pt"
    teacher = checkpoints["yolov8n"]
    adapter.finetune(
        Training(tmp_path / "student.pt", teacher, tiny, 64, recipe, out, lambda share, words: None)
    )
    trained = adapter.load(out)
    assert {name: p.shape for name, p in trained.named_parameters()} == {
        name: p.shape for name, p in result.named_parameters()
    }
    assert silu_names(trained) == silu_names(result)
