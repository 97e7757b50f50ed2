"""Networks as a stranger may send them: valid files that never end, or ask for all there is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx
from onnx import TensorProto, helper

IMAGE = helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, 32, 32])


def write_network(
    path: Path, nodes: list[Any], shape: list[Any] | None, kind: int = TensorProto.FLOAT
) -> Path:
    """Write a network of an image with the one output ``out``."""
    out = helper.make_tensor_value_info("out", kind, shape)
    graph = helper.make_graph(nodes, "hostile", [IMAGE], [out])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, path)
    return path


def constant(name: str, values: list[int]) -> Any:
    tensor = helper.make_tensor(name, TensorProto.INT64, [len(values)], values)
    return helper.make_node("Constant", [], [name], value=tensor)


def write_endless(path: Path) -> Path:
    """Write a Loop of 2^62 rounds."""
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["on"]), helper.make_node("Sin", ["x"], ["y"])],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 32, 32]),
        ],
        [
            helper.make_tensor_value_info("on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 3, 32, 32]),
        ],
    )
    rounds = helper.make_tensor("rounds", TensorProto.INT64, [], [1 << 62])
    loop = helper.make_node("Loop", ["rounds", "", "images"], ["out"], body=body)
    nodes = [helper.make_node("Constant", [], ["rounds"], value=rounds), loop]
    return write_network(path, nodes, [1, 3, 32, 32])


def write_expanded(path: Path, sides: list[int]) -> Path:
    """Write one whose output has the shape `sides`."""
    nodes = [
        helper.make_node("ReduceMean", ["images"], ["mean"], keepdims=0),
        constant("sides", sides),
        helper.make_node("Expand", ["mean", "sides"], ["out"]),
    ]
    return write_network(path, nodes, sides)
