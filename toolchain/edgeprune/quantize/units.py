"""What can be int8 or float on its own: a convolution with what is fused to it, or one operator of the rest.

`only_int8` takes a whole Q/DQ graph apart again: the same ranges and weights as in the artifact, so one
calibration serves every layer.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

# Operators whose output depends on one value each, or that only move values: no runtime gives them a
# precision other than that of what they follow.
FUSED = frozenset(
    ("Sigmoid", "Mul", "Relu", "LeakyRelu", "Clip", "HardSwish", "HardSigmoid", "PRelu", "BatchNormalization")
)
MOVES = frozenset(
    ("MaxPool", "Resize", "Reshape", "Transpose", "Slice", "Split", "Squeeze", "Unsqueeze", "Flatten")
)
WEIGHTED = frozenset(("Conv", "ConvTranspose", "Gemm", "MatMul"))
Q, DQ = "QuantizeLinear", "DequantizeLinear"
SAME = 0.1
"""A dequantized weight this near to the float one, relative L2, is that weight rounded."""


@dataclass(frozen=True)
class Unit:
    """A layer that has one precision.

    Attributes:
        name: of its first node: the convolution, or the operator itself.
        nodes: names of all its nodes in the float ONNX file.
    """

    name: str
    nodes: tuple[str, ...]


def units_of(model: onnx.ModelProto) -> tuple[Unit, ...]:
    """Return the units of a float graph in its order; together they hold every node that computes."""
    constant = {tensor.name for tensor in model.graph.initializer}
    owner: dict[str, int] = {}
    members: list[list[str]] = []
    weighted: list[bool] = []
    for node in model.graph.node:
        if node.op_type == "Constant" or all(name in constant for name in node.input):
            constant.update(node.output)
            continue
        sources = {owner.get(name) for name in node.input if name and name not in constant}
        source = sources.pop() if len(sources) == 1 else None
        joins = node.op_type in MOVES or (node.op_type in FUSED and source is not None and weighted[source])
        if source is None or not joins:
            source = len(members)
            members.append([])
            weighted.append(node.op_type in WEIGHTED)
        members[source].append(node.name)
        owner.update(dict.fromkeys(node.output, source))
    return tuple(Unit(nodes[0], tuple(nodes)) for nodes in members)


def int8_units(units: Sequence[Unit], graph: onnx.GraphProto) -> tuple[Unit, ...]:
    """Return those units that a Q/DQ graph gives the precision of: they read or write a quantized tensor."""
    read = {name for node in graph.node if node.op_type == DQ for name in node.output}
    written = {node.input[0] for node in graph.node if node.op_type == Q}
    touched = {
        node.name
        for node in graph.node
        if node.op_type not in (Q, DQ)
        and (read.intersection(node.input) or written.intersection(node.output))
    }
    return tuple(unit for unit in units if touched.intersection(unit.nodes))


def only_int8(
    model: onnx.ModelProto, floats: Mapping[str, np.ndarray[Any, Any]], unit: Unit
) -> onnx.ModelProto:
    """Return a Q/DQ graph in which everything but one unit computes in float.

    Args:
        floats: weights and constants of the float graph by name, see `constants_of`. A weight that a scheme
            changed before it rounded it stays as it was rounded.
    """
    graph = model.graph
    own = frozenset(unit.nodes)
    stored = {tensor.name: tensor for tensor in graph.initializer}
    quantizers = {node.output[0]: node for node in graph.node if node.op_type == Q}
    makers = {name: node.name for node in graph.node for name in node.output}
    replaced: dict[str, str] = {}  # a dequantized tensor -> the float one that others read instead of it
    weights: dict[str, onnx.TensorProto] = {}
    for node in graph.node:
        if node.op_type != DQ:
            continue
        dequantized = node.output[0]
        if (source := quantizers.get(node.input[0])) is not None:
            if makers.get(source.input[0]) not in own:
                replaced[dequantized] = source.input[0]
        elif node.input[0] in stored:
            value = _float_weight(node, stored, floats)
            replaced[dequantized] = name = f"{dequantized}_float"
            weights[name] = numpy_helper.from_array(value, name)
    return _rewired(model, own, replaced, weights)


def _rewired(
    model: onnx.ModelProto,
    own: Collection[str],
    replaced: Mapping[str, str],
    weights: Mapping[str, onnx.TensorProto],
) -> onnx.ModelProto:
    """Let all nodes but a unit's own read the float tensors; nodes that nobody reads any more are dropped."""
    outputs = {value.name for value in model.graph.output}
    nodes: list[onnx.NodeProto] = []
    for node in model.graph.node:
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        if node.name not in own and node.op_type != DQ:
            copy.input[:] = [replaced.get(name, name) for name in node.input]
        nodes.append(copy)
    # An output of the graph that comes out of a pair in float keeps its name.
    for name in outputs & set(replaced):
        nodes = [node for node in nodes if name not in node.output]
        nodes.append(onnx.helper.make_node("Identity", [replaced[name]], [name], name=f"{name}_identity"))
    kept = _reaching(nodes, outputs)
    needed = {name for node in kept for name in node.input} | outputs
    known = [tensor for tensor in model.graph.initializer if tensor.name in needed]
    graph = onnx.helper.make_graph(
        kept,
        model.graph.name,
        model.graph.input,
        model.graph.output,
        [*known, *(tensor for name, tensor in weights.items() if name in needed)],
    )
    return onnx.helper.make_model(graph, opset_imports=model.opset_import, ir_version=model.ir_version)


def _reaching(nodes: Sequence[onnx.NodeProto], outputs: Collection[str]) -> list[onnx.NodeProto]:
    """Return the nodes that outputs need, in their order."""
    needed, kept = set(outputs), []
    for node in reversed(nodes):
        if needed.intersection(node.output):
            needed.update(node.input)
            kept.append(node)
    return kept[::-1]


def constants_of(model: onnx.ModelProto) -> dict[str, np.ndarray[Any, Any]]:
    """Return every weight and constant of a graph by the name of its tensor."""
    values = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    for node in model.graph.node:
        for entry in node.attribute if node.op_type == "Constant" else ():
            if entry.name == "value":
                values[node.output[0]] = numpy_helper.to_array(entry.t)
    return values


def _float_weight(
    node: onnx.NodeProto,
    stored: Mapping[str, onnx.TensorProto],
    floats: Mapping[str, np.ndarray[Any, Any]],
) -> np.ndarray[Any, Any]:
    """Return what a weight was before it was rounded; a bias loses nothing that counts in int32."""
    rounded, scale, *rest = (numpy_helper.to_array(stored[name]) for name in node.input)
    axis = next((entry.i for entry in node.attribute if entry.name == "axis"), 1)
    shape = (
        [-1 if index == axis % rounded.ndim else 1 for index in range(rounded.ndim)] if scale.size > 1 else []
    )
    zero = rest[0].astype(np.float32) if rest else np.float32(0)
    value = (rounded.astype(np.float32) - zero.reshape(shape or zero.shape)) * scale.reshape(
        shape or scale.shape
    )
    value = np.asarray(value, dtype=np.float32)
    found = floats.get(node.input[0].removesuffix("_quantized"))
    if found is None or found.shape != value.shape:
        return value
    near = np.linalg.norm(value - found) <= SAME * np.linalg.norm(found)
    return np.asarray(found, dtype=np.float32) if near else value
