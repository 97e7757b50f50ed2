"""Activation swap: in all four families, through a checkpoint, into ONNX, and fewer nodes in int8."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import onnx
import pytest
import torch
from torch import nn
from ultralytics import YOLO
from ultralytics.nn.modules.conv import Conv
from ultralytics.nn.tasks import DetectionModel

from conftest import FAMILIES
from edgeprune.adapters.ultralytics import detect as adapter
from edgeprune.config.recipe import ExportRecipe
from edgeprune.export.onnx import export
from edgeprune.images.dataset import Dataset
from edgeprune.images.preprocess import Preprocess
from edgeprune.models.easing import Eased, ease, set_share, settle
from edgeprune.prune.activation import ACTIVATIONS, silu_names, swap_activation
from edgeprune.quantize import CalibrationSet, quantize

SPEC = Preprocess(64)
OPERATORS = {"relu": "Relu", "relu6": "Clip", "hardswish": "HardSwish"}


@pytest.mark.parametrize("kind", ACTIVATIONS)
@pytest.mark.parametrize("family", FAMILIES)
def test_a_swapped_network_is_what_its_yaml_and_checkpoint_say(
    checkpoints: dict[str, Path], family: str, kind: str, tmp_path: Path
) -> None:
    model = adapter.load(checkpoints[family])
    before = silu_names(model)
    swapped = swap_activation(model, kind)
    assert len(before) > 40
    assert silu_names(swapped) == []
    assert silu_names(model) == before
    assert isinstance(Conv.default_act, nn.SiLU)
    wanted = ACTIVATIONS[kind]
    assert all(isinstance(swapped.get_submodule(name), wanted) for name in before)
    adapter.save(swapped, tmp_path / "swapped.pt")
    again = adapter.load(tmp_path / "swapped.pt")
    assert sum(isinstance(module, wanted) for module in again.modules()) == len(before)
    assert again.state_dict().keys() == model.state_dict().keys()
    assert silu_names(YOLO(tmp_path / "swapped.pt").model) == []
    rebuilt = DetectionModel(again.yaml, nc=3, verbose=False)
    assert silu_names(rebuilt) == []
    assert isinstance(Conv.default_act, nn.SiLU)


def test_skipped_layers_keep_their_activation(checkpoints: dict[str, Path]) -> None:
    model = adapter.load(checkpoints["yolov8n"])
    left = silu_names(swap_activation(model, "relu", ("model.0", "model.2.*", "model.4.m.?.cv1")))
    expected = ("model.0.", "model.2.", "model.4.m.0.cv1.", "model.4.m.1.cv1.")
    assert left == [name for name in silu_names(model) if name.startswith(expected)]
    assert len(left) == 7


def operators(model: nn.Module, data: Dataset, folder: Path) -> tuple[Counter[str], Counter[str]]:
    """Count the operators of a network's float and of its int8 graph."""
    artifact, _ = export(
        adapter.exportable(model),
        adapter.info(model),
        SPEC,
        data.images["val"][:1],
        ExportRecipe(),
        "original",
        folder / "float.onnx",
    )
    calibration = CalibrationSet(data.sample("train", 1, seed=0), SPEC)
    int8 = quantize(artifact, "ort-u8s8", calibration, adapter, folder)
    plain, quantized = (
        Counter(node.op_type for node in onnx.load(each.path).graph.node) for each in (artifact, int8)
    )
    return plain, quantized


@pytest.fixture(scope="module")
def with_silu(
    checkpoints: dict[str, Path], tiny: Dataset, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Counter[str], Counter[str]]:
    return operators(adapter.load(checkpoints["yolov8n"]), tiny, tmp_path_factory.mktemp("silu"))


@pytest.mark.parametrize("kind", ACTIVATIONS)
def test_onnx_has_the_new_operator_and_int8_has_fewer_nodes(
    checkpoints: dict[str, Path],
    with_silu: tuple[Counter[str], Counter[str]],
    tiny: Dataset,
    tmp_path: Path,
    kind: str,
) -> None:
    model = adapter.load(checkpoints["yolov8n"])
    places = len(silu_names(model))
    plain, int8 = operators(swap_activation(model, kind), tiny, tmp_path)
    assert plain[OPERATORS[kind]] == places
    assert plain["Sigmoid"] == 1  # the head's own
    assert with_silu[0]["Sigmoid"] == places + 1
    if kind == "hardswish":  # two operators, as SiLU
        assert int8.total() == with_silu[1].total()
    else:
        assert int8.total() < with_silu[1].total()


def test_a_shared_activation_is_replaced_at_each_of_its_places() -> None:
    shared = nn.Sequential(Conv(3, 4), nn.Sequential(Conv(4, 4), Conv(4, 4, act=False)))
    assert shared[0].act is shared[1][0].act
    swapped = swap_activation(shared, "relu6")
    assert isinstance(swapped[0].act, nn.ReLU6)
    assert isinstance(swapped[1][0].act, nn.ReLU6)
    assert isinstance(swapped[1][1].act, nn.Identity)
    assert torch.isfinite(swapped(torch.rand(1, 3, 8, 8))).all()


def test_a_swapped_network_starts_as_the_one_before_and_ends_as_the_swapped_one(
    checkpoints: dict[str, Path],
) -> None:
    model = adapter.load(checkpoints["yolov8n"])
    swapped = swap_activation(model, "relu")
    eased = swap_activation(model, "relu")
    assert ease(eased)
    image = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        silu, relu = model(image)[0], swapped(image)[0]
        assert torch.equal(eased(image)[0], silu)
        set_share(eased, 0.5)
        between = eased(image)[0]
        assert not torch.equal(between, silu)
        assert not torch.equal(between, relu)
        set_share(eased, 1.0)
        assert torch.equal(eased(image)[0], relu)
        settle(eased, trained=False)
        assert torch.equal(eased(image)[0], relu)
        assert ease(eased)  # no training has seen it
        assert torch.equal(eased(image)[0], silu)
    settle(eased)
    assert not any(isinstance(module, Eased) for module in eased.modules())
    assert not ease(eased)
    assert not ease(model)
