"""Labelled images and the loss that criteria take gradients of."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from conftest import FAMILIES
from edgeprune.adapters.ultralytics import detect as adapter
from edgeprune.images.dataset import Dataset
from edgeprune.images.preprocess import Preprocess, load_input

SPEC = Preprocess(96)


def test_images_come_with_the_boxes_that_lie_on_them(tiny: Dataset) -> None:
    batches = list(adapter.labelled_images(tiny, SPEC, 100, seed=0))
    assert len(batches) == len(tiny.images["train"])
    for batch, path in zip(batches, tiny.images["train"], strict=True):
        assert np.array_equal(batch["img"].numpy(), load_input(path, SPEC)[0])
        rows = tiny.boxes(path)
        assert batch["cls"].shape == (len(rows), 1) and batch["bboxes"].shape == (len(rows), 4)
        for label, (x, y, width, height) in zip(rows[:, 0], batch["bboxes"].tolist(), strict=True):
            assert min(x - width / 2, y - height / 2) > 0 and max(x + width / 2, y + height / 2) < 1
            pixel = batch["img"][0, :, int(y * SPEC.imgsz), int(x * SPEC.imgsz)]
            # A class of this data set is a colour: BGR in the file, RGB in the tensor.
            assert pixel.argmax() == 2 - int(label) and pixel.max() > 0.9


def test_the_draw_depends_on_count_and_seed(tiny: Dataset) -> None:
    def drawn(count: int, seed: int) -> list[float]:
        return [float(batch["img"].sum()) for batch in adapter.labelled_images(tiny, SPEC, count, seed)]

    assert len(drawn(4, 0)) == 4
    assert drawn(4, 0) == drawn(4, 0) != drawn(4, 1)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_loss_is_that_of_ultralytics_and_falls_along_its_gradient(
    checkpoints: dict[str, Path], tiny: Dataset, family: str
) -> None:
    model = adapter.prunable(adapter.load(checkpoints[family]))
    batch = next(adapter.labelled_images(tiny, Preprocess(64), 1, seed=0))
    before = adapter.loss(model, batch)
    named = dict(model.named_parameters())
    gradients = torch.autograd.grad(before, list(named.values()), allow_unused=True)
    slope = sum(float(gradient.square().sum()) for gradient in gradients if gradient is not None)
    assert slope > 0
    with torch.no_grad():
        for parameter, gradient in zip(named.values(), gradients, strict=True):
            if gradient is not None:
                parameter.sub_(gradient, alpha=1e-3 / slope)
    assert adapter.loss(model, batch) < before


def test_an_image_without_boxes_has_a_loss(checkpoints: dict[str, Path]) -> None:
    model = adapter.load(checkpoints["yolov8n"])
    batch = {
        "img": torch.rand(1, 3, 64, 64),
        "cls": torch.zeros(0, 1),
        "bboxes": torch.zeros(0, 4),
        "batch_idx": torch.zeros(0),
    }
    assert torch.isfinite(adapter.loss(model, batch))
