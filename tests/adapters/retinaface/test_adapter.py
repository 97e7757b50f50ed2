"""RetinaFace as a kind of model: recognised by its weights, saved, loaded, judged, exported."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from edgeprune.adapters.retinaface.adapter import ADAPTER
from edgeprune.adapters.retinaface.network import RetinaFace
from edgeprune.core.errors import ModelError
from edgeprune.images.heads import HEADS
from edgeprune.images.preprocess import load_input
from edgeprune.models import adapter_of
from edgeprune.models.predictor import predictor
from edgeprune.prune.depth import drop_blocks
from edgeprune.prune.evidence import gather
from edgeprune.prune.groups import find_groups, remove, trace

WEIGHTS = Path(__file__).parents[3].parent / "shared/models/retinaface/mobilenet0.25_Final.pth"


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """Return weights as they are published: a state dict, its names with the prefix of several GPUs."""
    torch.manual_seed(0)
    path = tmp_path / "faces.pth"
    torch.save({f"module.{name}": tensor for name, tensor in RetinaFace().state_dict().items()}, path)
    return path


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Return a `data.yaml` of two grey pictures with a face each."""
    for split in ("train", "val"):
        for folder in ("images", "labels"):
            (tmp_path / folder / split).mkdir(parents=True)
        picture = np.full((48, 64, 3), 90, dtype=np.uint8)
        cv2.circle(picture, (32, 24), 12, (180, 200, 220), -1)
        cv2.imwrite(str(tmp_path / "images" / split / "a.png"), picture)
        (tmp_path / "labels" / split / "a.txt").write_text("0 0.5 0.5 0.375 0.5\n")
    path = tmp_path / "data.yaml"
    path.write_text("train: images/train\nval: images/val\nnames: [face]\n")
    return path


def test_weights_are_recognised_by_their_names_and_shapes(weights: Path, tmp_path: Path) -> None:
    assert adapter_of(weights) is ADAPTER
    state = torch.load(weights, weights_only=True)
    state.pop("module.ssh1.conv3X3.0.weight")
    torch.save(state, tmp_path / "other.pth")
    assert not ADAPTER.recognise(tmp_path / "other.pth")
    with pytest.raises(ModelError, match=r"ssh1\.conv3X3\.0\.weight is missing"):
        ADAPTER.load(tmp_path / "other.pth")


def test_a_network_that_lost_blocks_and_channels_is_saved_and_loaded(weights: Path, tmp_path: Path) -> None:
    model = drop_blocks(ADAPTER.load(weights), ["body.stage2.2", "body.stage1.5"])
    images = torch.rand(1, 3, 64, 64) * 255
    model = ADAPTER.prunable(model)
    graph = trace(model, images, ADAPTER.unprunable(model))
    for group in find_groups(graph, model, ADAPTER.unprunable(model)):
        remove(graph, group, [0])
    ADAPTER.save(model, tmp_path / "pruned.pt")
    assert adapter_of(tmp_path / "pruned.pt") is ADAPTER
    again = ADAPTER.load(tmp_path / "pruned.pt")
    for one, other in zip(model(images), again(images), strict=True):
        assert torch.equal(one, other)


def test_an_image_is_bgr_less_the_means_and_its_boxes_lie_in_the_letterbox(weights: Path, data: Path) -> None:
    model = ADAPTER.load(weights)
    dataset, spec = ADAPTER.dataset(data, ADAPTER.info(model)), ADAPTER.preprocess(64)
    (batch,) = ADAPTER.labelled_images(dataset, spec, 1, 0)
    assert batch["img"][0, :, 32, 32].tolist() == [180 - 104, 200 - 117, 220 - 123]
    assert batch["faces"][0].boxes.tolist() == [[20, 20, 44, 44]]
    gradients = gather(model, "gradients", [batch], ADAPTER.loss)
    assert all(gradient.isfinite().all() for gradient in gradients.values())
    assert gradients["body.stage1.0.0.weight"].abs().sum() > 0


def test_an_untrained_network_is_judged_and_what_is_the_matter_is_told(weights: Path, data: Path) -> None:
    model = ADAPTER.load(weights)
    info, spec = ADAPTER.info(model), ADAPTER.preprocess(64)
    dataset, predict = ADAPTER.dataset(data, info), predictor(ADAPTER.exportable(model))
    assert ADAPTER.evaluate(predict, dataset, "val", spec, info.postprocess).score < 0.5
    assert "not where the labels are" in ADAPTER.causes(predict, dataset, "val", spec, info.postprocess)[0]


@pytest.mark.skipif(not WEIGHTS.is_file(), reason="needs the published weights in ../shared")
def test_the_published_weights_find_a_face_with_its_landmarks(tmp_path: Path) -> None:
    matplotlib = pytest.importorskip("matplotlib")
    portrait = Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg"
    model = ADAPTER.load(WEIGHTS)
    post = ADAPTER.info(model).postprocess
    tensor, _ = load_input(portrait, ADAPTER.preprocess(320))
    outputs = predictor(ADAPTER.exportable(model))(tensor)
    (row,) = HEADS[post.head].decode(outputs, post, post.deployment)
    box, score, points = row[:4], row[4], row[6:].reshape(5, 2)
    assert score > 0.9
    assert (points > box[:2]).all() and (points < box[2:]).all()
    left_eye, right_eye, nose, left_mouth, right_mouth = points
    assert left_eye[0] < nose[0] < right_eye[0]
    assert left_mouth[0] < right_mouth[0]
    assert left_eye[1] < nose[1] < left_mouth[1]
