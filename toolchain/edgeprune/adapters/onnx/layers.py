"""ONNX operators that become layers of torch, or read a window, a scale or a statistic as these do.

Written by the operators' schemas (https://onnx.ai/onnx/operators/), of all their versions from opset 7 on.
"""

from __future__ import annotations

import math
from typing import Any

import torch

from edgeprune.adapters.onnx.reading import Handler, Node, Reader, UnreadableError


def activation(kind: str, **settings: tuple[str, float]) -> Handler:
    """A layer of torch; settings are its arguments by the attribute that they come from, and its default."""

    def read(reader: Reader, node: Node) -> None:
        told = {key: float(node.attributes.get(name, default)) for key, (name, default) in settings.items()}
        reader.layer(node, kind, told)

    return read


def axis_of(reader: Reader, node: Node, default: int) -> int:
    """Return the axis of an operator, counted from the front."""
    return int(node.attributes.get("axis", default)) % len(reader.shape(node.inputs[0]))


def _pads(
    reader: Reader, node: Node, kernel: list[int], strides: list[int], dilations: list[int]
) -> list[int]:
    """Return the padding before each side and then after each, as the attribute has it."""
    way = node.attributes.get("auto_pad", "NOTSET")
    if way in ("NOTSET", ""):
        return [int(each) for each in node.attributes.get("pads", [0] * 2 * len(kernel))]
    if way == "VALID":
        return [0] * 2 * len(kernel)
    before, after = [], []
    for size, width, stride, spread in zip(
        reader.shape(node.inputs[0])[2:], kernel, strides, dilations, strict=True
    ):
        total = max(0, (math.ceil(size / stride) - 1) * stride + (width - 1) * spread + 1 - size)
        half = total // 2
        before.append(half if way == "SAME_UPPER" else total - half)
        after.append(total - before[-1])
    return before + after


def for_torch(pads: list[int]) -> list[int]:
    """Return padding in torch's order: of the last side before and after, then of the one above."""
    half = len(pads) // 2
    return [each for index in reversed(range(half)) for each in (pads[index], pads[index + half])]


def _window(reader: Reader, node: Node, kernel: list[int]) -> tuple[dict[str, Any], list[int]]:
    """Return stride and dilation, and the padding."""
    ones = [1] * len(kernel)
    strides = [int(each) for each in node.attributes.get("strides", ones)]
    dilations = [int(each) for each in node.attributes.get("dilations", ones)]
    told = {"kernel_size": kernel, "stride": strides, "dilation": dilations}
    return told, _pads(reader, node, kernel, strides, dilations)


def conv(reader: Reader, node: Node) -> None:
    """Conv of one or two dimensions; a padding on one side becomes an operator before it."""
    weight = reader.weight(node, 1)
    if weight.dim() not in (3, 4):
        raise UnreadableError(f"of {weight.dim() - 2} dimensions")
    told, pads = _window(reader, node, list(weight.shape[2:]))
    half, given = len(pads) // 2, None
    if pads[:half] != pads[half:]:
        given = reader.before(node, "Pad", {"mode": "constant", "value": 0.0, "pads": for_torch(pads)})
        pads = [0] * len(pads)
    groups = int(node.attributes.get("group", 1))
    state = {"weight": weight} | ({"bias": reader.weight(node, 2)} if node.has(2) else {})
    told |= {
        "in_channels": weight.shape[1] * groups,
        "out_channels": weight.shape[0],
        "padding": pads[:half],
        "groups": groups,
        "bias": node.has(2),
    }
    reader.layer(node, f"Conv{half}d", told, state, given)


def transposed(reader: Reader, node: Node) -> None:
    """ConvTranspose of two dimensions."""
    weight = reader.weight(node, 1)
    if weight.dim() != 4:
        raise UnreadableError(f"of {weight.dim() - 2} dimensions")
    told, pads = _window(reader, node, list(weight.shape[2:]))
    if (
        node.attributes.get("auto_pad", "NOTSET") not in ("NOTSET", "VALID")
        or "output_shape" in node.attributes
    ):
        raise UnreadableError("with a padding that follows from its output")
    more = [int(each) for each in node.attributes.get("output_padding", [0, 0])]
    more = [extra + before - after for extra, before, after in zip(more, pads[:2], pads[2:], strict=True)]
    if min(more) < 0:
        raise UnreadableError("with more padding after than before")
    groups = int(node.attributes.get("group", 1))
    state = {"weight": weight} | ({"bias": reader.weight(node, 2)} if node.has(2) else {})
    told |= {
        "in_channels": weight.shape[0],
        "out_channels": weight.shape[1] * groups,
        "padding": pads[:2],
        "output_padding": more,
        "groups": groups,
        "bias": node.has(2),
    }
    reader.layer(node, "ConvTranspose2d", told, state)


def _linear(reader: Reader, node: Node, weight: torch.Tensor, bias: torch.Tensor | None) -> None:
    told = {"in_features": weight.shape[1], "out_features": weight.shape[0], "bias": bias is not None}
    reader.layer(node, "Linear", told, {"weight": weight} | ({} if bias is None else {"bias": bias}))


