"""Activation ranges from real networks: right, read once, and never a scale that is no number."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper

from conftest import write_convnet
from edgeprune.adapters.ultralytics import detect as adapter
from edgeprune.backends import get_backend
from edgeprune.core.artifact import Artifact
from edgeprune.core.errors import CompileError, ConfigError, DataError
from edgeprune.images.dataset import Dataset
from edgeprune.images.preprocess import Preprocess, load_input
from edgeprune.quantize import CalibrationSet, qdq, quantize, require_method
from edgeprune.quantize.calibration import read_table
from edgeprune.quantize.ranges import METHODS
from edgeprune.quantize.schemes import QDQ_SCHEMES
from edgeprune.records.summary import ExportCheck

SPEC = Preprocess(32)


@pytest.fixture
def images(tiny: Dataset) -> tuple[Path, ...]:
    return tiny.images["train"][:4]


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    return Artifact.of(write_convnet(tmp_path_factory.mktemp("net") / "convnet.onnx"), "onnx", "fp32")


def scales(path: Path) -> np.ndarray:
    graph = onnx.load(path).graph
    weights = {tensor.name: tensor for tensor in graph.initializer}
    names = [node.input[1] for node in graph.node if node.op_type.endswith("Linear")]
    return np.concatenate([numpy_helper.to_array(weights[name]).ravel() for name in names])


def changed(source: Artifact, path: Path, weight: str, value: float) -> Artifact:
    """Write a copy of a network with one weight filled with a value."""
    model = onnx.load(source.path)
    tensor = next(tensor for tensor in model.graph.initializer if tensor.name == weight)
    filled = np.full(tensor.dims, value, np.float32)
    tensor.CopyFrom(numpy_helper.from_array(filled, weight))
    onnx.save(model, path)
    return Artifact.of(path, "onnx", "fp32")


def test_min_and_max_are_those_of_all_images(
    network: Artifact, images: tuple[Path, ...], tmp_path: Path
) -> None:
    ranges = read_table(qdq.calibrate(network, "ort-u8s8", CalibrationSet(images, SPEC), tmp_path)).ranges
    session = onnxruntime.InferenceSession(str(network.path), providers=["CPUExecutionProvider"])
    inputs = [load_input(image, SPEC)[0] for image in images]
    outputs = [session.run(None, {"images": values})[0] for values in inputs]
    for name, values in (("images", inputs), (session.get_outputs()[0].name, outputs)):
        assert ranges[name][0] == min(0.0, *(value.min() for value in values))
        assert ranges[name][1] == pytest.approx(max(value.max() for value in values), rel=1e-4)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("scheme", QDQ_SCHEMES)
def test_a_table_stands_for_the_images(
    network: Artifact, images: tuple[Path, ...], tmp_path: Path, method: str, scheme: str
) -> None:
    calibration = CalibrationSet(images, SPEC, method)  # type: ignore[arg-type]
    table = qdq.calibrate(network, scheme, calibration, tmp_path)
    for low, high in read_table(table).ranges.values():
        assert low <= 0 < high
        assert (low == -high) or not QDQ_SCHEMES[scheme].symmetric
    (tmp_path / "with").mkdir()
    (tmp_path / "without").mkdir()
    # Only the first image is there to be read: the ranges come from the table.
    there = replace(calibration, images=(images[0], tmp_path / "gone.png"), table=table)
    first = quantize(network, scheme, there, adapter, tmp_path / "with")
    assert first.sha256 == quantize(network, scheme, calibration, adapter, tmp_path / "without").sha256
    assert np.isfinite(scales(first.path)).all()


def test_a_table_serves_any_choice_of_float_nodes(
    float_models: dict[str, tuple[Artifact, ExportCheck]], calibration: CalibrationSet, tmp_path: Path
) -> None:
    source = float_models["yolov8n"][0]
    table = qdq.calibrate(source, "ort-u8s8", replace(calibration, method="percentile"), tmp_path)
    keep = [node.name for node in onnx.load(source.path).graph.node if node.name.startswith("/model.2/")]
    made = quantize(source, "ort-u8s8", replace(calibration, table=table), adapter, tmp_path, keep)
    nodes = onnx.load(made.path).graph.node
    kept = [node for node in nodes if node.op_type == "Conv" and node.name in keep]
    dequantized = {node.output[0] for node in nodes if node.op_type == "DequantizeLinear"}
    assert kept and not any(node.input[1] in dequantized for node in kept)
    wide = read_table(qdq.calibrate(source, "ort-u8s8", calibration, tmp_path)).ranges
    narrow = read_table(table).ranges
    assert wide.keys() == narrow.keys()
    assert all(wide[name][0] <= low and high <= wide[name][1] for name, (low, high) in narrow.items())


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("scheme", QDQ_SCHEMES)
def test_a_tensor_of_zeros_gets_a_scale_that_is_a_number(
    network: Artifact, images: tuple[Path, ...], tmp_path: Path, method: str, scheme: str
) -> None:
    dead = changed(network, tmp_path / "dead.onnx", "b0", -100)  # nothing comes through the first Relu
    calibration = CalibrationSet(images, SPEC, method)  # type: ignore[arg-type]
    assert (0, 0) in read_table(qdq.calibrate(dead, scheme, calibration, tmp_path)).ranges.values()
    made = quantize(dead, scheme, calibration, adapter, tmp_path)
    assert np.isfinite(scales(made.path)).all() and (scales(made.path) > 0).all()
    session = get_backend("onnxruntime").load(made.path, "int8", 1, {})
    assert np.isfinite(session(load_input(images[0], SPEC)[0])[0]).all()


@pytest.mark.parametrize("method", METHODS)
def test_a_blank_image_among_others_does_no_harm(
    network: Artifact, images: tuple[Path, ...], tmp_path: Path, method: str
) -> None:
    blank = tmp_path / "blank.png"
    cv2.imwrite(str(blank), np.zeros((40, 40, 3), np.uint8))
    calibration = CalibrationSet((blank, *images), SPEC, method)  # type: ignore[arg-type]
    made = quantize(network, "ort-u8s8", calibration, adapter, tmp_path)
    assert np.isfinite(scales(made.path)).all() and (scales(made.path) > 0).all()


@pytest.mark.parametrize("scheme", ["ort-u8s8", "nncf"])
def test_nothing_but_blank_images_is_refused(network: Artifact, tmp_path: Path, scheme: str) -> None:
    blank = tmp_path / "blank.png"
    cv2.imwrite(str(blank), np.full((40, 40, 3), 200, np.uint8))
    with pytest.raises(DataError, match=r"each of the 2 images is of one colour, .*blank\.png for one"):
        quantize(network, scheme, CalibrationSet((blank, blank), SPEC), adapter, tmp_path)


@pytest.mark.parametrize("scheme", ["ort-u8s8", "nncf"])
def test_no_images_are_refused(network: Artifact, tmp_path: Path, scheme: str) -> None:
    with pytest.raises(DataError, match="calibration: no images"):
        quantize(network, scheme, CalibrationSet((), SPEC), adapter, tmp_path)


@pytest.mark.parametrize("scheme", ["ort-u8s8", "nncf"])
def test_an_unreadable_image_is_named(
    network: Artifact, images: tuple[Path, ...], tmp_path: Path, scheme: str
) -> None:
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"\xff\xd8 not a photograph")
    with pytest.raises(DataError, match=r"broken\.jpg: not an image that OpenCV can read"):
        quantize(network, scheme, CalibrationSet((*images, broken), SPEC), adapter, tmp_path)


def test_a_network_that_gives_no_numbers_is_refused(
    network: Artifact, images: tuple[Path, ...], tmp_path: Path
) -> None:
    wild = changed(network, tmp_path / "wild.onnx", "w1", 3e38)
    with pytest.raises(CompileError, match=rf"{images[0].name}: with this image, tensor '.*' holds NaN or"):
        quantize(wild, "ort-u8s8", CalibrationSet(images, SPEC), adapter, tmp_path)


@pytest.mark.parametrize("method", ["percentile", "mse"])
def test_nncf_calibrates_by_its_own_collectors(
    network: Artifact, images: tuple[Path, ...], tmp_path: Path, method: str
) -> None:
    made = {}
    for name in ("minmax", method):
        (tmp_path / name).mkdir()
        calibration = CalibrationSet(images, SPEC, name)  # type: ignore[arg-type]
        made[name] = quantize(network, "nncf", calibration, adapter, tmp_path / name).sha256
    assert made["minmax"] != made[method]


def test_a_method_that_nncf_lacks_is_refused(
    network: Artifact, images: tuple[Path, ...], tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=r"scheme nncf has no 'entropy', only minmax, percentile, mse"):
        quantize(network, "nncf", CalibrationSet(images, SPEC, "entropy"), adapter, tmp_path)
    for scheme in QDQ_SCHEMES:
        require_method(scheme, "entropy")
