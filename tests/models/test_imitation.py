"""A loss without labels is 0 where a network does as its teacher does, and a recovery comes nearer to it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from conftest import DIGITS
from edgeprune.adapters.ultralytics import classify
from edgeprune.adapters.unlabelled import Unlabelled
from edgeprune.config.recipe import load_recipe
from edgeprune.core.errors import ConfigError
from edgeprune.images.dataset import Dataset
from edgeprune.images.postprocess import classifier, detector, values
from edgeprune.models import Training
from edgeprune.models.imitation import Borders, attention, feature_loss, imitate, output_loss
from edgeprune.models.predictor import predictor
from edgeprune.prune.evidence import Evidence
from edgeprune.prune.surgery import prune
from outside_model import ADAPTER, network

HEADS = {
    "logits": (classifier(DIGITS, activated=False), torch.randn(4, 3)),
    "probabilities": (classifier(DIGITS), torch.randn(4, 3).softmax(1)),
    "anchors": (
        detector(DIGITS, end2end=False),
        torch.cat([9 * torch.rand(2, 4, 20), torch.rand(2, 3, 20)], 1),
    ),
    "values": (values("depth"), torch.randn(2, 30, 4)),
}


@pytest.mark.parametrize("kind", HEADS)
def test_outputs_cost_nothing_where_they_are_the_teachers(kind: str) -> None:
    post, wanted = HEADS[kind]
    got = (0.9 * wanted.clone()).requires_grad_(True)
    far, near = output_loss([got], [wanted], post), output_loss([wanted], [wanted], post)
    assert abs(near.item()) < 1e-4 < far.item()
    far.backward()
    assert got.grad is not None and got.grad.abs().sum() > 0


def test_no_scale_of_an_output_outweighs_another() -> None:
    wanted = torch.randn(2, 6, 30)
    noisy = wanted + 0.1 * torch.randn(2, 6, 30)
    small = output_loss([noisy], [wanted], values("depth"))
    large = output_loss([1e4 * noisy], [1e4 * wanted], values("depth"))
    assert small.item() == pytest.approx(large.item(), rel=1e-3)


def test_features_of_other_widths_are_compared_by_where_they_are_strong() -> None:
    wanted = torch.rand(2, 8, 6, 6)
    assert attention(wanted[:, :5] * 3, wanted[:, :5]).item() == pytest.approx(0, abs=1e-6)
    assert feature_loss({"a": wanted[:, :5]}, {"a": wanted}).item() > 0
    assert feature_loss({}, {}).item() == 0


def test_a_cut_network_comes_nearer_to_its_original(digits: Dataset, tmp_path: Path) -> None:
    torch.manual_seed(0)
    original, student = tmp_path / "original.pt", tmp_path / "student.pt"
    adapter = Unlabelled(ADAPTER, original)
    model = network(list(DIGITS), (16, 16))
    with torch.no_grad():
        model[-1].weight.mul_(20)  # type: ignore[union-attr, operator]
    adapter.save(model, original)
    tuning = (
        "prune.ratio=0.4",
        "prune.criterion=l1",
        "finetune.epochs=20",
        "finetune.batch=8",
        "finetune.lr0=0.005",
    )
    recipe, size = load_recipe(None, tuning), (24, 32)
    spec, post = adapter.preprocess(size), adapter.info(model).postprocess
    cut = prune(model, adapter.unprunable, torch.zeros(spec.shape), recipe.prune, 2, Evidence(0, (0.7, 0.3)))
    adapter.save(cut.model, student)
    pictures = adapter.dataset(digits.source, adapter.info(model))

    def near(path: Path) -> float:
        predict = predictor(adapter.exportable(adapter.load(path)))
        return adapter.evaluate(predict, pictures, "train", spec, post).others["output agreement"]

    out = tmp_path / "out.pt"
    told: list[float] = []
    training = Training(student, original, pictures, size, recipe, out, lambda share, _: told.append(share))
    imitate(adapter, training)
    assert near(original) == pytest.approx(1, abs=1e-5)
    assert near(out) > near(student) + 0.02
    assert told[-1] == 1.0
    with pytest.raises(ConfigError, match=r"finetune\.distill: without labels only the original can teach"):
        imitate(adapter, replace(training, teacher=None))


def test_borders_are_the_inputs_of_layers_that_keep_their_widths(classifiers: dict[str, Path]) -> None:
    model = classify.load(classifiers["yolov8n-cls"])
    borders = Borders(model, model, classify.unprunable(model))
    outputs, features = borders.run(model, torch.zeros(2, 3, 64, 64))
    assert list(features) == ["model.9.linear"] and outputs[0].shape == (2, 3)
