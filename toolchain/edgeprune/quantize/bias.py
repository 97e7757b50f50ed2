"""Bias correction: what rounding the weights adds to a channel on average is taken off its bias.

Source: M. Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction", ICCV 2019,
arXiv 1906.04721, section 4.2, with the expectation of each input measured on the calibration images.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import numpy_helper

Array = npt.NDArray[Any]


class ChannelMean:
    """The mean of each channel of a tensor (1, C, H, W) over all images."""

    def __init__(self) -> None:
        self._sum: Array = np.zeros(0)
        self._images = 0

    def add(self, values: npt.NDArray[Any]) -> None:
        """Take in one image's tensor."""
        mean = values.mean(axis=(0, 2, 3), dtype=np.float64)
        self._sum = mean if not self._images else self._sum + mean
        self._images += 1

    @property
    def mean(self) -> list[float]:
        """The mean by channel."""
        return [float(value) for value in self._sum / max(self._images, 1)]


@dataclass(frozen=True)
class Kernel:
    """A convolution in float: its weights (O, I, h, w), and the mean of each channel that it reads."""

    values: Array
    mean: Array


def map_kernels(model: onnx.ModelProto) -> dict[str, str]:
    """Return what each kernel of a network is applied to: tensor by name of the weights."""
    return {node.input[1]: node.input[0] for node in model.graph.node if node.op_type == "Conv"}


def correct_biases(quantized: onnx.ModelProto, kernels: Mapping[str, Kernel]) -> int:
    """Shift the biases of the convolutions of a Q/DQ graph in place.

    Args:
        kernels: by name of their weights in the float network, which ONNX Runtime's quantizer extends.

    Returns:
        How many convolutions were corrected: those with integer weights and a bias, both of their own.
    """
    weights = {tensor.name: tensor for tensor in quantized.graph.initializer}
    producer = {name: node for node in quantized.graph.node for name in node.output}
    uses = Counter(name for node in quantized.graph.node for name in node.input)
    done = 0
    for conv, weight in _integer_convolutions(quantized.graph, producer):
        kernel = kernels.get(weight.input[0].removesuffix("_quantized"))
        if kernel is None or len(conv.input) < 3 or max(uses[name] for name in conv.input[1:]) > 1:
            continue
        integers, scale = (numpy_helper.to_array(weights[weight.input[index]]) for index in (0, 1))
        rounded = integers.astype(np.float64) * scale.reshape(-1, 1, 1, 1)
        shift = _mean_output(rounded - kernel.values, kernel.mean)
        _add(conv.input[2], -shift, weights, producer)
        done += 1
    return done


def _integer_convolutions(
    graph: onnx.GraphProto, producer: Mapping[str, onnx.NodeProto]
) -> Iterator[tuple[onnx.NodeProto, onnx.NodeProto]]:
    for node in graph.node:
        weight = producer.get(node.input[1]) if node.op_type == "Conv" else None
        if weight is not None and weight.op_type == "DequantizeLinear":
            yield node, weight


def _mean_output(kernel: Array, mean: Array) -> Array:
    """Return the mean of each output channel for inputs of these means, padding left aside."""
    groups = len(mean) // kernel.shape[1]
    taps = kernel.sum(axis=(2, 3)).reshape(groups, -1, kernel.shape[1])
    outputs: Array = np.einsum("goi,gi->go", taps, mean.reshape(groups, -1))
    return outputs.ravel()


def _add(
    name: str, shift: Array, weights: Mapping[str, onnx.TensorProto], producer: Mapping[str, onnx.NodeProto]
) -> None:
    """Add to a bias, in float or in the integers that it is stored in."""
    if name in weights:
        values = numpy_helper.to_array(weights[name])
        weights[name].CopyFrom(numpy_helper.from_array((values + shift).astype(values.dtype), name))
        return
    node = producer[name]
    stored, scale = (numpy_helper.to_array(weights[node.input[index]]) for index in (0, 1))
    moved = stored.astype(np.int64) + np.round(shift / scale.astype(np.float64)).astype(np.int64)
    limits = np.iinfo(stored.dtype)
    clipped = np.clip(moved, limits.min, limits.max).astype(stored.dtype)
    weights[node.input[0]].CopyFrom(numpy_helper.from_array(clipped, node.input[0]))
