"""Activation ranges, read input by input: never more than one input's tensors are in memory.

The network runs on ONNX Runtime as it is written, without optimisation, its tensors being outputs as well.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy.typing as npt
import onnx
from onnx import TensorProto

from edgeprune.core.documents import read_record
from edgeprune.core.errors import CompileError, OutputError
from edgeprune.core.files import write_text_atomically
from edgeprune.images.answers import load_batches
from edgeprune.quantize import CalibrationSet
from edgeprune.quantize.bias import ChannelMean, map_kernels
from edgeprune.quantize.ranges import METHODS, Range
from edgeprune.quantize.schemes import QdqScheme


@dataclass(frozen=True)
class Table:
    """What calibration has found, by name of the tensor.

    Attributes:
        ranges: (low, high) of each activation.
        means: mean of each channel of what convolutions read; empty where no bias is corrected.
    """

    ranges: dict[str, Range]
    means: dict[str, list[float]]


def calibrated_tensors(model: onnx.ModelProto, rules: QdqScheme, operators: Collection[str]) -> list[str]:
    """Return the float activations that Q/DQ may stand at, of a graph with inferred types, in its order.

    Args:
        operators: the operator types that are quantized.
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


class Statistic(Protocol):
    """What is kept of a tensor over all images."""

    def add(self, values: npt.NDArray[Any]) -> None:
        """Take in the tensor of one input; a ValueError tells what is wrong with it."""
        ...


def observe(
    model: onnx.ModelProto, tensors: Mapping[str, Sequence[Statistic]], calibration: CalibrationSet
) -> None:
    """Run every image through the network and show each tensor to its statistics.

    Raises:
        CompileError: a statistic refuses a tensor, since it holds NaN or infinite values.
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
    options.log_severity_level = 3  # errors come as exceptions
    session = ort.InferenceSession(watched.SerializeToString(), options, providers=["CPUExecutionProvider"])
    computed = [name for name in tensors if name not in inputs]
    batch = calibration.spec.batch
    for index, tensor in enumerate(load_batches(calibration.images, calibration.spec)):
        image, values = calibration.images[index * batch], {inputs[0]: tensor}
        values |= dict(zip(computed, session.run(computed, values), strict=True))
        for name, statistics in tensors.items():
            for statistic in statistics:
                try:
                    statistic.add(values[name])
                except ValueError as exc:
                    which = "this image" if batch == 1 else f"this image or one of the {batch - 1} behind it"
                    raise CompileError(f"{image}: with {which}, tensor {name!r} holds {exc}") from exc


def measure_ranges(
    model: onnx.ModelProto, tensors: Collection[str], symmetric: bool, calibration: CalibrationSet
) -> Table:
    """Return the ranges of tensors by the calibration's method, and the means that a correction needs.

    Raises:
        CompileError: a tensor holds NaN or infinite values.
        DataError: an image cannot be read.
    """
    method = METHODS[calibration.method or "minmax"]
    seen = {name: method.statistic() for name in tensors}
    read = dict.fromkeys(map_kernels(model).values()) if calibration.correct_bias else {}
    means = {name: ChannelMean() for name in read}
    watched: dict[str, list[Statistic]] = {name: [statistic] for name, statistic in seen.items()}
    for name, mean in means.items():
        watched.setdefault(name, []).append(mean)
    observe(model, watched, calibration)
    return Table(
        {name: method.range(statistic, symmetric) for name, statistic in seen.items()},
        {name: mean.mean for name, mean in means.items()},
    )


def write_table(table: Table, path: Path) -> Path:
    """Write a table as JSON."""
    write_text_atomically(path, json.dumps(asdict(table), indent=1) + "\n")
    return path


def read_table(path: Path) -> Table:
    """Read a table that `write_table` has written.

    Raises:
        OutputError: it is damaged.
    """
    return read_record(Table, path, OutputError)
