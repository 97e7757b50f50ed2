"""The small networks that a layer is timed in: the layer between two cheap ones, in the scheme that ships.

A convolution timed alone pays for what it does not pay in a network: its input arrives as planar floats and
is put into the runtime's own blocked layout, quantized, and its output put back. So a 1x1 convolution
from three channels makes the layer's input and another one to a few channels reads its output. What the two
take is timed without the layer, at its input's size and at its output's, and the mean of both is taken off:
what that charges one layer too much for its output it charges the next one too little for its input.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edgeprune.quantize.schemes import QDQ_SCHEMES, QdqScheme
from edgeprune.records.latency_table import Shape

IMAGE_CHANNELS = 3
READ_CHANNELS = 16
_OPSET, _IR = 17, 8
# Ranges do not change the time; the zero point of u8 is not 0, as after a SiLU.
_ACTIVATION_SCALE, _WEIGHT_SCALE = 0.02, 0.01
_ZERO_POINTS = {"u8": np.uint8(14), "s8": np.int8(0)}
_OPERATORS = {
    "ELU": "Elu",
    "Hardsigmoid": "HardSigmoid",
    "Hardswish": "HardSwish",
    "ReLU": "Relu",
    "SELU": "Selu",
    "Sigmoid": "Sigmoid",
    "Softplus": "Softplus",
    "Tanh": "Tanh",
}
"""Activations of torch that are one operator of ONNX."""
# NNCF quantizes what convolutions read, asymmetric after a SiLU, and keeps biases in float.
_NNCF = QdqScheme("u8", operators=("Conv",), bias="float")


@dataclass(frozen=True)
class Micronet:
    """A layer at certain widths, or with ``shape`` None the network around it alone.

    Attributes:
        cin, cout: channels; equal for a depthwise layer and for none.
        height, width: of the network's input, in pixels.
    """

    shape: Shape | None
    cin: int
    cout: int
    height: int
    width: int

    @property
    def around(self) -> tuple[Micronet, Micronet]:
        """What is around the layer alone, at its input's size and at its output's."""
        return (
            Micronet(None, self.cin, self.cin, self.height, self.width),
            Micronet(None, self.cout, self.cout, *self.out_size),
        )

    @property
    def out_size(self) -> tuple[int, int]:
        """Height and width of its output."""
        return self.shape.out_size if self.shape else (self.height, self.width)

    @property
    def name(self) -> str:
        """A name that no other network of a run has."""
        return f"{self.shape or f'none at {self.height}x{self.width}'} {self.cin}-{self.cout}"


def layer_net(shape: Shape, cin: int, cout: int) -> Micronet:
    """Return the network that a layer of these widths is timed in."""
    return Micronet(shape, cout if shape.groups == "depthwise" else cin, cout, shape.height, shape.width)


def write_micronet(net: Micronet, precision: str, scheme: str, path: Path, batch: int = 1) -> Path:
    """Write the network as ONNX: input float32 (batch, 3, H, W), random weights, Q/DQ for int8."""
    writer = _Writer(_rules(scheme) if precision == "int8" else None)
    tensor = writer.quantized("images")
    tensor = writer.conv(tensor, IMAGE_CHANNELS, net.cin)
    tensor = writer.quantized(tensor)
    if net.shape:
        several = net.shape.groups if isinstance(net.shape.groups, int) else 1
        groups = net.cin if net.shape.groups == "depthwise" else several
        tensor = writer.conv(tensor, net.cin, net.cout, net.shape.kernel, net.shape.stride, groups)
        tensor = writer.quantized(writer.activation(tensor, net.shape.activation))
    tensor = writer.conv(tensor, net.cout, READ_CHANNELS)
    tensor = writer.quantized(tensor)  # without it a runtime computes the convolution in floats
    graph = helper.make_graph(
        writer.nodes,
        "layer",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [batch, 3, net.height, net.width])],
        [helper.make_tensor_value_info(tensor, TensorProto.FLOAT, [batch, READ_CHANNELS, *net.out_size])],
        writer.weights,
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], ir_version=_IR), path)
    return path


def _rules(scheme: str) -> QdqScheme:
    return QDQ_SCHEMES.get(scheme, _NNCF)


@dataclass
class _Writer:
    """Appends nodes; every method takes and returns names of tensors."""

    rules: QdqScheme | None
    nodes: list[Any] = field(default_factory=list)
    weights: list[Any] = field(default_factory=list)
    random: Any = field(default_factory=lambda: np.random.default_rng(0))

    def conv(
        self,
        tensor: str,
        cin: int,
        cout: int,
        kernel: tuple[int, int] = (1, 1),
        stride: tuple[int, int] = (1, 1),
        groups: int = 1,
    ) -> str:
        weight = self.random.integers(-127, 128, (cout, cin // groups, *kernel)).astype(np.int8)
        inputs = [tensor, self._weight(weight), self._bias(cout)]
        pads = [kernel[0] // 2, kernel[1] // 2] * 2
        return self._add("Conv", inputs, kernel_shape=kernel, strides=stride, pads=pads, group=groups)

    def activation(self, tensor: str, name: str) -> str:
        whole = self.rules is not None and not self.rules.operators  # every operator is quantized
        if name == "SiLU":
            tensor = self.quantized(tensor) if whole else tensor
            gate = self._add("Sigmoid", [tensor])
            gate = self.quantized(gate, 1 / 255, 0) if whole else gate
            return self._add("Mul", [tensor, gate])
        if whole and name in {"ReLU", "ReLU6"} and self.rules and self.rules.activations == "u8":
            return tensor  # ONNX Runtime's quantizer drops them: the range of u8 cuts off the same
        match name:
            case _ if operator := _OPERATORS.get(name):
                return self._add(operator, [tensor])
            case "LeakyReLU":
                return self._add("LeakyRelu", [tensor], alpha=0.1)
            case "ReLU6":
                bounds = [self._constant(np.float32(0)), self._constant(np.float32(6))]
                return self._add("Clip", [tensor, *bounds])
        return tensor  # what it takes is then in no layer, as is that of all that stands between layers

    def quantized(self, tensor: str, scale: float = _ACTIVATION_SCALE, zero: int | None = None) -> str:
        if self.rules is None:
            return tensor
        default = _ZERO_POINTS[self.rules.activations]
        point = default if zero is None else type(default)(zero)
        by = [self._constant(np.float32(scale)), self._constant(point)]
        return self._add("DequantizeLinear", [self._add("QuantizeLinear", [tensor, *by]), *by])

    def _weight(self, values: np.ndarray[Any, Any]) -> str:
        if self.rules is None:
            return self._constant(values.astype(np.float32) * np.float32(_WEIGHT_SCALE))
        scales = np.full(len(values), _WEIGHT_SCALE, np.float32)
        return self._dequantized(values, scales)

    def _bias(self, channels: int) -> str:
        values = self.random.integers(-100, 100, channels)
        if self.rules is None or self.rules.bias == "float":
            return self._constant(values.astype(np.float32) * np.float32(0.01))
        scales = np.full(channels, np.float32(_ACTIVATION_SCALE) * np.float32(_WEIGHT_SCALE), np.float32)
        return self._dequantized(values.astype(np.int32), scales)

    def _dequantized(self, values: np.ndarray[Any, Any], scales: np.ndarray[Any, Any]) -> str:
        zeros = np.zeros(len(scales), values.dtype)
        inputs = [self._constant(part) for part in (values, scales, zeros)]
        return self._add("DequantizeLinear", inputs, axis=0)

    def _constant(self, value: Any) -> str:
        name = f"c{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def _add(self, operator: str, inputs: list[str], **attributes: Any) -> str:
        name = f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, inputs, [name], **attributes))
        return name
