"""Projectors of a distillation: a student begins with what the least squares say, not with random weights."""

from __future__ import annotations

import copy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from ultralytics.nn.distill_model import DistillationModel

from edgeprune.adapters.ultralytics import detect as adapter
from edgeprune.adapters.ultralytics.projectors import fit_projectors

SIDE = 64


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    return torch.rand(4, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))


def taught(network: Any, student: Any) -> DistillationModel:
    torch.manual_seed(0)
    student.args = SimpleNamespace(imgsz=SIDE, dis=6.0)
    return DistillationModel(copy.deepcopy(network), student)


def distances(model: DistillationModel, images: torch.Tensor) -> list[float]:
    """Return of each level the squared error of the projection, over the variance of what is wanted."""
    model.eval()
    with torch.no_grad():
        model.teacher_model(images)
        model.student_model(images)
        pairs = [
            (projector(model._student_feats[level]), model._teacher_feats[level])
            for level, projector in enumerate(model.projector)
        ]
    return [float((projected - wanted).square().mean() / wanted.var()) for projected, wanted in pairs]


def test_a_student_that_is_the_teacher_is_where_the_loss_wants_it(
    checkpoints: dict[str, Path], images: torch.Tensor
) -> None:
    network = adapter.load(checkpoints["yolov8n"])
    model = taught(network, copy.deepcopy(network))
    assert max(distances(model, images)) > 0.5
    fit_projectors(model, [images[:2], images[2:]])
    assert max(distances(model, images)) < 1e-2


def test_a_student_that_lost_channels_is_nearer_than_by_chance_and_a_dead_channel_harms_nothing(
    checkpoints: dict[str, Path], images: torch.Tensor
) -> None:
    network = adapter.load(checkpoints["yolov8n"])
    student = copy.deepcopy(network)
    for level in levels_of(network):
        norm = student.model[level].cv2.bn
        norm.weight.data[: len(norm.weight) // 4] = 0  # their outputs are the same everywhere
        norm.bias.data[: len(norm.weight) // 4] = 0
    model = taught(network, student)
    before = distances(model, images)
    model.train()
    fit_projectors(model, [images])
    assert model.training and not model.teacher_model.training
    after = distances(model, images)
    assert all(later < 0.6 * earlier for earlier, later in zip(before, after, strict=True))
    assert all(torch.isfinite(tensor).all() for tensor in model.projector.parameters())


def levels_of(network: Any) -> list[int]:
    """Return the indices of the blocks that the head reads."""
    return DistillationModel.get_distill_layers(network)[:-1]
