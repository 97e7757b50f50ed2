"""Cross-layer equalisation: channels of one range, where an activation lets scales through.

Source: M. Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction", ICCV 2019,
arXiv 1906.04721, section 4.1. relu(s x) = s relu(x) for s > 0, so an output channel of a convolution may be
divided by any such s when the weights that read it are multiplied by it. SiLU is no such function.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper

HOMOGENEOUS: Final = frozenset({"Relu", "LeakyRelu"})
"""Activations f with f(s x) = s f(x) for every s > 0."""
_ROUNDS, _SETTLED = 20, 1.01  # in a chain of pairs, each moves its neighbours

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class ConvPair:
    """Two convolutions with nothing but a homogeneous activation between them, read by nobody else."""

    first: onnx.NodeProto
    second: onnx.NodeProto


def equalise(model: onnx.ModelProto) -> int:
    """Rescale the weights of a float network in place; it computes the same function.

    With r the largest absolute weight of a channel, in the first convolution's output and in the second one's
    input: s = sqrt(r_first / r_second), which makes the two equal.

    Returns:
        How many pairs of convolutions were rescaled.
    """
    graph = model.graph
    weights = {tensor.name: tensor for tensor in graph.initializer}
    pairs = find_pairs(graph)
    arrays = {
        name: np.array(numpy_helper.to_array(weights[name]))
        for pair in pairs
        for name in (*pair.first.input[1:], pair.second.input[1])
    }
    for _ in range(_ROUNDS):
        if max((_rescale(pair, arrays) for pair in pairs), default=1.0) < _SETTLED:
            break
    for name, values in arrays.items():
        weights[name].CopyFrom(numpy_helper.from_array(values, name))
    return len(pairs)


def find_pairs(graph: onnx.GraphProto) -> list[ConvPair]:
    """Return the pairs of convolutions that can be equalised, in the order of the graph."""
    weights = {tensor.name for tensor in graph.initializer}
    uses = Counter(name for node in graph.node for name in node.input)
    uses.update(value.name for value in graph.output)
    reader = {name: node for node in graph.node for name in node.input}
    pairs = []
    for first in graph.node:
        if first.op_type != "Conv" or uses[first.output[0]] != 1:
            continue
        between = reader.get(first.output[0])
        if between is None or between.op_type not in HOMOGENEOUS or uses[between.output[0]] != 1:
            continue
        second = reader.get(between.output[0])
        if second is None or second.op_type != "Conv" or second.input[0] != between.output[0]:
            continue
        own = all(name in weights and uses[name] == 1 for name in (*first.input[1:], *second.input[1:]))
        if own and _groups(second) in {1, _outputs(graph, first)}:
            pairs.append(ConvPair(first, second))
    return pairs


def _rescale(pair: ConvPair, arrays: dict[str, Array]) -> float:
    """Equalise one pair and return the largest factor by which a channel was scaled, at least 1."""
    first, second = arrays[pair.first.input[1]], arrays[pair.second.input[1]]
    axis = 1 if _groups(pair.second) == 1 else 0  # a depthwise kernel has its channels in front
    made = np.abs(first).max(axis=(1, 2, 3))
    read = np.abs(second).max(axis=tuple({0, 1, 2, 3} - {axis}))
    alive = (made > 0) & (read > 0)
    factor = np.ones_like(made)
    factor[alive] = np.sqrt(made[alive] / read[alive])
    first /= factor[:, None, None, None]
    for bias in pair.first.input[2:]:
        arrays[bias] /= factor
    second *= np.expand_dims(factor, tuple({0, 1, 2, 3} - {axis}))
    return float(np.maximum(factor, 1 / factor).max())


def _groups(node: onnx.NodeProto) -> int:
    return next((int(entry.i) for entry in node.attribute if entry.name == "group"), 1)


def _outputs(graph: onnx.GraphProto, node: onnx.NodeProto) -> int:
    return next(int(tensor.dims[0]) for tensor in graph.initializer if tensor.name == node.input[1])
