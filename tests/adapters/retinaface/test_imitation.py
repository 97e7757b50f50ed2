"""What a RetinaFace learns by without labels: 0 where it does as its teacher; a recovery comes nearer."""

from __future__ import annotations

import pytest
import torch

from edgeprune.adapters.retinaface.adapter import ADAPTER
from edgeprune.adapters.retinaface.imitation import imitation_loss
from edgeprune.models.imitation import Imitable
from made_faces import faces_network


def outputs() -> list[torch.Tensor]:
    """Return offsets, logits and landmark offsets of 30 anchors of two images; a face in some."""
    generator = torch.Generator().manual_seed(0)
    return [3 * torch.randn(2, 30, count, generator=generator) for count in (4, 2, 10)]


def test_it_is_nothing_where_both_are_the_same_and_grows_with_each_difference() -> None:
    wanted = outputs()
    assert float(imitation_loss(wanted, wanted)) == pytest.approx(0, abs=1e-5)
    for index in range(3):
        got = [each.clone() for each in wanted]
        got[index] += torch.randn_like(got[index])
        assert float(imitation_loss(got, wanted)) > 0.1


def test_boxes_count_only_where_the_teacher_sees_a_face() -> None:
    wanted = outputs()
    wanted[1][..., 1] = wanted[1][..., 0] - 12  # no face at all
    got = [wanted[0] + 5, wanted[1], wanted[2] + 5]
    assert float(imitation_loss(got, wanted)) < 0.05


def test_a_student_comes_nearer_to_its_teacher() -> None:
    teacher, student = faces_network(), faces_network()
    with torch.no_grad():
        for head in student.BboxHead:
            head.conv1x1.bias += 1.0
        images = torch.rand(2, 3, 64, 64) * 255
        wanted = teacher(images)
    biases = [head.conv1x1.bias for head in student.BboxHead]
    optimiser = torch.optim.Adam(biases, lr=0.1)
    losses = []
    for _ in range(15):
        loss = imitation_loss(student(images), wanted)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0] / 4


def test_a_recovery_without_labels_learns_by_it() -> None:
    assert isinstance(ADAPTER, Imitable)
