"""What each timed node of an engine computes and moves: its weights, multiply-accumulates and bytes."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree.ElementTree import Element

from pydantic import BaseModel, ConfigDict

from edgeprune.backends.openvino import ir_of
from edgeprune.bench.node_times import NodeTime
from edgeprune.core.documents import read_xml
from edgeprune.core.errors import ModelError
from edgeprune.core.onnx_outline import Node, read_outline
from edgeprune.images.size import ImageSize, sides

CONVOLUTIONS = ("Conv", "Convolution", "GroupConvolution")
PRODUCTS = ("MatMul", "FusedMatMul", "Gemm", "FullyConnected")
_BYTES = {"int8": 1, "fp16": 2, "bf16": 2}
# ONNX Runtime calls a node that its passes wrote again by its name or its output's with such an ending;
# OpenVINO's importer cuts a convolution with a bias in two.
_REWRITTEN = re.compile(r"(_token_\d+|_nchwc|_nhwc|_quant|/WithoutBiases)+$")
Shape = tuple[int, ...]


class Weights(BaseModel):
    """The kernel of one convolution as the engine's file holds it.

    Attributes:
        shape: (out, in of a group, height, width).
        groups: 1 for a dense convolution.
        quantized: whether the file holds it as integers.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    shape: Shape
    groups: int
    quantized: bool

    @property
    def channels(self) -> tuple[int, int]:
        """Input and output channels."""
        return self.shape[1] * self.groups, self.shape[0]


