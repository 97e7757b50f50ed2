"""The face recogniser of the examples, on handwritten digits: each digit is a person with some pictures."""

from __future__ import annotations

import math
from pathlib import Path
from typing import cast

import cv2
import numpy as np
import pytest
import torch
from examples.faces.recogniser import (
    Adapter,
    CurricularFace,
    Recogniser,
    people_of,
    rates,
    read_face,
    read_people,
    roc,
    train,
    verify,
)
from sklearn.datasets import load_digits
from torch import nn

from edgeprune.config.recipe import load_recipe
from edgeprune.models.following import mark_followed
from edgeprune.models.predictor import predictor
from edgeprune.prune.depth import drop_blocks, removable_blocks
from edgeprune.prune.evidence import Evidence, gather
from edgeprune.prune.surgery import prune

SMALL = {"side": 32, "share": 0.25, "length": 32}


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of six digits, ten pictures each to train on and six others."""
    root = tmp_path_factory.mktemp("people")
    digits = load_digits()
    for digit in range(6):
        drawn = digits.images[digits.target == digit][:16]
        for index, picture in enumerate(drawn):
            folder = root / ("train" if index < 10 else "val") / f"digit{digit}"
            folder.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(folder / f"{index}.png"), cv2.resize((picture * 15).astype(np.uint8), (32, 32)))
    return root


@pytest.fixture(scope="module")
def trained(people: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a checkpoint that was trained for a moment."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("recogniser") / "recogniser.pt"
    assert 0 <= train(people, path, 10, **SMALL) <= 1
    return path


def test_the_margin_is_that_of_the_paper() -> None:
    loss = CurricularFace(4, 3, scale=1.0, margin=0.5)
    with torch.no_grad():
        loss.weight.copy_(torch.eye(3, 4))
        loss.ease.fill_(0.2)
    angle = 1.0  # to its own person; the second one is nearer than the margin allows, the third one is not
    embedding = torch.tensor([[math.cos(angle), 0.6, 0.0, 0.0]])
    embedding[0, 3] = math.sqrt(1 - float(embedding.square().sum()))
    own, hard, easy = math.cos(angle + 0.5), 0.6 * (0.2 + 0.6), 0.0
    expected = -own + math.log(sum(map(math.exp, (own, hard, easy))))
    found = float(loss.eval()(embedding, torch.tensor([0])).detach())
    assert found == pytest.approx(expected, rel=1e-5)


def test_true_accepts_are_those_at_few_false_ones() -> None:
    same = np.array([True] * 4 + [False] * 100)
    cosines = np.array([0.9, 0.8, 0.6, 0.1, 0.7, *np.linspace(-0.9, 0.5, 99)])
    assert rates(same, cosines, 0.0) == (0.5, pytest.approx(102 / 104))
    assert rates(same, cosines, 0.01)[0] == 0.75
    false, true, _ = roc(same, cosines)
    assert (false[0], true[0], false[-1], true[-1]) == (0, 0, 1, 1)
    assert (np.diff(false) >= 0).all() and (np.diff(true) >= 0).all()


def test_as_many_pairs_of_two_people_as_of_one_are_judged() -> None:
    embeddings = np.eye(3)[[0, 0, 0, 1, 1, 2]]
    same, cosines = verify(embeddings, ["a", "a", "a", "b", "b", "c"])
    assert same.sum() == (~same).sum() == 4
    assert cosines[same].tolist() == [1] * 4 and cosines[~same].tolist() == [0] * 4


def test_training_brings_the_loss_down(people: Path, trained: Path) -> None:
    images, adapter = read_people(people)["train"], Adapter()
    faces = torch.cat([read_face(path, 32) for path in images])
    torch.manual_seed(0)
    fresh = Recogniser(people_of(images), **SMALL).eval()
    with torch.no_grad():
        before, after = (
            float(adapter.loss(model, faces, images)) for model in (fresh, adapter.load(trained).eval())
        )
    assert after < before


def test_a_trained_recogniser_is_cut_by_its_own_loss(people: Path, trained: Path) -> None:
    images, adapter = read_people(people), Adapter()
    model = adapter.load(trained).eval()
    (name, *_) = removable_blocks(model)
    less = drop_blocks(model, [name])
    fixed = [cast(nn.Sequential, less.embedding)[1]]
    example = torch.zeros(1, 3, 32, 32)
    mark_followed(less, example, fixed)
    batches = [{"img": read_face(path, 32), "paths": [path]} for path in images["train"][::9]]
    loss = lambda net, batch: adapter.loss(net, batch["img"], batch["paths"])  # noqa: E731
    evidence = Evidence(gradients=gather(less, "gradients", batches, loss))
    recipe = load_recipe(None, ("prune.criterion=combined",), prune__ratio=0.3).prune
    pruned = prune(less, lambda net: [net.embedding[1]], example, recipe, 4, evidence)
    assert pruned.report.params_after < 0.8 * pruned.report.params_before
    samples = [(path, read_face(path, 32).numpy()) for path in images["val"]]
    assert 0 <= adapter.metric(predictor(pruned.model.eval()), samples) <= 1


def test_a_folder_without_two_people_is_refused(tmp_path: Path) -> None:
    (tmp_path / "train" / "alone").mkdir(parents=True)
    with pytest.raises(ValueError, match="two people at least"):
        read_people(tmp_path)
