"""Every model that ultralytics ships for these tasks goes through all stages, or is refused by name."""

from __future__ import annotations

import resource
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from ultralytics.nn.tasks import (
    ClassificationModel,
    DetectionModel,
    RTDETRDetectionModel,
    WorldModel,
    YOLOEModel,
)

from conftest import lively
from edgeprune.backends import get_backend, rtx
from edgeprune.config.recipe import ExportRecipe, PruneRecipe, load_recipe
from edgeprune.core.errors import EdgepruneError, ModelError
from edgeprune.export.onnx import export
from edgeprune.images.dataset import Dataset
from edgeprune.images.preprocess import load_input
from edgeprune.models import ModelAdapter, Training, adapter_of
from edgeprune.prune.evidence import Evidence
from edgeprune.prune.surgery import prune
from edgeprune.quantize.half import to_fp16
from made_families import CLASSES, FOLDER, described, network

OTHER_TASKS = ("-seg", "-pose", "-obb", "-sem", "-depth")
YAMLS = sorted(path for path in FOLDER.rglob("*.yaml") if not any(task in path.stem for task in OTHER_TASKS))
REFUSED = {
    "rtdetr": "RTDETRDetectionModel: an RT-DETR, whose transformer mixes all channels",
    "world": "WorldModel: a YOLO-World, which reads text beside the image",
    "yoloe": "YOLOEModel: a YOLOE, which reads a prompt",
    "resnet18": "TorchVision: a network of torchvision inside",
}
"""What is no plain detector or classifier, by a part of the file's name, and what is said."""
EXPORTED = ("yolo26", "yolov8-cls-resnet50", "yolov8-p6", "yolov9e")
"""Go on to ONNX Runtime, which takes most of the time. The rest is made of the same blocks and heads, at
other depths and levels; it ends in the fused network that would be exported, or is among `BUILT`."""
BUILT = (
    "yolo12", "yolov3-tiny", "yolov5-p6", "yolov6", "yolov8-ghost", "yolov9t", "yolov10s",
)  # fmt: skip
"""One of each family, trained for an epoch and built for ONNX Runtime and TensorRT. YOLOv5, v8, 11 and 26 are
built by tests/cli/test_build.py, test_build_classifier.py and tests/backends/test_rtx.py."""
DATA = {"classify": "digits", "detect": "tiny"}
"""The fixture with data for a task."""
MOST_SECONDS, MOST_BYTES = 60, 2 * 2**30


def written(path: Path, out: Path) -> Path:
    """Write a random checkpoint of a model, or, where it cannot be built here, one that names its class."""
    torch.manual_seed(0)
    config = described(path.stem)
    makers = {
        "rtdetr": RTDETRDetectionModel,
        "world": WorldModel,
        "yoloe": YOLOEModel,
        "-cls": ClassificationModel,
    }
    maker = next((maker for part, maker in makers.items() if part in path.stem), DetectionModel)
    if "resnet18" in path.stem:
        config["backbone"][0][3] = [512, "resnet18", None, True, 2]  # without downloading its weights
    # The largest ones are refused by their class, and need no numbers.
    with torch.device("meta" if maker is RTDETRDetectionModel else "cpu"):
        model = maker(config, nc=CLASSES, verbose=False).eval()
    if maker in {DetectionModel, ClassificationModel}:
        lively(model)
    torch.save({"model": model.half(), "train_args": {"imgsz": 64}}, out)
    return out


def step(adapter: ModelAdapter, model: torch.nn.Module, side: int) -> None:
    """Take one training step on a made-up batch."""
    batch: dict[str, torch.Tensor] = {"img": torch.rand(2, 3, side, side)}
    if adapter.info(model).task == "classify":
        batch["cls"] = torch.tensor([0, 2])
    else:
        batch |= {
            "cls": torch.tensor([[0.0], [2.0]]),
            "bboxes": torch.tensor([[0.5, 0.5, 0.5, 0.5], [0.4, 0.4, 0.3, 0.3]]),
            "batch_idx": torch.tensor([0.0, 1.0]),
        }
    model.train()
    optimiser = torch.optim.SGD(model.parameters(), lr=1e-3)
    loss = adapter.loss(model, batch)
    loss.backward()
    optimiser.step()
    model.eval()
    assert torch.isfinite(loss)


