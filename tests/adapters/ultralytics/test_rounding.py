"""Rounding in training: the grid of int8 in the forward pass, gradients through it, nothing left behind."""

from __future__ import annotations

from pathlib import Path

import hypothesis.extra.numpy as arrays
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from edgeprune.adapters.ultralytics import detect as adapter
from edgeprune.adapters.ultralytics.aware import AwareTrainer
from edgeprune.adapters.ultralytics.rounding import (
    MovingRange,
    Rounded,
    round_layers,
    rounded_weight,
    unround_layers,
)
from edgeprune.config.recipe import load_recipe
from edgeprune.images.dataset import Dataset
from edgeprune.models import Training

weights = arrays.arrays(np.float32, (3, 4), elements=st.floats(-10, 10, width=32)).map(torch.from_numpy)


@given(weights, st.sampled_from([0.25, 0.5, 2.0, 8.0]))
def test_a_weight_has_255_levels_a_channel_and_follows_what_a_channel_is_multiplied_by(
    weight: torch.Tensor, factor: float
) -> None:
    rounded = rounded_weight(weight)
    step = weight.abs().amax(1, keepdim=True).clamp(min=1e-12) / 127
    assert (rounded - weight).abs().le(step * 0.501).all()
    levels = rounded / step
    assert torch.allclose(levels, levels.round(), atol=1e-2) and levels.abs().max() <= 127.01
    assert torch.allclose(rounded_weight(weight * factor), rounded * factor, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("symmetric", "least"), [(True, -0.01), (False, -3.99)])
def test_a_range_follows_its_batches_in_training_and_stays_in_evaluation(
    symmetric: bool, least: float
) -> None:
    rounds = MovingRange(symmetric)
    values = torch.linspace(-1, 4, 1001)
    assert torch.equal(rounds.eval()(values), values), "no batch has told a range yet"
    found = rounds.train()(values)
    assert len(found.unique()) <= (256 if not symmetric else 161)
    assert (found - values).abs().max() <= (4 / 127 if symmetric else 5 / 255) * 0.51
    rounds(values * 2)
    assert 4 < rounds.high < 4.5 and -1.1 < rounds.low < -1
    before = rounds.high.item()
    rounds.eval()(values * 100)
    assert rounds.high.item() == before


def test_gradients_pass_the_rounding_inside_the_range_and_reach_weight_and_input() -> None:
    layer = Rounded(nn.Conv2d(3, 4, 3), symmetric=False).train()
    layer(torch.rand(2, 3, 8, 8))
    images = torch.rand(2, 3, 8, 8, requires_grad=True)
    layer(images).square().sum().backward()
    assert layer.layer.weight.grad is not None and layer.layer.weight.grad.abs().sum() > 0
    assert images.grad is not None and images.grad.abs().sum() > 0


def test_an_autocast_training_rounds_in_float32() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3))
    round_layers(net, symmetric=False)
    with torch.autocast("cpu", torch.bfloat16):
        output = net.train()(torch.rand(1, 3, 8, 8))
    assert output.dtype == torch.bfloat16 and output.isfinite().all()


def test_what_rounds_is_what_has_a_trained_weight_and_comes_back_as_it_was() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Sequential(nn.Flatten(), nn.Linear(4, 2)))
    model[0].weight.requires_grad_(False)
    names, images = list(model.state_dict()), torch.rand(5, 3, 1, 1)
    before = model.eval()(images)
    assert round_layers(model, symmetric=True) == 1
    assert isinstance(model[0], nn.Conv2d) and isinstance(model[2][1], Rounded)
    assert not torch.equal(model.train()(images), before)
    model.load_state_dict(model.state_dict())
    unround_layers(model)
    assert [name for name in model.state_dict() if "num_batches" not in name] == [
        name for name in names if "num_batches" not in name
    ]
    assert isinstance(model[2][1], nn.Linear)


@pytest.mark.parametrize("taught", [True, False])
def test_an_aware_training_rounds_where_it_trains_and_validates_and_leaves_plain_floats(
    checkpoints: dict[str, Path],
    tiny: Dataset,
    tmp_path: Path,
    taught: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rounding: dict[str, int] = {}
    validate = AwareTrainer.validate

    def validated(trainer: AwareTrainer) -> object:
        net = trainer.ema.ema
        rounding["layers"] = sum(isinstance(module, Rounded) for module in net.modules())
        rounding["told"] = sum(
            isinstance(module, MovingRange) and bool(module.high > module.low) for module in net.modules()
        )
        return validate(trainer)

    monkeypatch.setattr(AwareTrainer, "validate", validated)
    checkpoint, out = checkpoints["yolov8n"], tmp_path / "aware.pt"
    recipe = load_recipe(
        None,
        ("quantize.aware_epochs=1", "quantize.scheme=ort-s8s8"),
        finetune__batch=6,
        finetune__device="cpu",
    )
    teacher = checkpoint if taught else None
    adapter.train_aware(Training(checkpoint, teacher, tiny, 64, recipe, out, lambda share, text: None))
    old, new = adapter.load(checkpoint), adapter.load(out)
    assert rounding == {"layers": 63, "told": 63}, "every convolution but DFL's"
    assert [(name, type(module)) for name, module in new.named_modules()] == [
        (name, type(module)) for name, module in old.named_modules()
    ]
    assert list(new.state_dict()) == list(old.state_dict())
    assert any(not torch.equal(a, b) for a, b in zip(new.parameters(), old.parameters(), strict=True)), (
        "it has learned"
    )
