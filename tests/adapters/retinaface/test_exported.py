"""The exported form of RetinaFace computes what the network and SSD's decode do, in another order."""

from __future__ import annotations

import math
from pathlib import Path

import onnx
import onnxsim
import torch

from edgeprune.adapters.retinaface.exported import ExportedFace, float_nodes
from edgeprune.adapters.retinaface.network import RetinaFace
from edgeprune.adapters.retinaface.priors import STRIDES, decode, decode_landmarks, prior_boxes

SHAPE = (64, 96)


def by_size(shape: tuple[int, int]) -> list[int]:
    """Return where each anchor of the exported form stands in the network's order."""
    order: list[int] = []
    for stride in STRIDES:
        cells = math.prod(math.ceil(side / stride) for side in shape)
        start = len(order)
        order += [start + 2 * cell + size for size in range(2) for cell in range(cells)]
    return order


def test_it_gives_the_boxes_scores_and_landmarks_of_the_network() -> None:
    torch.manual_seed(1)
    network, priors = RetinaFace().eval(), prior_boxes(SHAPE)
    images = torch.randn(2, 3, *SHAPE) * 60
    with torch.no_grad():
        offsets, logits, landmarks = network(images)
        got = ExportedFace(network)(images)
    rows = [decode(offsets, priors), logits.softmax(2)[..., 1:], decode_landmarks(landmarks, priors)]
    expected = torch.cat(rows, 2)[:, by_size(SHAPE)].transpose(1, 2)
    assert got.shape == (2, 15, len(priors))
    assert torch.allclose(got, expected, atol=1e-4)


def test_what_makes_pixels_and_scores_stays_in_float() -> None:
    names = ["/body/stage1/stage1.0/Conv", "/heads.0/Conv", "/decode/Exp", "/fpn/Resize"]
    assert float_nodes(names) == ["/heads.0/Conv", "/decode/Exp"]


def test_its_anchors_are_four_numbers_each_in_the_file(tmp_path: Path) -> None:
    """One for every decoded row was once more than all weights of the network in int8."""
    exported, shape = ExportedFace(RetinaFace()).eval(), (1, 3, *SHAPE)
    place = tmp_path / "face.onnx"
    torch.onnx.export(exported, (torch.zeros(shape),), str(place), opset_version=17, dynamo=False)
    simple, _ = onnxsim.simplify(onnx.load(place))
    held = {tensor.name: math.prod(tensor.dims) for tensor in simple.graph.initializer}
    decoded = [
        name
        for node in simple.graph.node
        if node.name.startswith("/decode")
        for name in node.input
        if name in held
    ]
    assert sum(held[name] for name in set(decoded)) <= 4 * len(prior_boxes(SHAPE)) + 64
