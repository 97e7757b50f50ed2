"""The training loss of RetinaFace: which anchor answers for a face, and that a network learns by it."""

from __future__ import annotations

import torch

from edgeprune.adapters.retinaface.loss import Faces, match, multibox_loss
from edgeprune.adapters.retinaface.network import RetinaFace
from edgeprune.adapters.retinaface.priors import encode, encode_landmarks, prior_boxes

SHAPE = (64, 64)
FACE = torch.tensor([[10.0, 12, 42, 44]])
TINY = torch.tensor([[5.0, 5, 8, 8]])


def test_every_face_has_an_anchor_also_one_smaller_than_all() -> None:
    owner = match(torch.cat([FACE, TINY]), prior_boxes(SHAPE))
    assert set(owner.tolist()) == {-1, 0, 1}
    assert (owner == 1).sum() == 1
    assert (match(torch.zeros(0, 4), prior_boxes(SHAPE)) == -1).all()


def test_right_answers_cost_next_to_nothing_and_a_missed_face_costs() -> None:
    priors = prior_boxes(SHAPE)
    owner = match(FACE, priors)
    held = owner >= 0
    points = torch.tensor([[18.0, 20, 34, 20, 26, 28, 20, 36, 32, 36]])
    offsets, landmarks = torch.zeros(1, len(priors), 4), torch.zeros(1, len(priors), 10)
    offsets[0, held] = encode(FACE[owner[held]], priors[held])
    landmarks[0, held] = encode_landmarks(points[owner[held]], priors[held])
    logits = torch.where(held[:, None], torch.tensor([-9.0, 9]), torch.tensor([9.0, -9]))[None]
    faces = [Faces(FACE, points)]
    right = multibox_loss((offsets, logits, landmarks), faces, priors)
    assert float(right) < 1e-3
    assert float(multibox_loss((offsets, -logits, landmarks), faces, priors)) > 5
    assert float(multibox_loss((offsets + 1, logits, landmarks), faces, priors)) > 3
    assert float(multibox_loss((offsets, logits, landmarks + 1), faces, priors)) > 3
    unknown = [Faces(FACE, torch.full((1, 10), torch.nan))]
    assert float(multibox_loss((offsets, logits, landmarks + 1), unknown, priors)) < 1e-3


def test_a_network_learns_by_it() -> None:
    torch.manual_seed(0)
    network = RetinaFace().train()
    images, faces = torch.randn(2, 3, *SHAPE) * 50, [Faces(FACE), Faces(torch.zeros(0, 4))]
    optimiser = torch.optim.Adam(network.parameters(), lr=3e-3)
    losses = []
    for _ in range(12):
        loss = multibox_loss(network(images), faces, prior_boxes(SHAPE))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0] / 2
