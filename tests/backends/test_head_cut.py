"""A graph cut in two computes the same as whole, wherever its end may begin."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgeprune.adapters.ultralytics import detect as adapter
from edgeprune.backends.head_cut import is_plain, split, tail_of
from edgeprune.core.artifact import Artifact
from edgeprune.records.summary import ExportCheck


def _run(model: onnx.ModelProto, given: dict[str, np.ndarray]) -> list[np.ndarray]:
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return list(session.run(None, given))


def test_the_decode_of_a_detector_is_cut_off_at_its_last_convolutions(
    float_models: dict[str, tuple[Artifact, ExportCheck]],
) -> None:
    model = onnx.load(float_models["yolov8n"][0].path)
    decode = set(adapter.float_nodes([node.name for node in model.graph.node]))
    body, tail = split(model, tail_of(model, lambda node: node.name in decode))
    assert tail is not None
    assert [value.name.split("/")[3] for value in body.graph.output] == [
        *(f"cv2.{scale}.2" for scale in range(3)),
        *(f"cv3.{scale}.2" for scale in range(3)),
    ]
    image = np.random.default_rng(0).random((1, 3, 64, 64), dtype=np.float32)
    names = [value.name for value in body.graph.output]
    between = dict(zip(names, _run(body, {"images": image}), strict=True))
    (found,), (wanted,) = _run(tail, between), _run(model, {"images": image})
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-4)


def _model(nodes: list[onnx.NodeProto], outputs: list[str]) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "three",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, (1, 4))],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, (1, 4)) for name in outputs],
        [numpy_helper.from_array(np.float32([1, 2, 3, 4]), "weight")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.mark.parametrize("last", ["c", "b", "a"])
def test_what_both_parts_read_stands_in_both_and_every_output_stays(last: str) -> None:
    """Weights, the image itself, and an output from the middle of the graph."""
    nodes = [
        helper.make_node("Add", ["images", "weight"], ["x"], "a"),
        helper.make_node("Mul", ["x", "weight"], ["y"], "b"),
        helper.make_node("Sub", ["y", "images"], ["z"], "c"),
    ]
    model = _model(nodes, ["x", "z"])
    allowed = {"a", "b", "c"} if last == "a" else {"b", "c"} if last == "b" else {"c"}
    body, tail = split(model, tail_of(model, lambda node: node.name in allowed))
    image = np.float32([[0.5, 1, 1.5, 2]])
    found = dict(zip([one.name for one in body.graph.output], _run(body, {"images": image}), strict=True))
    if tail:
        given = {one.name: (found | {"images": image})[one.name] for one in tail.graph.input}
        found |= dict(zip([one.name for one in tail.graph.output], _run(tail, given), strict=True))
    x, z = _run(model, {"images": image})
    np.testing.assert_array_equal(found["x"], x)
    np.testing.assert_array_equal(found["z"], z)
    assert (tail is None) == (last == "a"), "nothing is cut where nothing would be left"


def test_a_node_that_the_body_reads_is_no_part_of_the_tail() -> None:
    nodes = [
        helper.make_node("Add", ["images", "weight"], ["x"], "a"),
        helper.make_node("Mul", ["x", "weight"], ["y"], "b"),
    ]
    model = _model(nodes, ["y"])
    assert tail_of(model, lambda node: node.name == "a") == []
    assert all(is_plain(node) for node in model.graph.node)