class LayerCost(BaseModel):
    """One timed node with what it computes and moves.

    Attributes:
        kind: a key of `node_times.KINDS`, or the operator's own name.
        precision: that it runs in, such as ``int8``; empty where the runtime does not tell.
        ms: median, counted by the runtime.
        share: of the time of all nodes.
        side: height of the feature map that it writes, in pixels; None when it writes none.
        channels: it reads and writes; None where it is no feature map.
        macs: multiply-accumulates of one inference; None of what multiplies no weights.
        moved: bytes of inputs, outputs and weights, each taken to have the precision that it runs in.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    operator: str
    kernel: str
    kind: str
    precision: str
    ms: float
    share: float
    side: int | None
    channels: tuple[int | None, int | None]
    weights: Weights | None
    macs: int | None
    moved: int

    @property
    def title(self) -> str:
        """The name without what the runtime appended to it."""
        return _original(self.name).removesuffix("_output_0")

    @property
    def rate(self) -> float | None:
        """Billions of multiply-accumulates a second."""
        return self.macs / self.ms / 1e6 if self.macs and self.ms else None

    @property
    def bandwidth(self) -> float | None:
        """Billions of bytes a second."""
        return self.moved / self.ms / 1e6 if self.ms else None

    @property
    def intensity(self) -> float | None:
        """Multiply-accumulates for each byte moved."""
        return self.macs / self.moved if self.macs and self.moved else None


@dataclass(frozen=True)
class _IrLayer:
    kind: str
    element: str
    outputs: Shape
    sources: tuple[str, ...]


def layer_costs(
    nodes: Sequence[NodeTime], weights: Mapping[str, Weights], imgsz: ImageSize
) -> tuple[LayerCost, ...]:
    """Return what each node computes and moves, the most expensive first.

    Args:
        weights: of the engine's convolutions by name, see `weights_of`.
        imgsz: size of the network's input in pixels.
    """
    total = sum(node.ms for node in nodes)
    costs = (_cost(node, _weights(node, weights), imgsz, total) for node in nodes)
    return tuple(sorted(costs, key=lambda cost: -cost.ms))


def weights_of(engine: Path) -> dict[str, Weights]:
    """Read the kernels of all convolutions of an ONNX file or an OpenVINO IR folder; none of other engines.

    Returns:
        Each by every name that a runtime may call it by: its own, those of its output and of the output of a
        node that alone reads this, such as its activation.

    Raises:
        ModelError: the file cannot be read.
    """
    if engine.suffix == ".onnx":
        return _onnx_weights(engine)
    return _ir_weights(ir_of(engine)) if ir_of(engine).suffix == ".xml" else {}


def feature_map(shape: Sequence[int], imgsz: ImageSize) -> tuple[int, int] | None:
    """Return height and channels of a feature map, (1, C, H, W) or (1, H, W, C), or None.

    It is the image divided by a whole number, which no other tensor is by design.
    """
    if len(shape) != 4:
        return None
    high, wide = sides(imgsz)
    for channels, height, width in ((1, 2, 3), (3, 1, 2)):
        side, stride = shape[height], high // max(1, shape[height])
        if (side * stride, shape[width] * stride) == (high, wide):
            return side, shape[channels]
    return None


def _weights(node: NodeTime, weights: Mapping[str, Weights]) -> Weights | None:
    if node.kind != "convolution":
        return None
    names = (node.name, *node.layers)
    return next((weights[name] for name in map(_original, names) if name in weights), None)


def _precision(node: NodeTime) -> str:
    """Return what a node runs in: the first input of an integer concatenation is its scale, in float."""
    return "int8" if node.operator.startswith("QLinear") else node.precision


def _original(name: str) -> str:
    return _REWRITTEN.sub("", name)


def _cost(node: NodeTime, weights: Weights | None, imgsz: ImageSize, total: float) -> LayerCost:
    maps = [
        next((found for shape in shapes if (found := feature_map(shape, imgsz))), None)
        for shapes in (node.inputs, node.outputs)
    ]
    written = sum(map(math.prod, node.outputs))
    # Constants are among the inputs that OpenVINO tells; ONNX Runtime tells them, and scalars, as empty.
    shapes = [shape for shape in node.inputs if shape]
    read = math.prod(shapes[0]) if weights and shapes else sum(map(math.prod, shapes))
    values = read + written + (math.prod(weights.shape) if weights else 0)
    return LayerCost(
        name=node.name,
        operator=node.operator,
        kernel=node.kernel,
        kind=node.kind,
        precision=_precision(node),
        ms=node.ms,
        share=node.ms / total if total else 0.0,
        side=maps[1][0] if maps[1] else None,
        channels=(maps[0][1] if maps[0] else None, maps[1][1] if maps[1] else None),
        weights=weights,
        macs=_macs(node, weights, written),
        moved=values * _BYTES.get(_precision(node), 4),
    )


def _macs(node: NodeTime, weights: Weights | None, written: int) -> int | None:
    if weights:
        return written * math.prod(weights.shape[1:])
    if node.operator in PRODUCTS and node.inputs and node.inputs[0]:
        return written * node.inputs[0][-1]
    return None


def _onnx_weights(path: Path) -> dict[str, Weights]:
    outline = read_outline(path)
    shapes = {weight.name: weight.shape for weight in outline.weights}
    dequantized = {
        node.outputs[0]: node.inputs[0] for node in outline.nodes if node.operator == "DequantizeLinear"
    }
    readers: dict[str, list[Node]] = {}
    for node in outline.nodes:
        for name in node.inputs:
            readers.setdefault(name, []).append(node)
    found: dict[str, Weights] = {}
    for node in outline.nodes:
        kernel = dequantized.get(node.inputs[1], node.inputs[1]) if node.operator == "Conv" else ""
        if kernel in shapes:
            groups = node.integers.get("group", 1)
            one = Weights(shape=shapes[kernel], groups=groups, quantized=node.inputs[1] in dequantized)
            after = readers.get(node.outputs[0], [])
            names = [node.name, node.outputs[0], *(after[0].outputs if len(after) == 1 else ())]
            found |= dict.fromkeys(filter(None, names), one)
    return found


def _ir_weights(path: Path) -> dict[str, Weights]:
    try:
        return _kernels(read_xml(path, ModelError))
    except (ValueError, LookupError, RecursionError) as exc:
        raise ModelError(f"{path}: not an OpenVINO model: its layers do not fit together") from exc


def _kernels(root: Element) -> dict[str, Weights]:
    sources: dict[str, list[tuple[int, str]]] = {}
    for edge in root.iter("edge"):
        sources.setdefault(edge.get("to-layer", ""), []).append(
            (int(edge.get("to-port", 0)), edge.get("from-layer", ""))
        )
    names = {}
    layers: dict[str, _IrLayer] = {}
    for layer in root.iter("layer"):
        number, data = layer.get("id", ""), layer.find("data")
        dims = tuple(int(dim.text or 0) for dim in layer.findall("output/port/dim"))
        element = data.get("element_type", "") if data is not None else ""
        fed = tuple(source for _, source in sorted(sources.get(number, [])))
        layers[number] = _IrLayer(layer.get("type", ""), element, dims, fed)
        names[number] = layer.get("name", "")
    return {
        _original(names[number]): _ir_kernel(layers, layer)
        for number, layer in layers.items()
        if layer.kind in CONVOLUTIONS and len(layer.sources) > 1
    }


def _ir_kernel(layers: Mapping[str, _IrLayer], layer: _IrLayer) -> Weights:
    kernel, left = layers[layer.sources[1]], len(layers)
    # Grouped kernels are (groups, out of a group, in of a group, height, width).
    grouped = layer.kind == "GroupConvolution"
    groups = kernel.outputs[0] if grouped else 1
    shape = (groups * kernel.outputs[1], *kernel.outputs[2:]) if grouped else kernel.outputs
    while kernel.sources and left:  # Multiply <- Subtract <- Convert <- Const
        kernel, left = layers[kernel.sources[0]], left - 1
    return Weights(shape=shape, groups=groups, quantized=kernel.element in ("i8", "u8"))
