"""Activation ranges, read image by image: never more than one image's tensors are in memory.

The network runs on ONNX Runtime as it is written, without optimisation, its tensors being outputs as well.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path

import onnx
from onnx import TensorProto

from edgeprune.artifact import write_text_atomically
from edgeprune.errors import CompileError
from edgeprune.preprocess import load_input
from edgeprune.quantize import CalibrationSet
from edgeprune.quantize.histogram import Extent
from edgeprune.quantize.ranges import METHODS, Range
from edgeprune.quantize.schemes import QdqScheme

Ranges = dict[str, Range]
"""(low, high) of each tensor, by its name."""


def calibrated_tensors(model: onnx.ModelProto, rules: QdqScheme, operators: Collection[str]) -> list[str]:
    """Return the float activations that Q/DQ may stand at, of a graph with inferred types, in its order.

    Args:
        operators: the operator types that are quantised.
    """
    graph = model.graph
    known = [*graph.input, *graph.value_info, *graph.output]
    floats = {value.name for value in known if value.type.tensor_type.elem_type == TensorProto.FLOAT}
    floats -= {weight.name for weight in graph.initializer}
    touched = dict.fromkeys(
        name
        for node in graph.node
        if node.op_type in operators
        for name in (*node.input, *(node.output if rules.outputs else ()))
    )
    return [name for name in touched if name in floats]


def observe(
    model: onnx.ModelProto, tensors: Collection[str], calibration: CalibrationSet
) -> dict[str, Extent]:
    """Run every image through the network and return what the method keeps of each tensor.

    Raises:
        CompileError: a tensor holds NaN or infinite values.
        DataError: an image cannot be read.
    """
    import onnxruntime as ort

    watched = onnx.ModelProto()
    watched.CopyFrom(model)
    outputs = {value.name for value in model.graph.output}
    inputs = [value.name for value in model.graph.input]
    watched.graph.output.extend(
        onnx.helper.make_tensor_value_info(name, TensorProto.FLOAT, None)
        for name in tensors
        if name not in outputs and name not in inputs
    )
    options = ort.SessionOptions()
    # Optimised graphs have lost the tensors that are asked for.
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(watched.SerializeToString(), options, providers=["CPUExecutionProvider"])
    seen = {name: METHODS[calibration.method].statistic() for name in tensors}
    computed = [name for name in tensors if name not in inputs]
    for image in calibration.images:
        values = {inputs[0]: load_input(image, calibration.spec)[0]}
        values |= dict(zip(computed, session.run(computed, values), strict=True))
        for name, statistic in seen.items():
            try:
                statistic.add(values[name])
            except ValueError as exc:
                raise CompileError(f"{image}: with this image, tensor {name!r} holds {exc}") from exc
    return seen


def ranges_of(seen: dict[str, Extent], method: str, symmetric: bool) -> Ranges:
    """Return the range of every tensor by a calibration method."""
    return {name: METHODS[method].range(statistic, symmetric) for name, statistic in seen.items()}


def write_ranges(ranges: Ranges, path: Path) -> Path:
    """Write a table of ranges as JSON, from tensor to [low, high]."""
    write_text_atomically(path, json.dumps(ranges, indent=1) + "\n")
    return path


def read_ranges(path: Path) -> Ranges:
    """Read a table that `write_ranges` has written."""
    return {name: (low, high) for name, (low, high) in json.loads(path.read_text(encoding="utf-8")).items()}