@pytest.fixture(scope="module")
def picture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return one picture."""
    path = tmp_path_factory.mktemp("picture") / "x.png"
    cv2.imwrite(str(path), np.random.default_rng(0).integers(0, 255, (80, 80, 3), dtype=np.uint8))
    return path


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("path", YAMLS, ids=lambda path: path.stem)
def test_a_shipped_model_goes_through_all_stages(path: Path, tmp_path: Path, picture: Path) -> None:
    checkpoint = written(path, tmp_path / "x.pt")
    refusal = next((word for part, word in REFUSED.items() if part in path.stem), None)
    before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    adapter = adapter_of(checkpoint)
    if refusal is not None:
        with pytest.raises(ModelError, match=refusal):
            adapter.load(checkpoint)
        return
    model = adapter.prunable(adapter.load(checkpoint))
    info = adapter.info(model)
    side = 2 * info.stride
    pruned = prune(
        model,
        adapter.unprunable,
        torch.zeros(1, 3, side, side),
        PruneRecipe(ratio=0.5, criterion="l1"),
        8,
        Evidence(),
    )
    assert pruned.report.params_after < pruned.report.params_before
    assert time.process_time() - began < MOST_SECONDS
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 < MOST_BYTES
    step(adapter, pruned.model, side)
    adapter.save(pruned.model, tmp_path / "pruned.pt")
    ready = adapter.exportable(adapter.load(tmp_path / "pruned.pt"))
    spec = adapter.preprocess(side)
    assert torch.isfinite(ready(torch.rand(1, 3, side, side))).all()
    if path.stem not in EXPORTED:
        return
    artifact, _ = export(
        ready,
        info,
        spec,
        [picture],
        ExportRecipe(score_tolerance=1e-2, box_tolerance=1.0),
        "pruned",
        tmp_path / "x.onnx",
    )
    session = get_backend("onnxruntime").load(artifact.path, "fp32", 1, {})
    assert np.isfinite(session(load_input(picture, spec)[0])[0]).all()


def parameters(model: torch.nn.Module) -> int:
    return sum(tensor.numel() for tensor in model.parameters())


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("stem", BUILT)
def test_a_family_keeps_its_cut_through_training_and_builds(
    stem: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    torch.save({"model": network(stem).half(), "train_args": {"imgsz": 64}}, tmp_path / "x.pt")
    adapter = adapter_of(tmp_path / "x.pt")
    model: Any = adapter.prunable(adapter.load(tmp_path / "x.pt"))
    dataset: Dataset = request.getfixturevalue(DATA[adapter.info(model).task])
    model.names = dict(enumerate(dataset.names))
    side = max(64, adapter.info(model).stride)
    cut = prune(
        model,
        adapter.unprunable,
        torch.zeros(1, 3, side, side),
        PruneRecipe(ratio=0.5, criterion="l1"),
        8,
        Evidence(),
    )
    assert parameters(cut.model) < 0.6 * parameters(model)
    adapter.save(cut.model, tmp_path / "student.pt")
    recipe = load_recipe(finetune__epochs=1, finetune__batch=12, finetune__device="cpu")
    trained_to = tmp_path / "trained" / "model.pt"
    trained_to.parent.mkdir()
    adapter.finetune(
        Training(tmp_path / "student.pt", None, dataset, side, recipe, trained_to, lambda *_: None)
    )
    trained = adapter.load(trained_to)
    assert parameters(trained) == parameters(cut.model)
    artifact, _ = export(
        adapter.exportable(trained),
        adapter.info(trained),
        adapter.preprocess(side),
        dataset.images["val"][:1],
        ExportRecipe(score_tolerance=1e-2, box_tolerance=1.0),
        "pruned",
        tmp_path / "x.onnx",
    )
    inputs = load_input(dataset.images["val"][0], adapter.preprocess(side))[0]
    assert np.isfinite(get_backend("onnxruntime").load(artifact.path, "fp32", 1, {})(inputs)[0]).all()
    if rtx.version() is not None:
        (tmp_path / "fp16").mkdir()
        proof = rtx.prove(to_fp16(artifact, tmp_path / "fp16").path, tmp_path / "rtx.log")
        assert {"SM86", "SM89"} <= set(proof.capabilities)


def test_blocks_that_cannot_be_followed_are_named(tmp_path: Path) -> None:
    adapter = adapter_of(checkpoint := written(FOLDER / "12" / "yolo12.yaml", tmp_path / "x.pt"))
    model = adapter.prunable(adapter.load(checkpoint))
    report = prune(
        model,
        adapter.unprunable,
        torch.zeros(1, 3, 64, 64),
        PruneRecipe(ratio=0.5, criterion="l1"),
        8,
        Evidence(),
    ).report
    assert report.whole[0] == "model.6.m.0.0.attn (AAttn)"
    kept = [layer for layer in report.layers if layer.layer.startswith("model.6.m.0.0.attn.")]
    assert kept
    assert all(not layer.prunable and layer.before == layer.after for layer in kept)
    with pytest.raises(EdgepruneError):
        prune(
            model,
            adapter.unprunable,
            torch.zeros(1, 3, 64, 64),
            PruneRecipe(ratio=0.5, criterion="l1", skip=("*",)),
            8,
            Evidence(),
        )
