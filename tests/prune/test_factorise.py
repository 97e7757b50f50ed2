"""Rewriting: exact at full rank, errors in the known order, and every tool behind it takes the result."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from ultralytics import YOLO
from ultralytics.nn.modules.conv import Conv

from conftest import FAMILIES
from edgeprune.adapters.ultralytics import detect as adapter
from edgeprune.core.errors import ConfigError, ModelError
from edgeprune.core.resources import find_bundled
from edgeprune.prune.factorise import REWRITES, Rewrite, relative_error, rewritable, rewrite
from edgeprune.prune.groups import count_macs, find_groups, remove, trace
from edgeprune.prune.layers import layers_of
from edgeprune.prune.worth import rank_for, rewrites_worth_it
from edgeprune.records.latency_table import Shape

EXAMPLE = torch.zeros(1, 3, 64, 64)
DEEP = ("model.7", "model.8", "model.1?", "model.2?")  # wide layers, slow to factor
FULL = {"spatial": 36, "channel": 16, "tucker": 16, "depthwise": 9 * 12, "grouped": 4 * 16}


@pytest.fixture(scope="module")
def models(checkpoints: dict[str, Path]) -> dict[str, nn.Module]:
    return {family: adapter.prunable(adapter.load(path)) for family, path in checkpoints.items()}


def all_kinds(model: nn.Module) -> dict[str, Rewrite]:
    """Plan a rewriting for every layer that has one, the kinds in turns."""
    plan = {}
    for number, (name, layer) in enumerate(rewritable(model, adapter.unprunable(model)).items()):
        kinds = [*REWRITES][number % 5 :] + [*REWRITES][: number % 5]
        ranks = {kind: rank_for(layer, kind, 8) for kind in kinds}
        kind = next((kind for kind in kinds if ranks[kind]), None)
        if kind:
            plan[name] = Rewrite(kind, ranks[kind] or 0)
    return plan


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("kind", REWRITES)
def test_full_rank_reproduces_the_layer(kind: str, stride: int) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(Conv(12, 16, 3, stride)).eval()
    nn.init.normal_(net[0].bn.weight)  # negative scales among them
    net[0].bn.weight.data[0] = 0
    net[0].bn.running_var.uniform_(0.1, 3)
    images = torch.randn(2, 12, 9, 14)
    twin = rewrite(net, {"0": Rewrite(kind, FULL[kind])})
    assert torch.allclose(net(images), twin(images), atol=1e-4)
    assert relative_error(net[0], Rewrite(kind, FULL[kind])) < 1e-4
    assert not isinstance(net[0], nn.Sequential)
    twin.train()(images).sum().backward()
    assert all(parameter.grad is not None for parameter in twin.parameters())


def test_errors_at_half_the_macs_stand_in_the_known_order() -> None:
    """Spatial SVD loses least, then channel SVD, Tucker-2, and depthwise by far the most."""
    model = adapter.load(find_bundled("calib") / "digits" / "digits_yolov8n_160.pt")
    layers = [layer for layer in rewritable(model, ()).values() if 32 <= layer.conv.in_channels <= 64]
    mean: dict[str, float] = {}
    for kind in ("spatial", "channel", "tucker", "depthwise"):
        ranks = [rank_for(layer, kind, 8) for layer in layers]
        errors = [
            relative_error(layer, Rewrite(kind, r)) for layer, r in zip(layers, ranks, strict=True) if r
        ]
        mean[kind] = sum(errors) / len(errors)
    assert list(mean.values()) == sorted(mean.values()), mean
    assert mean["tucker"] < 0.9 * mean["depthwise"]


@pytest.mark.parametrize("kind", REWRITES)
@pytest.mark.parametrize("stride", [1, 2])
def test_ranks_are_on_the_step_and_halve_the_macs(kind: str, stride: int) -> None:
    net = nn.Sequential(Conv(64, 64, 3, stride)).eval()
    rank = rank_for(net[0], kind, 8)
    assert rank is not None
    assert rank % 8 == 0
    example = torch.zeros(1, 64, 16, 16)
    whole, less = (
        count_macs(each[0] if each is net else each, example)[0]
        for each in (net, rewrite(net, {"0": Rewrite(kind, rank)}))
    )
    assert less < 0.53 * whole  # batch norm and bias are counted too


def test_a_layer_too_narrow_for_the_step_has_no_rank() -> None:
    assert rank_for(Conv(3, 16, 3, 2), "channel", 16) is None
    assert rank_for(Conv(3, 16, 3, 2), "grouped", 8) is None


@pytest.mark.parametrize("family", FAMILIES)
def test_a_rewritten_network_saves_loads_fuses_exports_and_prunes(
    models: dict[str, nn.Module], family: str, tmp_path: Path
) -> None:
    model = models[family]
    plan = all_kinds(model)
    assert len({how.kind for how in plan.values()}) == 5
    twin = rewrite(model, plan)
    images = torch.rand(1, 3, 64, 64)
    adapter.save(twin, tmp_path / "twin.pt")
    again, theirs = adapter.load(tmp_path / "twin.pt"), YOLO(tmp_path / "twin.pt")
    with torch.no_grad():
        assert torch.equal(again(images)[0], theirs.model.float().eval()(images)[0])
        expected, fused = again(images)[0], adapter.exportable(again)(images)
        fused = fused[0] if isinstance(fused, tuple) else fused
        if not adapter.info(again).end2end:
            assert (expected - fused).abs().max() < 1e-3 * expected.abs().max()
    torch.onnx.export(adapter.exportable(again), (images,), str(tmp_path / "twin.onnx"), dynamo=False)
    fixed = adapter.unprunable(again)
    graph = trace(again, images, fixed)
    groups = find_groups(graph, again, fixed)
    assert len(groups) > 30
    for group in groups:
        remove(graph, group, [0])
    assert torch.isfinite(again(images)[0]).all()


def test_what_cannot_be_rewritten_is_refused(models: dict[str, nn.Module]) -> None:
    model = models["yolov8n"]
    names = rewritable(model, adapter.unprunable(model), ("model.0",))
    assert "model.1" in names
    assert "model.0" not in names
    assert not any(name.startswith("model.9") for name in names)  # 1 x 1 only
    with pytest.raises(ModelError, match=r"model\.9\.cv1: not a k x k convolution"):
        rewrite(model, {"model.9.cv1": Rewrite("spatial", 8)})
    with pytest.raises(ModelError, match="rank 9 does not fit grouped with 16 input channels"):
        rewrite(model, {"model.1": Rewrite("grouped", 9)})


def test_only_what_the_table_calls_faster_is_chosen(models: dict[str, nn.Module]) -> None:
    model = models["yolov8n"]
    candidates = rewritable(model, adapter.unprunable(model), DEEP)
    fixed = adapter.unprunable(model)
    layers = layers_of(model, EXAMPLE, find_groups(trace(model, EXAMPLE, fixed), model, fixed))
    kinds = tuple(REWRITES)

    def chosen(layer_ms: Any) -> dict[str, Rewrite]:
        return rewrites_worth_it(candidates, layers, kinds, layer_ms, 8)

    def by_macs(shape: Shape, cin: int, cout: int) -> float:
        width = {"dense": cin, "depthwise": 1}.get(str(shape.groups)) or cin // int(shape.groups)
        return shape.kernel[0] * shape.kernel[1] * shape.pixels * width * cout

    def unknown(shape: Shape, cin: int, cout: int) -> float:
        if shape.kernel != (3, 3) or shape.groups != "dense":
            raise ConfigError("not measured")
        return by_macs(shape, cin, cout)

    assert chosen(lambda shape, cin, cout: 1.0) == {}  # two layers for one
    assert chosen(unknown) == {}
    plan = chosen(by_macs)
    assert len(plan) > 5
    for name, how in plan.items():
        errors = {
            kind: relative_error(candidates[name], Rewrite(kind, rank))
            for kind in kinds
            if (rank := rank_for(candidates[name], kind, 8))
        }
        assert how.kind == min(errors, key=lambda kind: errors[kind])
