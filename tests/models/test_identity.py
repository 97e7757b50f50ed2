"""A network is the same in whatever file it lies, and another as soon as it computes or trains otherwise."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from edgeprune.adapters.ultralytics import detect as adapter
from edgeprune.core.artifact import digest
from edgeprune.models.identity import identity
from edgeprune.prune.activation import swap_activation

Change = Callable[[Any], Any]


def _weight(model: Any) -> None:
    with torch.no_grad():
        model.model[0].conv.weight[0, 0, 0, 0] += 1e-3


CHANGES: dict[str, Change] = {
    "one weight": _weight,
    "one statistic": lambda model: model.model[0].bn.running_mean[0].add_(1e-3),
    "the stride of a convolution": lambda model: setattr(model.model[1].conv, "stride", (1, 1)),
    "the epsilon of a batch norm": lambda model: setattr(model.model[1].bn, "eps", 0.1),
    "a residual": lambda model: setattr(model.model[2].m[0], "add", False),
    "an activation": lambda model: model.set_submodule("model.0.act", nn.ReLU()),
    "an activation that no training has seen": lambda model: setattr(model.model[0].act, "untrained", True),
    "the augmentation it was trained with": lambda model: model.args.update(fliplr=0.125),
    "a class": lambda model: model.names.update({0: "wasp"}),
    "the strides of the head": lambda model: setattr(model.model[-1], "stride", torch.ones(3)),
    "a layer's input": lambda model: setattr(model.model[-1], "f", [15, 18, 20]),
}


@pytest.fixture
def model(checkpoints: dict[str, Path]) -> Any:
    return adapter.load(checkpoints["yolov8n"])


def test_a_network_is_the_same_after_a_run_and_in_another_file(model: Any, tmp_path: Path) -> None:
    adapter.save(model, tmp_path / "one.pt")
    with torch.no_grad():
        model(torch.zeros(1, 3, 96, 96))
    adapter.save(model, tmp_path / "other.pt")
    assert digest(tmp_path / "one.pt") != digest(tmp_path / "other.pt")
    one, other = (adapter.load(tmp_path / name) for name in ("one.pt", "other.pt"))
    assert identity(one) == identity(other) == identity(adapter.load(tmp_path / "one.pt"))


def test_where_its_tensors_lie_in_memory_is_no_part_of_it(model: Any) -> None:
    before = identity(model)
    convolution = model.model[1].conv
    convolution.weight = nn.Parameter(convolution.weight.detach().to(memory_format=torch.channels_last))
    assert not convolution.weight.is_contiguous() and identity(model) == before


@pytest.mark.parametrize("what", CHANGES)
def test_another_network_has_another_identity(what: str, model: Any, tmp_path: Path) -> None:
    before = identity(model)
    CHANGES[what](model)
    assert identity(model) != before


def test_a_swapped_activation_is_another_network(model: Any) -> None:
    assert (
        len({identity(net) for net in (model, *(swap_activation(model, to) for to in ("relu", "relu6")))})
        == 3
    )


def test_a_network_that_holds_itself_has_an_identity() -> None:
    layers = [nn.Conv2d(3, 4, 1) for _ in range(2)]
    for layer in layers:
        told: dict[str, Any] = {"width": 4}
        layer.told = told | {"again": [told]}  # type: ignore[assignment]
        told["root"] = layer.told
        nn.init.zeros_(layer.weight), nn.init.zeros_(layer.bias)
    assert identity(layers[0]) == identity(layers[1])
    layers[0].told["width"] = 5  # type: ignore[index, operator]
    assert identity(layers[0]) != identity(layers[1])
