"""A copy of an ONNX file that computes the same, some per cent slower: to see the gate catch it.

    python benchmarks/slowed_copy.py build/best/model.onnx slow.onnx --work .055
    edgeprune check --baseline build/best/model.onnx --candidate slow.onnx --target x86-ort

Some convolutions are run a second time with half their weights, and a vanishing share of their mean is added
to the output, so that no runtime can drop them. Time grows a little more than work does: each of them is a
layer of its own, whose mean has to be taken.
"""

from __future__ import annotations

import argparse
import copy
import math
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper

WORK = 0.055
_VANISHING = 1e-12


def main() -> None:
    """Write the copy."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source", type=Path)
    parser.add_argument("copy", type=Path)
    parser.add_argument("--work", type=float, default=WORK, help="multiply-adds to add, of those it has")
    options = parser.parse_args()
    onnx.save(slowed(onnx.load(options.source), options.work), options.copy)


def slowed(model: onnx.ModelProto, work: float = WORK) -> onnx.ModelProto:
    """Return the model with a share of its multiply-adds done twice; its outputs hardly change."""
    twice = chosen(model, work)
    graph = model.graph
    weights = {tensor.name: tensor for tensor in graph.initializer}
    output = graph.output[0].name
    for node in graph.node:
        for index, name in enumerate(node.output):
            if name == output:
                node.output[index] = "whole"
    means = []
    for index, conv in enumerate(twice):
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


def chosen(model: onnx.ModelProto, work: float) -> list[onnx.NodeProto]:
    """Return the first convolutions that together do that share of all multiply-adds, or a little less."""
    inferred = onnx.shape_inference.infer_shapes(model).graph
    sizes = {
        value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in (*inferred.value_info, *inferred.output)
    }
    weights = {tensor.name: math.prod(tensor.dims) for tensor in model.graph.initializer}
    convs = [node for node in model.graph.node if node.op_type == "Conv"]
    macs = [weights[conv.input[1]] * math.prod(sizes[conv.output[0]][2:]) for conv in convs]
    left = work * sum(macs)
    twice = []
    for conv, own in list(zip(convs, macs, strict=True))[1:]:  # the first one's input is the largest of all
        if own <= left:
            twice.append(conv)
            left -= own
    if not twice:
        raise SystemExit(f"no convolution of {model.graph.name} is as small as {work:.0%} of the work")
    return twice


if __name__ == "__main__":
    main()
