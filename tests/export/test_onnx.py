"""Export: all four families, pruned or not, compute in ONNX what they do in torch, and say what they are."""

from __future__ import annotations

import ast
import json
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import nn
from ultralytics import YOLO

from conftest import FAMILIES, NAMES
from edgeprune.adapters.ultralytics import detect as adapter
from edgeprune.backends import get_backend
from edgeprune.config.recipe import ExportRecipe, PruneRecipe
from edgeprune.core.artifact import Artifact
from edgeprune.core.errors import CompileError
from edgeprune.export.onnx import INPUT, compare, export
from edgeprune.images.dataset import Dataset
from edgeprune.images.postprocess import detector
from edgeprune.images.preprocess import Preprocess, load_input
from edgeprune.images.spec import spec_of
from edgeprune.models import ModelInfo, Predict
from edgeprune.models.predictor import predictor
from edgeprune.prune.depth import drop_blocks, removable_blocks
from edgeprune.prune.evidence import Evidence
from edgeprune.prune.surgery import prune
from edgeprune.records.summary import ExportCheck

SPEC = Preprocess(64)


Exported = dict[str, tuple[Artifact, ExportCheck]]


def export_to(model: nn.Module, dataset: Dataset, out: Path) -> tuple[Artifact, ExportCheck]:
    module, info = adapter.exportable(model), adapter.info(model)
    return export(module, info, SPEC, dataset.images["val"][:2], ExportRecipe(), "pruned", out)


@pytest.mark.parametrize("family", FAMILIES)
def test_onnx_computes_what_torch_does(float_models: Exported, family: str) -> None:
    assert_whole(*float_models[family])


@pytest.mark.parametrize("family", FAMILIES)
def test_so_does_the_onnx_file_of_a_pruned_network(
    checkpoints: dict[str, Path], float_models: Exported, tiny: Dataset, tmp_path: Path, family: str
) -> None:
    model = adapter.prunable(adapter.load(checkpoints[family]))
    result = prune(
        model,
        adapter.unprunable,
        torch.zeros(1, 3, 64, 64),
        PruneRecipe(ratio=0.6, criterion="l1"),
        8,
        Evidence(),
    )
    artifact, check = export_to(result.model, tiny, tmp_path / "model.onnx")
    assert_whole(artifact, check)
    assert artifact.size_bytes < 0.7 * float_models[family][0].size_bytes


@pytest.mark.parametrize("family", FAMILIES)
def test_so_does_the_onnx_file_of_a_network_without_blocks(
    checkpoints: dict[str, Path], float_models: Exported, tiny: Dataset, tmp_path: Path, family: str
) -> None:
    model = adapter.prunable(adapter.load(checkpoints[family]))
    less = drop_blocks(model, removable_blocks(model)[1:4])
    artifact, check = export_to(less, tiny, tmp_path / "model.onnx")
    assert_whole(artifact, check)
    assert artifact.size_bytes < float_models[family][0].size_bytes


def assert_whole(artifact: Artifact, check: ExportCheck) -> None:
    assert (artifact.kind, artifact.precision) == ("onnx", "fp32")
    assert check.images == 2
    assert check.box_px < 0.01
    assert check.score < 1e-4
    written = onnx.load(artifact.path)
    assert [opset.version for opset in written.opset_import if not opset.domain] == [17]
    assert [value.name for value in written.graph.input] == [INPUT]
    assert [value.name for value in written.graph.output] == ["output0"]
    assert [side.dim_value for side in written.graph.input[0].type.tensor_type.shape.dim] == [1, 3, 64, 64]
    assert [side.dim_value for side in written.graph.output[0].type.tensor_type.shape.dim] == [1, 7, 84]
    assert not any(node.op_type == "BatchNormalization" for node in written.graph.node)
    metadata = {entry.key: entry.value for entry in written.metadata_props}
    assert ast.literal_eval(metadata["names"]) == dict(enumerate(NAMES))
    assert (metadata["stride"], metadata["task"]) == ("32", "detect")
    assert ast.literal_eval(metadata["imgsz"]) == [64, 64]
    assert Preprocess(**json.loads(metadata["edgeprune.preprocess"])) == SPEC

    # The decode of the head is found by node names, which have to survive the exporter and the simplifier.
    names = [node.name for node in written.graph.node]
    kept = set(adapter.float_nodes(names))
    convolutions = {node.name for node in written.graph.node if node.op_type == "Conv"}
    assert all("dfl" in name for name in kept & convolutions)
    assert any(node.op_type == "Concat" for node in written.graph.node if node.name in kept)