def gemm(reader: Reader, node: Node) -> None:
    """Gemm with a constant matrix, as a linear layer."""
    if node.attributes.get("transA", 0):
        raise UnreadableError("of a transposed input")
    weight = reader.weight(node, 1) * float(node.attributes.get("alpha", 1.0))
    bias = reader.weight(node, 2) * float(node.attributes.get("beta", 1.0)) if node.has(2) else None
    weight = weight if node.attributes.get("transB", 0) else weight.T
    if bias is not None:
        bias = bias.reshape(-1).expand(weight.shape[0]) if bias.numel() == 1 else bias.reshape(-1)
    _linear(reader, node, weight.contiguous(), bias)


def matmul(reader: Reader, node: Node) -> None:
    """MatMul, with a constant matrix a linear layer."""
    if node.inputs[1] in reader.constants and len(reader.shape(node.inputs[1])) == 2:
        _linear(reader, node, reader.weight(node, 1).T.contiguous(), None)
    else:
        reader.operator(node, "MatMul", {})


def batch_norm(reader: Reader, node: Node) -> None:
    """BatchNormalization of feature maps."""
    if len(reader.shape(node.inputs[0])) != 4:
        raise UnreadableError("of an input without height and width")
    keys = ("weight", "bias", "running_mean", "running_var")
    state = {key: reader.weight(node, position) for position, key in enumerate(keys, 1)}
    told = {"num_features": len(state["weight"]), "eps": float(node.attributes.get("epsilon", 1e-5))}
    reader.layer(node, "BatchNorm2d", told, state)


def prelu(reader: Reader, node: Node) -> None:
    """PRelu with one slope, or one a channel."""
    slope, shape = reader.weight(node, 1), reader.shape(node.inputs[0])
    if slope.numel() not in (1, shape[1]):
        raise UnreadableError("with a slope for each place")
    reader.layer(node, "PReLU", {"num_parameters": slope.numel()}, {"weight": slope.reshape(-1)})


def clip(reader: Reader, node: Node) -> None:
    """Clip; from 0 to 6 it is ReLU6."""
    least, most = (reader.constant(node, position, name) for position, name in ((1, "min"), (2, "max")))
    if (least, most) == (0, 6):
        reader.layer(node, "ReLU6", {})
    else:
        reader.operator(node, "Clip", {"min": least, "max": most}, node.inputs[:1])


def hard_sigmoid(reader: Reader, node: Node) -> None:
    """HardSigmoid; with the slope of MobileNetV3 it is a layer of torch."""
    alpha, beta = (
        float(node.attributes.get(key, default)) for key, default in (("alpha", 0.2), ("beta", 0.5))
    )
    if math.isclose(alpha, 1 / 6, abs_tol=1e-6) and math.isclose(beta, 0.5, abs_tol=1e-6):
        reader.layer(node, "Hardsigmoid", {})
    else:
        reader.operator(node, "HardSigmoid", {"alpha": alpha, "beta": beta})


def gelu(reader: Reader, node: Node) -> None:
    """Gelu, exact or approximated."""
    reader.layer(node, "GELU", {"approximate": node.attributes.get("approximate", "none")})


def pool(reader: Reader, node: Node) -> None:
    """MaxPool or AveragePool of two dimensions."""
    kernel = [int(each) for each in node.attributes["kernel_shape"]]
    if len(kernel) != 2:
        raise UnreadableError(f"of {len(kernel)} dimensions")
    told, pads = _window(reader, node, kernel)
    is_mean = node.operator == "AveragePool"
    counts = bool(node.attributes.get("count_include_pad", 0))
    inside = pads[:2] == pads[2:] and all(pad <= size // 2 for pad, size in zip(pads, kernel, strict=False))
    if is_mean and (told["dilation"] != [1, 1] or not (inside or counts)):
        raise UnreadableError("with a padding or dilation that PyTorch has not")
    settings = {
        "kernel": kernel,
        "strides": told["stride"],
        "padding": pads[:2] if inside else [0, 0],
        "pads": [0] * 4 if inside else for_torch(pads),
        "dilations": told["dilation"],
        "ceil": bool(node.attributes.get("ceil_mode", 0)),
        "counts_padding": counts,
    }
    reader.operator(node, node.operator, settings)


def lrn(reader: Reader, node: Node) -> None:
    """LRN, with the defaults of its schema."""
    told = (("size", 1), ("alpha", 1e-4), ("beta", 0.75), ("bias", 1.0))
    reader.operator(node, "LRN", {"settings": [node.attributes.get(key, default) for key, default in told]})


def layer_norm(reader: Reader, node: Node) -> None:
    """LayerNormalization over the axes of its scale."""
    rank = len(reader.shape(node.inputs[0]))
    if axis_of(reader, node, -1) != rank - len(reader.shape(node.inputs[1])):
        raise UnreadableError("with a scale of other axes than its own")
    reader.operator(node, "LayerNormalization", {"epsilon": float(node.attributes.get("epsilon", 1e-5))})


def lp_norm(reader: Reader, node: Node) -> None:
    """LpNormalization."""
    told = {"axis": axis_of(reader, node, -1), "p": float(node.attributes.get("p", 2))}
    reader.operator(node, "LpNormalization", told)
