"""int8 graphs: each scheme in its runtime's dialect, the head's decode in float, and real scores left."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper

from edgeprune.artifact import Artifact
from edgeprune.backends import get_backend
from edgeprune.dataset import Dataset
from edgeprune.errors import CompileError
from edgeprune.models import ultralytics as adapter
from edgeprune.preprocess import Preprocess, load_input
from edgeprune.quantize import SCHEMES, CalibrationSet, quantize
from edgeprune.summary import ExportCheck

SPEC = Preprocess(64)
QDQ = ["ort-u8s8", "ort-s8s8", "trt-s8s8"]


Exported = dict[str, tuple[Artifact, ExportCheck]]


@pytest.fixture(scope="module")
def calibration(tiny: Dataset) -> CalibrationSet:
    return CalibrationSet(tiny.sample("train", 3, seed=0), SPEC)


@pytest.fixture(scope="module")
def quantised(
    float_models: Exported, calibration: CalibrationSet, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Artifact]:
    """Return yolov8n in every Q/DQ scheme."""
    folder = tmp_path_factory.mktemp("int8")
    for scheme in QDQ:
        (folder / scheme).mkdir()
    return {
        scheme: quantize(float_models["yolov8n"][0], scheme, calibration, adapter, folder / scheme)
        for scheme in QDQ
    }


class Graph:
    """An ONNX graph with what the tests ask of it."""

    def __init__(self, path: Path) -> None:
        self.model = onnx.load(path)
        self.nodes = self.model.graph.node
        self.weights = {tensor.name: tensor for tensor in self.model.graph.initializer}
        self.producer = {name: node for node in self.nodes for name in node.output}

    def consumers(self, name: str) -> list[onnx.NodeProto]:
        return [node for node in self.nodes if name in node.input]

    def of(self, kind: str) -> list[onnx.NodeProto]:
        return [node for node in self.nodes if node.op_type == kind]

    def zero_point(self, node: onnx.NodeProto) -> onnx.TensorProto:
        return self.weights[node.input[2]]


def assert_lively(expected: np.ndarray, got: np.ndarray) -> None:
    """Scores survive int8: not zero, and in step with the float ones."""
    assert got.shape == expected.shape
    assert np.isfinite(got).all()
    assert got[:, 4:].max() > 0.01
    assert np.corrcoef(expected[:, 4:].ravel(), got[:, 4:].ravel())[0, 1] > 0.8


def outputs(path: Path, tiny: Dataset) -> np.ndarray:
    session = get_backend("onnxruntime").load(path, "int8", 1, {})
    return np.concatenate([session(load_input(image, SPEC)[0])[0] for image in tiny.images["val"]])


@pytest.mark.parametrize("scheme", QDQ)
def test_scores_survive_and_the_metadata_is_kept(
    float_models: Exported, quantised: dict[str, Artifact], tiny: Dataset, scheme: str
) -> None:
    source, artifact = float_models["yolov8n"][0], quantised[scheme]
    assert (artifact.kind, artifact.precision, artifact.parent) == ("onnx", "int8", source.sha256)
    assert artifact.size_bytes < 0.45 * source.size_bytes
    assert_lively(outputs(source.path, tiny), outputs(artifact.path, tiny))
    kept, original = (
        {entry.key: entry.value for entry in onnx.load(path).metadata_props}
        for path in (artifact.path, source.path)
    )
    assert original.items() <= kept.items()


@pytest.mark.parametrize("scheme", QDQ)
def test_weights_are_s8_per_channel_and_symmetric(quantised: dict[str, Artifact], scheme: str) -> None:
    graph = Graph(quantised[scheme].path)
    seen = 0
    for node in graph.of("Conv"):
        source = graph.producer.get(node.input[1])
        if source is None:  # stays in float
            continue
        assert source.op_type == "DequantizeLinear"
        weight, scale = graph.weights[source.input[0]], graph.weights[source.input[1]]
        assert weight.data_type == TensorProto.INT8
        assert list(scale.dims) == [weight.dims[0]]
        assert not numpy_helper.to_array(graph.zero_point(source)).any()
        seen += 1
    assert seen >= 63  # all convolutions of yolov8n but the DFL


@pytest.mark.parametrize(
    ("scheme", "kind"), [("ort-u8s8", TensorProto.UINT8), ("ort-s8s8", TensorProto.INT8)]
)
def test_activations_have_the_type_of_the_scheme(
    quantised: dict[str, Artifact], scheme: str, kind: int
) -> None:
    graph = Graph(quantised[scheme].path)
    kinds = Counter(graph.zero_point(node).data_type for node in graph.of("QuantizeLinear"))
    assert set(kinds) == {kind}


@pytest.mark.parametrize("scheme", QDQ)
def test_the_decode_of_the_head_stays_in_float(quantised: dict[str, Artifact], scheme: str) -> None:
    graph = Graph(quantised[scheme].path)
    decode = set(adapter.float_nodes([node.name for node in graph.nodes]))
    operators = [node for node in graph.nodes if node.name in decode and "Linear" not in node.op_type]
    kinds = {node.op_type for node in operators}
    assert {"Concat", "Sigmoid", "Softmax", "Conv"} <= kinds
    inputs = [graph.producer[name] for node in operators for name in node.input if name in graph.producer]
    # What arrives from the branches may come out of a DequantizeLinear of the convolution before it.
    fed = {node.name for node in operators for name in node.input if "cv" in name}
    quantised_inputs = [
        source.name
        for source in inputs
        if source.op_type == "DequantizeLinear" and graph.producer[source.input[0]].input[0].find("/cv") < 0
    ]
    assert fed
    assert not quantised_inputs
    assert not any(node.op_type == "QuantizeLinear" for node in graph.consumers("output0"))
    assert graph.producer["output0"].op_type == "Concat"


def test_u8s8_runs_in_integers_on_onnx_runtime(quantised: dict[str, Artifact]) -> None:
    count = get_backend("onnxruntime").quantized_ops(quantised["ort-u8s8"].path)
    assert count is not None
    assert count >= 57  # convolutions with SiLU; the last six of the head feed a float decode


def test_tensorrt_gets_symmetric_s8_without_int32_biases(quantised: dict[str, Artifact]) -> None:
    graph = Graph(quantised["trt-s8s8"].path)
    linear = graph.of("QuantizeLinear") + graph.of("DequantizeLinear")
    assert linear
    for node in linear:
        zero = graph.zero_point(node)
        assert zero.data_type == TensorProto.INT8
        assert not numpy_helper.to_array(zero).any()
    for node in graph.of("DequantizeLinear"):
        if node.input[0] in graph.weights:
            assert graph.weights[node.input[0]].data_type == TensorProto.INT8


def test_tensorrt_keeps_convolution_and_silu_together(quantised: dict[str, Artifact]) -> None:
    graph = Graph(quantised["trt-s8s8"].path)
    activated = 0
    for node in graph.of("Conv"):
        kinds = {consumer.op_type for consumer in graph.consumers(node.output[0])}
        if "Sigmoid" in kinds and "Mul" in kinds:
            assert kinds == {"Sigmoid", "Mul"}
            activated += 1
            for sigmoid in graph.consumers(node.output[0]):
                if sigmoid.op_type == "Sigmoid":
                    assert {use.op_type for use in graph.consumers(sigmoid.output[0])} == {"Mul"}
    assert activated == 57


def test_the_newest_family_keeps_its_scores(
    float_models: Exported, calibration: CalibrationSet, tiny: Dataset, tmp_path: Path
) -> None:
    artifact = quantize(float_models["yolo26n"][0], "ort-u8s8", calibration, adapter, tmp_path)
    assert_lively(outputs(float_models["yolo26n"][0].path, tiny), outputs(artifact.path, tiny))


def test_nncf_writes_an_ir_that_runs_in_integers(
    float_models: Exported, calibration: CalibrationSet, tiny: Dataset, tmp_path: Path
) -> None:
    source = float_models["yolov8n"][0]
    artifact = quantize(source, "nncf", calibration, adapter, tmp_path)
    assert artifact.path == tmp_path / "engine"
    assert (artifact.precision, artifact.parent) == ("int8", source.sha256)
    backend = get_backend("openvino")
    session = backend.load(artifact.path, "int8", 1, {})
    got = np.concatenate([session(load_input(image, SPEC)[0])[0] for image in tiny.images["val"]])
    assert_lively(outputs(source.path, tiny), got)
    assert (backend.quantized_ops(artifact.path) or 0) >= 50


def test_the_same_images_give_the_same_file(
    float_models: Exported, quantised: dict[str, Artifact], tiny: Dataset, tmp_path: Path
) -> None:
    images = tiny.sample("train", 3, seed=0)
    again = quantize(float_models["yolov8n"][0], "trt-s8s8", CalibrationSet(images, SPEC), adapter, tmp_path)
    assert again.sha256 == quantised["trt-s8s8"].sha256


@pytest.mark.parametrize("scheme", ["ort-u8s8", "nncf"])
def test_a_failure_is_one_line_that_names_the_scheme(
    float_models: Exported, tmp_path: Path, scheme: str
) -> None:
    assert scheme in SCHEMES
    with pytest.raises(CompileError, match=f"{scheme}: quantisation failed: ") as caught:
        quantize(float_models["yolov8n"][0], scheme, CalibrationSet((), SPEC), adapter, tmp_path)
    assert "\n" not in str(caught.value)
