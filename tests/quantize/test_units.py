"""Layers of a float graph, and a Q/DQ graph with only one of them in int8."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from edgeprune.core.artifact import Artifact
from edgeprune.images.dataset import Dataset
from edgeprune.images.heads import HEADS
from edgeprune.images.heads.values import error as output_error
from edgeprune.images.postprocess import detector
from edgeprune.images.preprocess import Preprocess, load_input
from edgeprune.quantize import CalibrationSet, quantize
from edgeprune.quantize.units import Unit, constants_of, int8_units, only_int8, units_of
from edgeprune.records.summary import ExportCheck


@pytest.fixture(scope="module")
def whole(
    float_models: dict[str, tuple[Artifact, ExportCheck]],
    tiny: Dataset,
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[onnx.ModelProto, onnx.ModelProto]:
    """Return yolov8n in float and in S8S8 with its decode in int8 as well."""
    calibration = CalibrationSet(tiny.images["train"][:4], Preprocess(64))
    out = tmp_path_factory.mktemp("whole")
    found = quantize(float_models["yolov8n"][0], "ort-s8s8", calibration, None, out)
    return onnx.load(float_models["yolov8n"][0].path), onnx.load(found.path)


def run(model: onnx.ModelProto, images: list[np.ndarray]) -> list[list[np.ndarray]]:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return [session.run(None, {"images": image}) for image in images]


def test_units_are_disjoint_and_hold_an_activation_with_its_convolution(
    whole: tuple[onnx.ModelProto, onnx.ModelProto],
) -> None:
    original, model = whole
    units = units_of(original)
    names = [node for unit in units for node in unit.nodes]
    assert len(names) == len(set(names))
    assert {node.name for node in original.graph.node if node.op_type == "Conv"} <= {u.name for u in units}
    first = units[0]
    assert first.nodes == ("/model.0/conv/Conv", "/model.0/act/Sigmoid", "/model.0/act/Mul")
    found = int8_units(units, model.graph)
    decode = [unit for unit in found if unit.name.startswith("/model.22/Concat")]
    assert decode, "the decode is int8 here, so its layers can be told apart"


def test_no_unit_in_int8_is_the_float_network_and_the_joined_output_ruins_the_scores(
    whole: tuple[onnx.ModelProto, onnx.ModelProto], tiny: Dataset
) -> None:
    """The trap of the head: one int8 scale over boxes in pixels and scores below 1 makes every score 0."""
    original, model = whole
    images = [load_input(path, Preprocess(64))[0] for path in tiny.images["val"][:2]]
    floats, reference = constants_of(original), run(original, images)
    same = run(only_int8(model, floats, Unit("none", ())), images)
    assert max(output_error(a, b) for a, b in zip(same, reference, strict=True)) < 1e-4
    units = int8_units(units_of(original), model.graph)
    last = original.graph.node[-1]
    errors = {}
    for unit in (units[0], next(unit for unit in units if last.name in unit.nodes)):
        part = only_int8(model, floats, unit)
        kept = {node.name for node in part.graph.node if node.op_type == "DequantizeLinear"}
        assert 0 < len(kept) < 8
        outputs = run(part, images)
        errors[unit.name] = np.mean([output_error(a, b) for a, b in zip(outputs, reference, strict=True)])
    assert 0 < errors[units[0].name] < 0.2 < errors[last.name]


def test_a_scheme_that_changed_a_weight_keeps_it_as_it_was_rounded(
    whole: tuple[onnx.ModelProto, onnx.ModelProto],
) -> None:
    original, model = whole
    floats = {name: value * 3 for name, value in constants_of(original).items()}
    part = only_int8(model, floats, Unit("none", ()))
    stored = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in part.graph.initializer}
    name = "model.0.conv.weight"
    found = next(value for key, value in stored.items() if key.startswith(name) and key.endswith("_float"))
    exact = constants_of(original)[name]
    assert 0 < np.linalg.norm(found - exact) < 0.1 * np.linalg.norm(exact)


def test_the_error_of_scores_shows_beside_boxes_in_pixels() -> None:
    wanted = np.concatenate([np.full((1, 4, 100), 200.0), np.full((1, 2, 100), 0.5)], axis=1)
    lost = wanted.copy()
    lost[:, 4:] = 0
    assert output_error([lost], [wanted]) == pytest.approx(2 / 6)
    assert output_error([lost.swapaxes(1, 2)], [wanted.swapaxes(1, 2)]) == pytest.approx(2 / 6)
    assert output_error([wanted[:, 0] * 1.1], [wanted[:, 0]]) == pytest.approx(0.1)


def test_two_pixels_weigh_more_in_a_small_box_that_is_seen() -> None:
    """Columns of (x, y, w, h, score): a small object, a large one, and an anchor that sees nothing."""
    wanted = np.array([[50, 50, 10, 10, 0.9], [200, 200, 100, 100, 0.9], [120, 9, 10, 10, 0.001]]).T[None]
    post = detector(("cell",), end2end=False)

    def error(column: int, row: int, by: float) -> float:
        moved = wanted.copy()
        moved[0, row, column] += by
        return HEADS[post.head].error([moved], [wanted], post)

    assert HEADS[post.head].error([wanted], [wanted], post) == pytest.approx(0)
    assert error(0, 0, 2) == pytest.approx((1 - 80 / 120) / 4, rel=1e-3)  # half the weight, half the error
    assert error(2, 0, 2) < 1e-5 < error(1, 0, 2) < error(0, 0, 2)
    assert error(0, 4, -0.9) > 0.3 > error(2, 4, 0.1)
    assert HEADS["scores"].error([wanted[0] * 1.1], [wanted[0]], post) == pytest.approx(0.1)


def test_a_node_of_an_engine_counts_for_the_layer_that_it_was_made_of() -> None:
    from edgeprune.bench.node_times import NodeTime
    from edgeprune.pipeline.sensitivity import unit_ms

    def node(name: str, *layers: str) -> NodeTime:
        return NodeTime(name, "Conv", "", "int8", layers, (), (), 1.0)

    units = (Unit("/a/Add", ("/a/Add",)), Unit("/a/Add_1", ("/a/Add_1", "/a/Mul")))
    nodes = [node("/a/Add_1_token_7"), node("Reorder"), node("fused", "/a/Mul/fq"), node("/a/Add_nchwc")]
    assert unit_ms(nodes, units) == {"/a/Add": 1.0, "/a/Add_1": 2.0}


def test_unknown_paths_are_no_units(tmp_path: Path, convnet: Path) -> None:
    units = units_of(onnx.load(convnet))
    assert int8_units(units, onnx.load(convnet).graph) == ()
