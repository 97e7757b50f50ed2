"""What an ONNX operator without weights computes, in torch: one function an operator, in one literal table.

Settings are plain data: what of the operator's attributes and constant inputs is left when shapes are fixed.
No function holds a number of channels where a pruned network has another one: sizes that stay are -1.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch.nn import functional

Settings = Mapping[str, Any]
Tensors = Sequence[torch.Tensor]
Function = Callable[[Tensors, Settings], Any]
"""From the inputs and the settings to the output, or to a list of several."""

DTYPES: dict[int, torch.dtype] = {
    1: torch.float32, 2: torch.uint8, 3: torch.int8, 6: torch.int32, 7: torch.int64, 9: torch.bool,
    10: torch.float32, 11: torch.float32,
}  # fmt: skip
"""By their numbers in TensorProto; halves and doubles are computed as float32."""


def _unary(function: Callable[[torch.Tensor], torch.Tensor]) -> Function:
    return lambda given, _: function(given[0])


def _folded(function: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]) -> Function:
    """Of two inputs or more, from the left."""

    def fold(given: Tensors, _: Settings) -> torch.Tensor:
        total = given[0]
        for other in given[1:]:
            total = function(total, other)
        return total

    return fold


def _reduced(function: Callable[..., torch.Tensor]) -> Function:
    return lambda given, told: function(given[0], dim=tuple(told["axes"]), keepdim=told["keepdims"])


def _divided(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    whole = not (one.is_floating_point() or other.is_floating_point())
    return torch.div(one, other, rounding_mode="trunc" if whole else None)


def _resized(given: Tensors, told: Settings) -> torch.Tensor:
    align = {} if told["mode"] == "nearest" else {"align_corners": told["align_corners"]}
    return functional.interpolate(given[0], size=tuple(told["size"]), mode=told["mode"], **align)


def _cut(given: Tensors, told: Settings) -> torch.Tensor:
    """Cut out slices; each is an axis, a start, an end and a step above 0."""
    found = given[0]
    for axis, start, end, step in told["cuts"]:
        found = found[(*(slice(None),) * axis, slice(start, end, step))]
    return found


def _taken(given: Tensors, told: Settings) -> torch.Tensor:
    axis, data = told["axis"], given[0]
    if "index" in told:
        return data.select(axis, told["index"])
    indices = given[1].long()
    indices = torch.where(indices < 0, indices + data.shape[axis], indices)
    found = data.index_select(axis, indices.reshape(-1))
    return found.reshape(*data.shape[:axis], *indices.shape, *data.shape[axis + 1 :])


def _mean_pooled(given: Tensors, told: Settings) -> torch.Tensor:
    found = functional.pad(given[0], told["pads"]) if any(told["pads"]) else given[0]
    return functional.avg_pool2d(
        found, told["kernel"], told["strides"], told["padding"], told["ceil"], told["counts_padding"]
    )


def _max_pooled(given: Tensors, told: Settings) -> torch.Tensor:
    pads = told["pads"]
    found = functional.pad(given[0], pads, value=float("-inf")) if any(pads) else given[0]
    return functional.max_pool2d(
        found, told["kernel"], told["strides"], told["padding"], told["dilations"], told["ceil"]
    )


def _layer_normed(given: Tensors, told: Settings) -> torch.Tensor:
    bias = given[2] if len(given) > 2 else None
    return functional.layer_norm(given[0], given[1].shape, given[1], bias, told["epsilon"])


def _padded(given: Tensors, told: Settings) -> torch.Tensor:
    value = {"value": told["value"]} if told["mode"] == "constant" else {}
    return functional.pad(given[0], told["pads"], mode=told["mode"], **value)


def _to_space(given: Tensors, told: Settings) -> torch.Tensor:
    block = told["block"]
    if told["mode"] == "CRD":
        return functional.pixel_shuffle(given[0], block)
    n, c, h, w = given[0].shape
    found = given[0].reshape(n, block, block, c // block**2, h, w).permute(0, 3, 4, 1, 5, 2)
    return found.reshape(n, c // block**2, h * block, w * block)


def _to_depth(given: Tensors, told: Settings) -> torch.Tensor:
    block = told["block"]
    n, c, h, w = given[0].shape
    found = given[0].reshape(n, c, h // block, block, w // block, block).permute(0, 3, 5, 1, 2, 4)
    return found.reshape(n, c * block**2, h // block, w // block)


def _unsqueezed(given: Tensors, told: Settings) -> torch.Tensor:
    found = given[0]
    for axis in told["axes"]:
        found = found.unsqueeze(axis)
    return found


FUNCTIONS: dict[str, Function] = {
    "Abs": _unary(torch.abs),
    "Add": _folded(torch.add),
    "And": _folded(torch.logical_and),
    "ArgMax": lambda given, told: given[0].argmax(told["axis"], told["keepdims"]),
    "AveragePool": _mean_pooled,
    "Cast": lambda given, told: given[0].to(DTYPES[told["to"]]),
    "Ceil": _unary(torch.ceil),
    "Clip": lambda given, told: given[0].clamp(told["min"], told["max"]),
    "Concat": lambda given, told: torch.cat(list(given), told["axis"]),
    "Cos": _unary(torch.cos),
    "DepthToSpace": _to_space,
    "Div": _folded(_divided),
    "Einsum": lambda given, told: torch.einsum(told["equation"], *given),
    "Equal": _folded(torch.eq),
    "Erf": _unary(torch.erf),
    "Exp": _unary(torch.exp),
    "Expand": lambda given, told: given[0].expand(told["shape"]),
    "Flatten": lambda given, _: given[0].flatten(1),
    "Floor": _unary(torch.floor),
    "Gather": _taken,
    "GatherElements": lambda given, told: given[0].gather(told["axis"], given[1].long()),
    "Greater": _folded(torch.gt),
    "GreaterOrEqual": _folded(torch.ge),
    "HardSigmoid": lambda given, told: (told["alpha"] * given[0] + told["beta"]).clamp(0, 1),
    "InstanceNormalization": lambda given, told: functional.instance_norm(
        given[0], weight=given[1], bias=given[2], eps=told["epsilon"]
    ),
    "LRN": lambda given, told: functional.local_response_norm(given[0], *told["settings"]),
    "LayerNormalization": _layer_normed,
    "Less": _folded(torch.lt),
    "LessOrEqual": _folded(torch.le),
    "Log": _unary(torch.log),
    "LogSoftmax": lambda given, told: functional.log_softmax(given[0], told["axis"]),
    "LpNormalization": lambda given, told: functional.normalize(given[0], told["p"], told["axis"]),
    "MatMul": _folded(torch.matmul),
    "Max": _folded(torch.maximum),
    "MaxPool": _max_pooled,
    "Min": _folded(torch.minimum),
    "Mod": lambda given, told: (torch.fmod if told["fmod"] else torch.remainder)(given[0], given[1]),
    "Mul": _folded(torch.mul),
    "Neg": _unary(torch.neg),
    "Not": _unary(torch.logical_not),
    "Or": _folded(torch.logical_or),
    "Pad": _padded,
    "Pow": _folded(torch.pow),
    "Reciprocal": _unary(torch.reciprocal),
    "ReduceL1": _reduced(lambda x, dim, keepdim: x.abs().sum(dim, keepdim)),
    "ReduceL2": _reduced(lambda x, dim, keepdim: x.square().sum(dim, keepdim).sqrt()),
    "ReduceMax": _reduced(torch.amax),
    "ReduceMean": _reduced(torch.mean),
    "ReduceMin": _reduced(torch.amin),
    "ReduceSum": _reduced(torch.sum),
    "Reshape": lambda given, told: given[0].reshape(told["shape"]),
    "ReshapeBehind": lambda given, told: given[0].reshape(*given[0].shape[:2], *told["shape"]),
    "Resize": _resized,
    "Round": _unary(torch.round),
    "Sign": _unary(torch.sign),
    "Sin": _unary(torch.sin),
    "Slice": _cut,
    "Softmax": lambda given, told: functional.softmax(given[0], told["axis"]),
    "Softsign": _unary(functional.softsign),
    "SpaceToDepth": _to_depth,
    "Split": lambda given, told: list(given[0].split(told["sizes"], told["axis"])),
    "Sqrt": _unary(torch.sqrt),
    "Squeeze": lambda given, told: given[0].squeeze(tuple(told["axes"])),
    "Sub": _folded(torch.sub),
    "Tile": lambda given, told: given[0].repeat(told["repeats"]),
    "TopK": lambda given, told: list(
        torch.topk(given[0], told["k"], told["axis"], told["largest"], told["sorted"])
    ),
    "Transpose": lambda given, told: given[0].permute(told["perm"]),
    "Unsqueeze": _unsqueezed,
    "Where": lambda given, _: torch.where(given[0], given[1], given[2]),
}
"""By the name of the operator; ``ReshapeBehind`` is a Reshape that keeps the first two sizes."""
