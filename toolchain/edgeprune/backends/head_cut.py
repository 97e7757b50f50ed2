"""An ONNX graph cut in two where its float end begins: the NPU computes the body, the CPU decodes.

The end of a detector joins boxes of up to 640 pixels and scores of up to 1 in one tensor. Under one int8
scale every score would be 0, so vendors' own model zoos cut there as well.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import onnx

QUANTIZE, DEQUANTIZE = "QuantizeLinear", "DequantizeLinear"
MARKERS = (QUANTIZE, DEQUANTIZE)
"""Operators that only tell where integers begin and end."""


def tail_of(model: onnx.ModelProto, may_belong: Callable[[Any], bool]) -> list[onnx.NodeProto]:
    """Return the end of a graph, in its order: nodes that may belong to it and that only its nodes read.

    Args:
        may_belong: whether a node may be computed on the CPU.
    """
    readers: dict[str, set[int]] = {}
    for index, node in enumerate(model.graph.node):
        for name in node.input:
            readers.setdefault(name, set()).add(index)
    found: set[int] = set()
    for index in reversed(range(len(model.graph.node))):  # the nodes stand in topological order
        node = model.graph.node[index]
        read_by = set().union(*(readers.get(name, set()) for name in node.output))
        if may_belong(node) and read_by <= found:
            found.add(index)
    return [model.graph.node[index] for index in sorted(found)]


def is_plain(node: onnx.NodeProto) -> bool:
    """Tell whether a node neither quantizes nor dequantizes."""
    return node.op_type not in MARKERS


def split(
    model: onnx.ModelProto, tail: list[onnx.NodeProto]
) -> tuple[onnx.ModelProto, onnx.ModelProto | None]:
    """Return the body of a graph, and its tail as a graph of its own, None where there is no tail.

    The body's outputs are the tail's inputs. What both read of constants stands in both.

    Args:
        tail: what `tail_of` returned for this model.
    """
    import onnx

    inside = {name for node in tail for name in node.output}
    body = [node for node in model.graph.node if inside.isdisjoint(node.output)]
    if not tail:
        return model, None
    if not any(is_plain(node) for node in body):
        return model, None  # nothing would be left for the NPU
    made = {name: node for node in body for name in node.output}
    constants = [made[name] for name in _read_by(tail) if name in made and made[name].op_type == "Constant"]
    border = [name for name in _read_by(tail) if name in made and made[name].op_type != "Constant"]
    images = {value.name for value in model.graph.input}
    border += [name for name in _read_by(tail) if name in images]
    ends = [value.name for value in model.graph.output if value.name in made]
    values = {value.name: value for value in onnx.shape_inference.infer_shapes(model).graph.value_info}
    values |= {value.name: value for value in (*model.graph.input, *model.graph.output)}
    for (
        name
    ) in border:  # ONNX infers nothing behind the 16-bit pairs, which are ONNX Runtime's own before opset 21
        values.setdefault(name, onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None))
    outputs = [values[name] for name in dict.fromkeys([*border, *ends]) if name not in images]
    first = _graph(model, body, list(model.graph.input), outputs)
    unread = [value for value in model.graph.output if value.name not in made]
    rest = _graph(model, [*constants, *tail], [values[name] for name in border], unread)
    return first, rest


def _read_by(nodes: list[onnx.NodeProto]) -> list[str]:
    return list(dict.fromkeys(name for node in nodes for name in node.input if name))


def _graph(
    model: onnx.ModelProto, nodes: list[Any], inputs: list[Any], outputs: list[Any]
) -> onnx.ModelProto:
    import onnx

    read = set(_read_by(nodes)) | {value.name for value in outputs}
    weights = [tensor for tensor in model.graph.initializer if tensor.name in read]
    graph = onnx.helper.make_graph(nodes, model.graph.name, inputs, outputs, weights)
    made = onnx.helper.make_model(graph, opset_imports=model.opset_import, ir_version=model.ir_version)
    onnx.helper.set_model_props(made, {entry.key: entry.value for entry in model.metadata_props})
    return made
