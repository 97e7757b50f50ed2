"""Preprocessing and NMS inside the graph: the same detections from the letterboxed image itself."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

from conftest import DIGITS, NAMES
from edgeprune.adapters.ultralytics import detect as adapter
from edgeprune.adapters.ultralytics.mean_ap import detections
from edgeprune.backends import get_backend
from edgeprune.config.recipe import EmbedPart
from edgeprune.config.targets import resolve_targets
from edgeprune.core.artifact import Artifact
from edgeprune.core.errors import ConfigError, ModelError
from edgeprune.export.embed import as_deployed, check, embed, predictor
from edgeprune.images.dataset import Dataset
from edgeprune.images.postprocess import Selection, classifier, detector, values
from edgeprune.images.preprocess import Preprocess, letterbox, load_input, read_image, to_tensor
from edgeprune.images.spec import Spec, spec_of
from edgeprune.records.summary import ExportCheck

# An untrained network is sure of nothing: what it is asked for is less than a deployment's.
DEPLOYED = Selection(0.1, 0.7, 300)
POST = replace(detector(NAMES, end2end=False), deployment=DEPLOYED)
SPEC = Spec(preprocess=Preprocess(64), postprocess=POST)
Exported = dict[str, tuple[Artifact, ExportCheck]]


def _session(path: Path) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


def test_an_image_goes_in_and_detections_come_out(
    float_models: Exported, tiny: Dataset, tmp_path: Path
) -> None:
    plain = float_models["yolov8n"][0].path
    session = _session(embed(plain, SPEC, ("scale", "nms"), tmp_path / "whole.onnx"))
    assert [(value.name, value.type, value.shape) for value in session.get_inputs()] == [
        ("image", "tensor(uint8)", [1, 64, 64, 3])
    ]
    ours = get_backend("onnxruntime").load(plain, "fp32", 1, {})
    for path in tiny.images["val"]:
        canvas, _ = letterbox(read_image(path), SPEC.preprocess)
        (found,) = session.run(["detections"], {"image": canvas[None]})
        (output,) = ours(load_input(path, SPEC.preprocess)[0])
        expected = detections([output], POST, DEPLOYED).numpy()
        assert found.dtype == np.float32
        assert 0 < len(found) == len(expected)
        assert (np.diff(found[:, 4]) <= 0).all()
        distance = np.abs(expected[:, None] - found[None]).max(2)
        assert max(distance.min(0).max(), distance.min(1).max()) < 1e-2


def test_nothing_found_is_no_row(float_models: Exported, tmp_path: Path) -> None:
    sure = replace(POST, deployment=Selection(0.999, 0.7, 300))
    spec = SPEC.model_copy(update={"postprocess": sure})
    session = _session(embed(float_models["yolov8n"][0].path, spec, ("nms",), tmp_path / "nms.onnx"))
    (found,) = session.run(None, {"images": np.zeros((1, 3, 64, 64), np.float32)})
    assert found.shape == (0, 6)


@pytest.mark.parametrize("parts", [("scale",), ("nms",), ("scale", "nms")])
def test_the_accuracy_is_that_of_the_plain_file(
    float_models: Exported, tiny: Dataset, parts: tuple[EmbedPart, ...], tmp_path: Path
) -> None:
    plain = float_models["yolov8n"][0].path
    predict, post = predictor(embed(plain, SPEC, parts, tmp_path / "embedded.onnx"), SPEC, parts)
    session = get_backend("onnxruntime").load(plain, "fp32", 1, {})
    by = as_deployed(SPEC.postprocess) if "nms" in parts else SPEC.postprocess
    expected = adapter.evaluate(session, tiny, "train", SPEC.preprocess, by)
    found = adapter.evaluate(predict, tiny, "train", SPEC.preprocess, post)
    assert found.score == pytest.approx(expected.score, abs=1e-6)


@pytest.mark.parametrize("colour", ["RGB", "BGR"])
def test_mean_deviation_and_colours_go_into_the_graph(colour: Any, tmp_path: Path) -> None:
    """A network that gives its input back shows what the embedded file makes of a picture."""
    pre = Preprocess((16, 24), colour=colour, mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.25))
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Identity", ["images"], ["output0"])],
        "same",
        [onnx.helper.make_tensor_value_info("images", onnx.TensorProto.FLOAT, pre.shape)],
        [onnx.helper.make_tensor_value_info("output0", onnx.TensorProto.FLOAT, pre.shape)],
    )
    opset = [onnx.helper.make_opsetid("", 17)]
    onnx.save(onnx.helper.make_model(graph, opset_imports=opset, ir_version=8), tmp_path / "plain.onnx")
    spec = Spec(preprocess=pre, postprocess=values("same"))
    path = embed(tmp_path / "plain.onnx", spec, ("scale",), tmp_path / "embedded.onnx")
    canvas = np.random.default_rng(0).integers(0, 256, (16, 24, 3), dtype=np.uint8)
    (found,) = _session(path).run(None, {"image": canvas[None]})
    np.testing.assert_array_equal(found, to_tensor(canvas, pre))
    predict, _ = predictor(path, spec, ("scale",))
    np.testing.assert_array_equal(predict(to_tensor(canvas, pre))[0], found)


def test_it_does_not_claim_the_spec_of_the_plain_file(float_models: Exported, tmp_path: Path) -> None:
    path = embed(float_models["yolov8n"][0].path, SPEC, ("nms",), tmp_path / "nms.onnx")
    with pytest.raises(ModelError, match="neither its metadata"):
        spec_of(path)


@pytest.mark.parametrize(
    ("post", "targets", "complaint"),
    [
        (detector(NAMES, end2end=True), ("x86-ort",), "head 'end2end' has no duplicates"),
        (classifier(DIGITS), ("x86-ort",), "head 'scores' has no duplicates"),
        (SPEC.postprocess, ("x86-ort", "x86-openvino", "android-ort"), "leave out x86-openvino, android-ort"),
    ],
)
def test_what_cannot_be_embedded_is_refused_before_the_build(
    post: object, targets: tuple[str, ...], complaint: str
) -> None:
    with pytest.raises(ConfigError, match=complaint):
        check(("nms",), post, resolve_targets(targets))  # type: ignore[arg-type]
    check((), post, resolve_targets(targets))  # type: ignore[arg-type]
    check(("scale", "nms"), SPEC.postprocess, resolve_targets(("x86-ort",)))
