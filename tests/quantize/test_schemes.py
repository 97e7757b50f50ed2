"""Each Q/DQ scheme as the table has it, read back from the graph of a real detector."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, numpy_helper

from edgeprune.adapters.ultralytics import detect as adapter
from edgeprune.core.artifact import Artifact
from edgeprune.quantize import SCHEMES, CalibrationSet, quantize, schemes
from edgeprune.quantize.half import to_fp16
from edgeprune.quantize.schemes import QDQ_SCHEMES, QdqScheme, describe, reduces_range
from edgeprune.records.summary import ExportCheck

TYPES = {"u8": TensorProto.UINT8, "s8": TensorProto.INT8, "u16": TensorProto.UINT16}
SILUS = 57  # convolutions of yolov8n with one
BRANCH_ENDS = 6  # convolutions of its head without
RESIDUALS = 6


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

    def value(self, name: str) -> np.ndarray:
        return np.asarray(numpy_helper.to_array(self.weights[name]))

    def dequantized(self, name: str) -> onnx.NodeProto | None:
        """Return the node that a tensor is dequantized by, if it is."""
        node = self.producer.get(name)
        return node if node is not None and node.op_type == "DequantizeLinear" else None


@dataclass
class Subject:
    name: str
    rules: QdqScheme
    graph: Graph


@pytest.fixture(scope="module", params=list(QDQ_SCHEMES))
def subject(request: pytest.FixtureRequest, quantized: dict[str, Artifact]) -> Subject:
    return Subject(request.param, QDQ_SCHEMES[request.param], Graph(quantized[request.param].path))


def test_every_scheme_of_the_table_can_be_asked_for() -> None:
    assert QDQ_SCHEMES.keys() == {name for name, module in SCHEMES.items() if module.endswith(".qdq")}


def test_weights_are_of_the_type_symmetric_and_per_channel(subject: Subject) -> None:
    graph, seen = subject.graph, 0
    for node in graph.of("Conv"):
        source = graph.dequantized(node.input[1])
        if source is None:  # stays in float
            continue
        weight, scale = graph.weights[source.input[0]], graph.weights[source.input[1]]
        assert weight.data_type == TYPES[subject.rules.weights]
        assert list(scale.dims) == ([weight.dims[0]] if subject.rules.per_channel else [])
        assert not graph.value(source.input[2]).any()
        seen += 1
    assert seen == SILUS + BRANCH_ENDS


def test_activations_are_of_the_type_with_one_scale_a_tensor(subject: Subject) -> None:
    graph = subject.graph
    quantizers = graph.of("QuantizeLinear")
    zeros = [graph.value(node.input[2]) for node in quantizers]
    assert Counter(graph.weights[node.input[2]].data_type for node in quantizers).keys() == {
        TYPES[subject.rules.activations]
    }
    assert all(graph.value(node.input[1]).ndim == 0 for node in quantizers)
    assert all(np.isfinite(graph.value(node.input[1])) for node in quantizers)
    assert any(zero != 0 for zero in zeros) != subject.rules.symmetric


def test_biases_are_as_the_table_has_them(subject: Subject) -> None:
    graph, kinds = subject.graph, set()
    for node in graph.of("Conv"):
        if graph.dequantized(node.input[1]) is None or len(node.input) < 3:
            continue
        source = graph.dequantized(node.input[2])
        kinds.add(graph.weights[source.input[0] if source else node.input[2]].data_type)
    assert kinds == {TensorProto.INT32 if subject.rules.bias == "int32" else TensorProto.FLOAT}


def test_both_inputs_of_a_residual_sum_are_quantized(subject: Subject) -> None:
    graph = subject.graph
    sums = [node for node in graph.of("Add") if "/m." in node.name]
    assert len(sums) == RESIDUALS
    assert all(graph.dequantized(name) for node in sums for name in node.input)


def test_outputs_are_quantized_only_where_the_table_says_so(subject: Subject) -> None:
    graph = subject.graph
    behind = Counter(
        any(use.op_type == "QuantizeLinear" for use in graph.consumers(node.output[0]))
        for node in graph.of("Conv")
        if graph.dequantized(node.input[1])
    )
    assert behind[subject.rules.outputs] >= SILUS
    if not subject.rules.outputs:
        assert set(behind) == {False}


def test_nothing_stands_between_convolution_and_silu_for_tensorrt(quantized: dict[str, Artifact]) -> None:
    graph = Graph(quantized["trt-s8s8"].path)
    activated = 0
    for node in graph.of("Conv"):
        uses = graph.consumers(node.output[0])
        if "Sigmoid" not in {use.op_type for use in uses}:
            continue
        activated += 1
        assert {use.op_type for use in uses} == {"Sigmoid", "Mul"}
        gate = next(use for use in uses if use.op_type == "Sigmoid")
        assert {use.op_type for use in graph.consumers(gate.output[0])} == {"Mul"}
    assert activated == SILUS


def test_tensorrt_gets_nothing_but_s8_around_zero(quantized: dict[str, Artifact]) -> None:
    graph = Graph(quantized["trt-s8s8"].path)
    for node in graph.of("QuantizeLinear") + graph.of("DequantizeLinear"):
        assert graph.weights[node.input[2]].data_type == TensorProto.INT8
        assert not graph.value(node.input[2]).any()
        assert node.input[0] not in graph.weights or (
            graph.weights[node.input[0]].data_type == TensorProto.INT8
        )


def test_what_is_not_int8_for_tensorrt_is_fp16(quantized: dict[str, Artifact], tmp_path: Path) -> None:
    """The same pairs around the same layers; float32 is left at input and output alone."""
    whole = quantized["trt-s8s8"]
    mixed = to_fp16(whole, tmp_path)
    before, after = Graph(whole.path), Graph(mixed.path)
    onnx.checker.check_model(after.model)
    for kind in ("QuantizeLinear", "DequantizeLinear", "Conv", "Add"):
        assert [node.name for node in after.of(kind)] == [node.name for node in before.of(kind)]
    for node in after.of("QuantizeLinear") + after.of("DequantizeLinear"):
        assert after.weights[node.input[1]].data_type == TensorProto.FLOAT16
    floats = {name for name, tensor in after.weights.items() if tensor.data_type == TensorProto.FLOAT}
    assert all(use.op_type == "Resize" for name in floats for use in after.consumers(name))
    image = np.random.default_rng(0).random((1, 3, 64, 64), dtype=np.float32)
    found, wanted = (
        onnxruntime.InferenceSession(str(one.path), providers=["CPUExecutionProvider"]).run(
            None, {"images": image}
        )[0]
        for one in (mixed, whole)
    )
    assert found.dtype == np.float32
    assert (
        np.abs(found[:, :4] - wanted[:, :4]).max() < 2 and np.abs(found[:, 4:] - wanted[:, 4:]).max() < 0.02
    )


def test_the_decode_of_the_head_stays_in_float(subject: Subject) -> None:
    graph = subject.graph
    decode = set(adapter.float_nodes([node.name for node in graph.nodes]))
    operators = [node for node in graph.nodes if node.name in decode and "Linear" not in node.op_type]
    assert {"Concat", "Sigmoid", "Conv"} <= {node.op_type for node in graph.nodes}
    assert {"Concat", "Sigmoid", "Sub"} <= {node.op_type for node in operators}
    inputs = [graph.producer[name] for node in operators for name in node.input if name in graph.producer]
    # What arrives from the branches may come out of a DequantizeLinear of the convolution before it.
    inside = [
        source.name
        for source in inputs
        if source.op_type == "DequantizeLinear" and graph.producer[source.input[0]].input[0].find("/cv") < 0
    ]
    assert not inside
    assert not any(node.op_type == "QuantizeLinear" for node in graph.consumers("output0"))
    assert graph.producer["output0"].op_type == "Concat"


OLD, NEW = {"avx2", "fma"}, {"avx2", "avx512_vnni"}


@pytest.mark.parametrize(
    ("scheme", "machine", "flags", "reduced"),
    [
        ("ort-u8s8", "x86_64", OLD, True),
        ("ort-u8s8", "x86_64", NEW, False),
        ("ort-u8s8", "x86_64", {"avx2", "avx_vnni"}, False),
        ("ort-u8s8", "x86_64", {"avx2", "amx_int8"}, False),
        ("ort-u8s8", "x86_64", set(), False),
        ("ort-s8s8", "aarch64", {"asimd"}, False),
        ("trt-s8s8", "x86_64", OLD, False),
    ],
)
def test_seven_bits_only_where_products_saturate(
    scheme: str, machine: str, flags: set[str], reduced: bool
) -> None:
    assert reduces_range(QDQ_SCHEMES[scheme], machine, flags) is reduced


def test_weights_keep_to_seven_bits_on_an_old_cpu(
    float_models: dict[str, tuple[Artifact, ExportCheck]],
    calibration: CalibrationSet,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    largest = {}
    monkeypatch.setattr(schemes.platform, "machine", lambda: "x86_64")
    for name, flags in {"old": OLD, "new": NEW}.items():
        monkeypatch.setattr(schemes, "read_cpu_flags", lambda flags=flags: frozenset(flags))
        assert describe("ort-u8s8")["reduce_range"] is (name == "old")  # so it is in the cache's key
        (tmp_path / name).mkdir()
        made = quantize(float_models["yolov8n"][0], "ort-u8s8", calibration, adapter, tmp_path / name)
        weights = [
            numpy_helper.to_array(tensor).astype(int)
            for tensor in Graph(made.path).weights.values()
            if tensor.data_type == TensorProto.INT8 and len(tensor.dims) == 4
        ]
        largest[name] = max(int(np.abs(values).max()) for values in weights)
    assert largest == {"old": 64, "new": 127}


def test_what_the_guard_keeps_gets_sixteen_bits_on_hexagon_and_nothing_else(
    float_models: dict[str, tuple[Artifact, ExportCheck]], calibration: CalibrationSet, tmp_path: Path
) -> None:
    (model, _), kept = float_models["yolov8n"], ["/model.4/cv2/conv/Conv"]
    made = quantize(model, "qnn-u8s8", calibration, adapter, tmp_path, keep=kept)
    graph = Graph(made.path)
    (node,) = (node for node in graph.of("Conv") if node.name in kept)
    around = [graph.dequantized(node.input[0]), *graph.consumers(node.output[0])]
    assert {graph.weights[pair.input[2]].data_type for pair in around} == {TensorProto.UINT16}
    kinds = Counter(graph.weights[pair.input[2]].data_type for pair in graph.of("QuantizeLinear"))
    assert 1 < kinds[TensorProto.UINT16] < 10 < kinds[TensorProto.UINT8]
    image = np.random.default_rng(0).random((1, 3, 64, 64), dtype=np.float32)
    (found,) = onnxruntime.InferenceSession(made.path, providers=["CPUExecutionProvider"]).run(
        None, {"images": image}
    )
    assert np.isfinite(found).all()
