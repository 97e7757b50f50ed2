"""A copy of an ONNX file that computes the same, some per cent slower: to see the gate catch it.

    python benchmarks/slowed_copy.py build/best/model.onnx slow.onnx --layers 5
    edgeprune check --baseline build/best/model.onnx --candidate slow.onnx --target x86-ort

Some convolutions are run a second time with half their weights, and a vanishing share of their mean is added
to the output, so that no runtime can drop them.
"""

from __future__ import annotations

import argparse
import copy
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper

_VANISHING = 1e-12


def main() -> None:
    """Write the copy."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source", type=Path)
    parser.add_argument("copy", type=Path)
    parser.add_argument("--layers", type=int, default=5, help="convolutions to run twice")
    options = parser.parse_args()
    onnx.save(slowed(onnx.load(options.source), options.layers), options.copy)


def slowed(model: onnx.ModelProto, layers: int) -> onnx.ModelProto:
    """Return the model with some convolutions run twice; its first output changes by about nothing."""
    graph = model.graph
    weights = {tensor.name: tensor for tensor in graph.initializer}
    output = graph.output[0].name
    for node in graph.node:
        for index, name in enumerate(node.output):
            if name == output:
                node.output[index] = "whole"
    means = []
    for index, conv in enumerate([node for node in graph.node if node.op_type == "Conv"][1 : layers + 1]):
        again = copy.deepcopy(conv)
        again.name, again.output[0], again.input[1] = (f"again{index}{part}" for part in ("", "_out", "_w"))
        half = numpy_helper.to_array(weights[conv.input[1]]) * np.float32(0.5)
        graph.initializer.append(numpy_helper.from_array(half, again.input[1]))
        means.append(f"mean{index}")
        graph.node.extend([again, helper.make_node("ReduceMean", [again.output[0]], [means[-1]], keepdims=0)])
    graph.initializer.append(numpy_helper.from_array(np.float32(_VANISHING), "vanishing"))
    graph.node.extend(
        [
            helper.make_node("Sum", means, ["extra"]),
            helper.make_node("Mul", ["extra", "vanishing"], ["extra_small"]),
            helper.make_node("Add", ["whole", "extra_small"], [output]),
        ]
    )
    return model


if __name__ == "__main__":
    main()
