"""A table that holds the factors lets rewriting be chosen, by the factors' own times."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from edgeprune.adapters.ultralytics import detect as adapter
from edgeprune.prune.factorise import GROUPS, REWRITES, Rewrite, rewritable, rewrite
from edgeprune.prune.groups import find_groups, trace
from edgeprune.prune.layers import layers_of
from edgeprune.prune.worth import factor_shapes, rank_for, rewrites_worth_it, shapes_to_compare
from edgeprune.records.latency_table import LatencyTable, Shape
from made_tables import made_table

KINDS = tuple(REWRITES)
SHALLOW = ("model.7", "model.8", "model.1?", "model.2?")  # wide layers are slow to factor


@pytest.fixture(scope="module")
def model(checkpoints: dict[str, Path]) -> nn.Module:
    return adapter.prunable(adapter.load(checkpoints["yolov8n"]))


@pytest.fixture(scope="module")
def table(model: nn.Module) -> LatencyTable:
    return made_table(adapter, model, 64, rewrite=KINDS)


def chosen(model: nn.Module, table: LatencyTable, kinds: tuple[str, ...] = KINDS) -> dict[str, Rewrite]:
    candidates = rewritable(model, adapter.unprunable(model), SHALLOW)
    return rewrites_worth_it(candidates, table.layers, kinds, table.factor_ms, table.step)


def test_without_their_factors_nothing_can_be_chosen_and_with_them_it_is(
    model: nn.Module, table: LatencyTable
) -> None:
    assert chosen(model, made_table(adapter, model, 64)) == {}
    for kind in KINDS:
        plan = chosen(model, table, (kind,))
        assert plan and {how.kind for how in plan.values()} == {kind}


def test_every_factor_is_in_the_table_at_its_own_widths(model: nn.Module, table: LatencyTable) -> None:
    axes = {grid.shape: (grid.cin, grid.cout) for grid in table.factors}
    candidates = rewritable(model, adapter.unprunable(model))
    layers = {layer.name.removesuffix(".conv"): layer for layer in table.layers}
    seen = 0
    for name, module in candidates.items():
        for kind in KINDS:
            if name in layers and (rank := rank_for(module, kind, table.step)) is not None:
                for shape, cin, cout in factor_shapes(layers[name], Rewrite(kind, rank)):
                    cins, couts = axes[shape]
                    assert cout in couts and (cin in cins or shape.groups == "depthwise")
                    seen += 1
    assert seen > 100


def test_the_slower_factor_decides(model: nn.Module, table: LatencyTable) -> None:
    """A target on which columns crawl: the same table, but no spatial rewriting is worth it."""
    slow = tuple(
        grid.model_copy(update={"ms": tuple(tuple(100 * ms for ms in row) for row in grid.ms)})
        if grid.shape.kernel == (3, 1)
        else grid
        for grid in table.factors
    )
    assert chosen(model, table, ("spatial",)) != {}
    assert chosen(model, table.model_copy(update={"factors": slow}), ("spatial",)) == {}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["model.1", "model.2.m.0.cv1"])  # stride 2, stride 1
def test_the_factors_of_the_table_are_those_that_the_rewritten_network_runs(
    model: nn.Module, table: LatencyTable, kind: str, name: str
) -> None:
    layer = next(layer for layer in table.layers if layer.name == f"{name}.conv")
    rank = GROUPS * 8 if kind == "grouped" else layer.cin if kind == "depthwise" else 8
    how = Rewrite(kind, rank)
    twin = rewrite(model, {name: how})
    sizes: list[tuple[tuple[int, ...], tuple[int, ...]]] = []
    convs = [each for each in twin.get_submodule(name).modules() if isinstance(each, nn.Conv2d)]
    for conv in convs:
        conv.register_forward_hook(
            lambda _, inputs, out: sizes.append((tuple(inputs[0].shape[1:]), tuple(out.shape[1:])))
        )
    with torch.no_grad():
        twin(torch.zeros(1, 3, 64, 64))
    expected = factor_shapes(layer, how)
    assert sizes == [
        ((cin, shape.height, shape.width), (cout, *shape.out_size)) for shape, cin, cout in expected
    ]
    groups = [
        {"dense": 1, "depthwise": cin}.get(str(shape.groups), shape.groups) for shape, cin, _ in expected
    ]
    assert [(conv.kernel_size, conv.stride, conv.groups) for conv in convs] == [
        (shape.kernel, shape.stride, number) for (shape, *_), number in zip(expected, groups, strict=True)
    ]


def test_a_rewritten_layer_is_described_with_the_stride_of_each_axis(model: nn.Module) -> None:
    """What is pruned to a latency after rewriting is predicted at the sizes that it really runs at."""
    twin = rewrite(model, {"model.1": Rewrite("spatial", 16)})
    fixed, example = adapter.unprunable(twin), torch.zeros(1, 3, 64, 64)
    layers = {
        each.name: each
        for each in layers_of(twin, example, find_groups(trace(twin, example, fixed), twin, fixed))
    }
    first, last = layers["model.1.0"].shape, layers["model.1.1.conv"].shape
    assert (first.kernel, first.stride, first.out_size) == ((3, 1), (2, 1), (16, 32))
    assert (last.kernel, last.stride, last.out_size) == ((1, 3), (1, 2), (16, 16))


def test_a_layer_that_has_the_shape_of_a_factor_is_measured_with_it(
    model: nn.Module, table: LatencyTable
) -> None:
    bare = [
        layer.model_copy(update={"shape": layer.shape.model_copy(update={"activation": "Identity"})})
        for layer in table.layers
    ]
    candidates = rewritable(model, adapter.unprunable(model))
    found = shapes_to_compare(candidates, bare, ("channel",), table.step)
    wholes = {(layer.shape, layer.cin, layer.cout) for layer in bare if layer.name == "model.1.conv"}
    assert wholes < found
    assert not wholes & shapes_to_compare(candidates, bare, ("depthwise",), table.step)
    assert all(isinstance(shape, Shape) for shape, *_ in found)