def test_ultralytics_predicts_with_the_file(float_models: Exported, tiny: Dataset) -> None:
    path = float_models["yolo11n"][0].path
    image = tiny.images["val"][0]
    detector = YOLO(path, task="detect")
    (result,) = detector.predict(image, imgsz=64, conf=0.01, device="cpu", verbose=False)
    assert result.names == dict(enumerate(NAMES))
    assert len(result.boxes) > 0
    session = get_backend("onnxruntime").load(path, "fp32", 1, {})
    (output,) = session(load_input(image, SPEC)[0])
    assert float(result.boxes.conf.max()) == pytest.approx(float(output[0, 4:].max()), abs=1e-3)


def test_exporting_leaves_the_model_trainable(checkpoints: dict[str, Path]) -> None:
    model = adapter.load(checkpoints["yolov8n"])
    adapter.exportable(model)
    assert all(tensor.requires_grad for tensor in model.parameters())
    assert not model.model[-1].export
    assert any(isinstance(module, nn.BatchNorm2d) for module in model.modules())


class Forked(nn.Module):
    """A network with a branch that the exporter's blank example does not take."""

    def __init__(self, boxes: float, scores: float) -> None:
        super().__init__()
        self.patches, self.boxes, self.scores = nn.Conv2d(3, 7, 8, stride=8), boxes, scores

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        output = self.patches(images).flatten(2)
        if images.max() > 0:
            output = torch.cat((output[:, :4] + self.boxes, output[:, 4:] + self.scores), 1)
        return output


INFO = ModelInfo("detect", "forked", NAMES, 32, 64, "mAP50-95", detector(NAMES, end2end=False))


@pytest.mark.parametrize(("boxes", "scores"), [(0.5, 0.0), (0.0, 0.01)])
def test_a_file_that_differs_is_refused_with_the_differences(
    tiny: Dataset, tmp_path: Path, boxes: float, scores: float
) -> None:
    images = tiny.images["val"][:2]
    with pytest.raises(CompileError) as caught:
        export(
            Forked(boxes, scores).eval(), INFO, SPEC, images, ExportRecipe(), "pruned", tmp_path / "x.onnx"
        )
    message = str(caught.value)
    assert message.startswith("pruned: the ONNX file differs from torch by ")
    assert f"{boxes or scores:g} {'px' if boxes else 'in score'}" in message
    assert "allowed are 0.1 px and 0.001" in message


def test_other_weights_and_other_shapes_are_told(
    checkpoints: dict[str, Path], float_models: Exported, tiny: Dataset
) -> None:
    path, images = float_models["yolov5n"][0].path, tiny.images["val"][:2]
    other = predictor(adapter.exportable(adapter.load(checkpoints["yolov8n"])))
    check = compare(other, path, spec_of(path), images, "original")
    assert check.box_px > 0.1
    assert check.score > 1e-3
    with pytest.raises(CompileError, match=r"original: ONNX gives shape \(1, 7, 84\), torch \(1, 8, 84\)"):
        compare(lambda array: [np.zeros((1, 8, 84), np.float32)], path, spec_of(path), images, "original")


def test_end_to_end_detections_are_compared_without_their_order(
    checkpoints: dict[str, Path], tiny: Dataset, tmp_path: Path
) -> None:
    model = adapter.load(checkpoints["yolo26n"])
    model.model[-1].end2end = True
    artifact, check = export_to(model, tiny, tmp_path / "model.onnx")
    assert check.score < 1e-4
    assert check.box_px < 0.01
    (output,) = onnx.load(artifact.path).graph.output
    assert [side.dim_value for side in output.type.tensor_type.shape.dim] == [1, 84, 6]
    same = predictor(adapter.exportable(model))

    for column, change in ((2, 0.5), (4, -0.01), (5, 1.0)):
        check = compare(
            changed(same, column, change),
            artifact.path,
            spec_of(artifact.path),
            tiny.images["val"][:1],
            "pruned",
        )
        assert max(check.box_px, check.score) >= 0.9 * abs(change)


def changed(predict: Predict, column: int, change: float) -> Predict:
    """Answer as `predict` does, but for one value of one detection."""

    def doctored(images: np.ndarray) -> list[np.ndarray]:
        output = np.array(predict(images)[0])
        output[0, 5, column] += change
        return [output]

    return doctored


def test_what_the_exporter_cannot_do_is_one_line(tiny: Dataset, tmp_path: Path) -> None:
    class Unknown(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return torch.linalg.eigvals(images[:, 0]).abs()

    with pytest.raises(CompileError, match="original: export to ONNX failed") as caught:
        export(Unknown(), INFO, SPEC, tiny.images["val"], ExportRecipe(), "original", tmp_path / "x.onnx")
    assert "\n" not in str(caught.value)
