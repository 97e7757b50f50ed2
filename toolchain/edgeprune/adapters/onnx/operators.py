"""How each ONNX operator becomes a layer or an operator of the plan: one function an operator, in one table.

Written by the operators' schemas (https://onnx.ai/onnx/operators/), of all their versions from opset 7 on.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch

from edgeprune.adapters.onnx import layers
from edgeprune.adapters.onnx.functions import DTYPES
from edgeprune.adapters.onnx.reading import Handler, Node, Reader, UnreadableError

_MODES = {"nearest": "nearest", "linear": "bilinear", "cubic": "bicubic"}


def _same(reader: Reader, node: Node) -> None:
    reader.same(node)


def _plain(**settings: Any) -> Handler:
    """An operator of the same name, with these attributes and their defaults as settings."""

    def read(reader: Reader, node: Node) -> None:
        told = {key: node.attributes.get(key, default) for key, default in settings.items()}
        reader.operator(node, node.operator, told)

    return read


def _along_axis(default: int) -> Handler:
    def read(reader: Reader, node: Node) -> None:
        shape = reader.shape(node.inputs[0])
        axis = layers.axis_of(reader, node, default if node.opset >= 13 or node.operator == "Concat" else 1)
        if node.opset < 13 and "oftmax" in node.operator and math.prod(shape[axis + 1 :]) > 1:
            raise UnreadableError("over several axes, as below opset 13")
        reader.operator(node, node.operator, {"axis": axis})

    return read


def _reduce(reader: Reader, node: Node) -> None:
    rank = len(reader.shape(node.inputs[0]))
    axes = reader.constant(node, 1, "axes") or list(range(rank))
    keeps = bool(node.attributes.get("keepdims", 1))
    told = {"axes": [int(axis) % rank for axis in axes], "keepdims": keeps}
    reader.operator(node, node.operator, told, node.inputs[:1])


def _reshape(reader: Reader, node: Node) -> None:
    """Keep what does not depend on widths: the batch, and the channels where they stay channels."""
    before = reader.shape(node.inputs[0])
    asked = reader.constant(node, 1, "shape")
    if not node.attributes.get("allowzero", 0):
        asked = [before[index] if size == 0 else size for index, size in enumerate(asked)]
    after = list(reader.value(node.inputs[0]).reshape(asked).shape)
    _to_shape(reader, node, before, after)


def _to_shape(reader: Reader, node: Node, before: tuple[int, ...], after: list[int]) -> None:
    if list(before) == after:
        reader.same(node)
    elif len(after) == 2 and before[:1] == (after[0],):
        reader.operator(node, "Flatten", {}, node.inputs[:1])
    elif len(after) > 2 and len(before) > 1 and list(before[:2]) == after[:2]:
        reader.operator(node, "ReshapeBehind", {"shape": after[2:]}, node.inputs[:1])
    else:  # a batch of n instead of 1 makes the first size n times as large
        reader.operator(node, "Reshape", {"shape": [-1, *after[1:]]}, node.inputs[:1])


def _flatten(reader: Reader, node: Node) -> None:
    before = reader.shape(node.inputs[0])
    axis = int(node.attributes.get("axis", 1)) % (len(before) + 1)
    _to_shape(reader, node, before, [math.prod(before[:axis]), math.prod(before[axis:])])


def _squeeze(reader: Reader, node: Node) -> None:
    shape = reader.shape(node.inputs[0])
    axes = reader.constant(node, 1, "axes")
    axes = [index for index, size in enumerate(shape) if size == 1] if axes is None else axes
    reader.operator(node, "Squeeze", {"axes": [axis % len(shape) for axis in axes]}, node.inputs[:1])


def _unsqueeze(reader: Reader, node: Node) -> None:
    axes = reader.constant(node, 1, "axes")
    rank = len(reader.shape(node.inputs[0])) + len(axes)
    reader.operator(node, "Unsqueeze", {"axes": sorted(axis % rank for axis in axes)}, node.inputs[:1])


def _slice(reader: Reader, node: Node) -> None:
    shape = reader.shape(node.inputs[0])
    starts, ends = (reader.constant(node, position, name) for position, name in ((1, "starts"), (2, "ends")))
    axes = reader.constant(node, 3, "axes") or list(range(len(starts)))
    steps = reader.constant(node, 4, "steps") or [1] * len(starts)
    cuts = []
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        size = shape[axis % len(shape)]
        if step < 1:
            raise UnreadableError("backwards")
        first, last, _ = slice(start, end, step).indices(size)
        if (first, last, step) != (0, size, 1):
            cuts.append([axis % len(shape), first, last, step])
    if cuts:
        reader.operator(node, "Slice", {"cuts": cuts}, node.inputs[:1])
    else:
        reader.same(node)


def _split(reader: Reader, node: Node) -> None:
    axis = layers.axis_of(reader, node, 0)
    size, count = reader.shape(node.inputs[0])[axis], len(node.outputs)
    sizes = reader.constant(node, 1, "split")
    if sizes is None:
        each = math.ceil(size / count)
        sizes = [each] * (count - 1) + [size - each * (count - 1)]
    reader.operator(node, "Split", {"sizes": list(sizes), "axis": axis}, node.inputs[:1])


def _gather(reader: Reader, node: Node) -> None:
    axis = layers.axis_of(reader, node, 0)
    indices = reader.constants.get(node.inputs[1])
    if indices is not None and indices.ndim == 0:
        index = int(indices) % reader.shape(node.inputs[0])[axis]
        reader.operator(node, "Gather", {"axis": axis, "index": index}, node.inputs[:1])
    else:
        reader.operator(node, "Gather", {"axis": axis})


def _expand(reader: Reader, node: Node) -> None:
    before, asked = reader.shape(node.inputs[0]), reader.constant(node, 1, "shape")
    after = torch.broadcast_shapes(before, tuple(asked))
    given = (None,) * (len(after) - len(before)) + before
    shape = [-1 if size == own else size for size, own in zip(after, given, strict=True)]
    if given == tuple(after):
        reader.same(node)
    else:
        reader.operator(node, "Expand", {"shape": shape}, node.inputs[:1])


def _tile(reader: Reader, node: Node) -> None:
    reader.operator(node, "Tile", {"repeats": reader.constant(node, 1, "repeats")}, node.inputs[:1])


def _pad(reader: Reader, node: Node) -> None:
    pads = [int(each) for each in reader.constant(node, 1, "pads")]
    if node.has(3):
        rank = len(reader.shape(node.inputs[0]))
        axes = [int(axis) % rank for axis in reader.constant(node, 3, "axes")]
        whole = [0] * 2 * rank
        for index, axis in enumerate(axes):
            whole[axis], whole[axis + rank] = pads[index], pads[index + len(axes)]
        pads = whole
    mode = {"constant": "constant", "reflect": "reflect", "edge": "replicate"}.get(
        node.attributes.get("mode", "constant")
    )
    order = layers.for_torch(pads)
    while len(order) > 2 and order[-2:] == [0, 0]:
        order = order[:-2]
    if mode is None or (mode != "constant" and len(order) > 4):
        raise UnreadableError(f"in the mode {node.attributes.get('mode')!r}")
    value = reader.constant(node, 2, "value", 0.0) or 0.0
    value = value[0] if isinstance(value, list) else value
    if any(order):
        told = {"mode": mode, "value": float(value), "pads": order}
        reader.operator(node, "Pad", told, node.inputs[:1])
    else:
        reader.same(node)


def _resize(reader: Reader, node: Node) -> None:
    before = reader.shape(node.inputs[0])
    is_old = node.operator == "Upsample" or node.opset < 11
    at = 1 if is_old else 2
    scales = reader.constant(node, at, "scales") if node.has(at) or is_old else None
    sizes = reader.constant(node, 3) if node.has(3) else None
    if not sizes:
        sizes = [math.floor(size * scale + 1e-6) for size, scale in zip(before, scales or (), strict=True)]
    if len(before) != 4 or tuple(sizes[-4:-2]) not in ((), before[:2]):
        raise UnreadableError("of other sides than height and width")
    mode = _MODES.get(node.attributes.get("mode", "nearest"))
    way = node.attributes.get("coordinate_transformation_mode", "asymmetric" if is_old else "half_pixel")
    if mode is None or way == "tf_crop_and_resize":
        raise UnreadableError(f"in the mode {node.attributes.get('mode')!r} with {way}")
    told = {"size": list(sizes[-2:]), "mode": mode, "align_corners": way == "align_corners"}
    reader.operator(node, "Resize", told, node.inputs[:1])


def _cast(reader: Reader, node: Node) -> None:
    to = int(node.attributes["to"])
    if to not in DTYPES:
        raise UnreadableError(f"to the type {to}")
    if reader.value(node.inputs[0]).dtype == DTYPES[to]:
        reader.same(node)
    else:
        reader.operator(node, "Cast", {"to": to})


def _top(reader: Reader, node: Node) -> None:
    count = reader.constant(node, 1, "k")
    told = {
        "k": int(count[0] if isinstance(count, list) else count),
        "axis": layers.axis_of(reader, node, -1),
        "largest": bool(node.attributes.get("largest", 1)),
        "sorted": bool(node.attributes.get("sorted", 1)),
    }
    reader.operator(node, "TopK", told, node.inputs[:1])


def _arg_max(reader: Reader, node: Node) -> None:
    told = {"axis": layers.axis_of(reader, node, 0), "keepdims": bool(node.attributes.get("keepdims", 1))}
    reader.operator(node, "ArgMax", told)


def _blocks(reader: Reader, node: Node) -> None:
    told = {"block": int(node.attributes["blocksize"]), "mode": node.attributes.get("mode", "DCR")}
    reader.operator(node, node.operator, told)


def _transpose(reader: Reader, node: Node) -> None:
    rank = len(reader.shape(node.inputs[0]))
    reader.operator(node, "Transpose", {"perm": list(node.attributes.get("perm", reversed(range(rank))))})


OPERATORS: Mapping[str, Handler] = {
    **dict.fromkeys(
        (
            "Abs", "Add", "And", "Ceil", "Cos", "Div", "Equal", "Erf", "Exp", "Floor", "Greater",
            "GreaterOrEqual", "Less", "LessOrEqual", "Log", "Max", "Min", "Mul", "Neg", "Not", "Or", "Pow",
            "Reciprocal", "Round", "Sign", "Sin", "Softsign", "Sqrt", "Sub", "Where",
        ),
        _plain(),
    ),
    **dict.fromkeys(
        (
            "ReduceL1", "ReduceL2", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceSum",
        ),
        _reduce,
    ),
    "ArgMax": _arg_max,
    "AveragePool": layers.pool,
    "BatchNormalization": layers.batch_norm,
    "Cast": _cast,
    "Clip": layers.clip,
    "Concat": _along_axis(1),
    "Conv": layers.conv,
    "ConvTranspose": layers.transposed,
    "DepthToSpace": _blocks,
    "Dropout": _same,
    "Einsum": _plain(equation=""),
    "Elu": layers.activation("ELU", alpha=("alpha", 1.0)),
    "Expand": _expand,
    "Flatten": _flatten,
    "Gather": _gather,
    "GatherElements": _along_axis(0),
    "Gelu": layers.gelu,
    "Gemm": layers.gemm,
    "GlobalAveragePool": layers.activation("GlobalAveragePool"),
    "GlobalMaxPool": layers.activation("GlobalMaxPool"),
    "HardSigmoid": layers.hard_sigmoid,
    "HardSwish": layers.activation("Hardswish"),
    "Identity": _same,
    "InstanceNormalization": _plain(epsilon=1e-5),
    "LRN": layers.lrn,
    "LayerNormalization": layers.layer_norm,
    "LeakyRelu": layers.activation("LeakyReLU", negative_slope=("alpha", 0.01)),
    "LogSoftmax": _along_axis(-1),
    "LpNormalization": layers.lp_norm,
    "MatMul": layers.matmul,
    "MaxPool": layers.pool,
    "Mish": layers.activation("Mish"),
    "Mod": _plain(fmod=0),
    "PRelu": layers.prelu,
    "Pad": _pad,
    "Relu": layers.activation("ReLU"),
    "Reshape": _reshape,
    "Resize": _resize,
    "Selu": layers.activation("SELU"),
    "Shape": _same,
    "Sigmoid": layers.activation("Sigmoid"),
    "Slice": _slice,
    "Softmax": _along_axis(-1),
    "Softplus": layers.activation("Softplus"),
    "SpaceToDepth": _blocks,
    "Split": _split,
    "Squeeze": _squeeze,
    "Tanh": layers.activation("Tanh"),
    "Tile": _tile,
    "TopK": _top,
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
    "Upsample": _resize,
}  # fmt: skip
"""Operators that can depend on the image; what depends on constants alone may be any."""
