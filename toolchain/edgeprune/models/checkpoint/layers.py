"""The layers of torch, made anew by their own constructors from checked numbers and shapes of weights."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, cast

from torch import nn

from edgeprune.models.checkpoint.pickled import Instance
from edgeprune.models.checkpoint.tensors import Tensor

PREFIX = "torch.nn.modules."
MOST_KERNEL = 64
"""Side of a convolution's or a pooling's window, its step and its padding, in pixels."""
MOST_SCALE = 16
Maker = Callable[[Mapping[str, Any], Mapping[str, tuple[int, ...]]], nn.Module]


class UnfitError(Exception):
    """A layer's numbers fit no layer; the text says which."""


def make_layer(record: Instance, shapes: Mapping[str, tuple[int, ...]]) -> nn.Module:
    """Make a layer of torch on the meta device, its parameters without numbers.

    Args:
        shapes: those of its parameters and buffers in the file.

    Raises:
        UnfitError: a field is missing, or has a value that no layer has.
    """
    layer = MAKERS[record.cls.rpartition(".")[2]](record.state, shapes)
    own = {name: tuple(value.shape) for name, value in (*layer.named_parameters(), *layer.named_buffers())}
    for name in shapes:
        if own.get(name) != shapes[name]:
            raise UnfitError(f"{name} has shape {list(shapes[name])}")
    if missing := sorted(set(own) - set(shapes)):
        raise UnfitError(f"{missing[0]} is missing")
    return layer


def shapes_of(tensors: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    """Return the shapes of tensors that are still in the file."""
    return {name: tensor.shape for name, tensor in tensors.items()}


def _number(state: Mapping[str, Any], name: str, low: float, high: float, default: Any = None) -> Any:
    value = state.get(name, default)
    if type(value) not in (int, float) or not math.isfinite(value) or not low <= value <= high:
        raise UnfitError(f"{name} is {_shown(value)}")
    return value


def _pixels(state: Mapping[str, Any], name: str, low: int, default: Any = None) -> tuple[int, int]:
    value = state.get(name, default)
    pair = value if isinstance(value, (tuple, list)) else (value, value)
    if len(pair) != 2 or any(type(side) is not int or not low <= side <= MOST_KERNEL for side in pair):
        raise UnfitError(f"{name} is {_shown(value)}")
    return (pair[0], pair[1])


def _flag(state: Mapping[str, Any], name: str, default: bool = False) -> bool:
    value = state.get(name, default)
    if type(value) is not bool:
        raise UnfitError(f"{name} is {_shown(value)}")
    return value


def _shown(value: Any) -> str:
    return (
        str(value)[:40]
        if isinstance(value, (int, float, bool)) and abs(value) < 1e18
        else (f"a {type(value).__name__.lower()}")
    )


def _weight(shapes: Mapping[str, tuple[int, ...]], axes: int) -> tuple[int, ...]:
    shape = shapes.get("weight", ())
    if len(shape) != axes or 0 in shape:
        raise UnfitError(f"weight has shape {list(shape)}")
    return shape


def _geometry(state: Mapping[str, Any], shape: tuple[int, ...]) -> dict[str, Any]:
    if state.get("padding_mode", "zeros") != "zeros":
        raise UnfitError("padding_mode is not zeros")
    if max(shape[2:]) > MOST_KERNEL:
        raise UnfitError(f"weight has shape {list(shape)}")
    padding = state.get("padding", 0)
    return {
        "kernel_size": shape[2:],
        "stride": _pixels(state, "stride", 1, 1),
        "padding": padding if padding in ("same", "valid") else _pixels(state, "padding", 0, 0),
        "dilation": _pixels(state, "dilation", 1, 1),
        "groups": int(_number(state, "groups", 1, max(shape), 1)),
        "device": "meta",
    }


def _conv(state: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]]) -> nn.Module:
    shape = _weight(shapes, 4)
    geometry = _geometry(state, shape)
    if shape[0] % geometry["groups"]:
        raise UnfitError(f"groups is {geometry['groups']}")
    return nn.Conv2d(shape[1] * geometry["groups"], shape[0], bias="bias" in shapes, **geometry)


def _transposed(state: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]]) -> nn.Module:
    shape = _weight(shapes, 4)
    geometry = _geometry(state, shape)
    if shape[0] % geometry["groups"]:
        raise UnfitError(f"groups is {geometry['groups']}")
    geometry["output_padding"] = _pixels(state, "output_padding", 0, 0)
    return nn.ConvTranspose2d(shape[0], shape[1] * geometry["groups"], bias="bias" in shapes, **geometry)


def _norm(state: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]]) -> nn.Module:
    affine, tracked = "weight" in shapes, "running_mean" in shapes
    known = shapes.get("weight") or shapes.get("running_mean") or ()
    if len(known) != 1 or not known[0]:
        raise UnfitError("it has no width")
    return nn.BatchNorm2d(
        known[0],
        eps=_number(state, "eps", 1e-12, 1, 1e-5),
        momentum=_number(state, "momentum", 0, 1, 0.1),
        affine=affine,
        track_running_stats=tracked,
        device="meta",
    )


def _linear(state: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]]) -> nn.Module:
    shape = _weight(shapes, 2)
    return nn.Linear(shape[1], shape[0], bias="bias" in shapes, device="meta")


def _max_pool(state: Mapping[str, Any], _: Mapping[str, tuple[int, ...]]) -> nn.Module:
    kernel = _pixels(state, "kernel_size", 1)
    if state.get("return_indices", False) is not False:
        raise UnfitError("return_indices is not False")
    return nn.MaxPool2d(
        _single(kernel),
        stride=_single(_pixels(state, "stride", 1, kernel)),
        padding=_single(_pixels(state, "padding", 0, 0)),
        dilation=_single(_pixels(state, "dilation", 1, 1)),
        ceil_mode=_flag(state, "ceil_mode"),
    )


def _average_pool(state: Mapping[str, Any], _: Mapping[str, tuple[int, ...]]) -> nn.Module:
    kernel = _pixels(state, "kernel_size", 1)
    return nn.AvgPool2d(
        _single(kernel),
        stride=_single(_pixels(state, "stride", 1, kernel)),
        padding=_single(_pixels(state, "padding", 0, 0)),
        ceil_mode=_flag(state, "ceil_mode"),
        count_include_pad=_flag(state, "count_include_pad", True),
    )


def _adaptive_pool(state: Mapping[str, Any], _: Mapping[str, tuple[int, ...]]) -> nn.Module:
    return nn.AdaptiveAvgPool2d(_single(_pixels(state, "output_size", 1)))


def _zero_pad(state: Mapping[str, Any], _: Mapping[str, tuple[int, ...]]) -> nn.Module:
    sides = state.get("padding")
    if not isinstance(sides, (tuple, list)) or len(sides) != 4:
        raise UnfitError("padding is not four numbers")
    left, right = _pixels({"padding": tuple(sides[:2])}, "padding", 0)
    top, bottom = _pixels({"padding": tuple(sides[2:])}, "padding", 0)
    return nn.ZeroPad2d((left, right, top, bottom))


def _upsample(state: Mapping[str, Any], _: Mapping[str, tuple[int, ...]]) -> nn.Module:
    mode = state.get("mode", "nearest")
    if state.get("size") is not None:
        raise UnfitError("size is fixed")
    if mode not in ("nearest", "bilinear", "bicubic", "nearest-exact"):
        raise UnfitError("mode is unknown")
    scale = state.get("scale_factor")
    if isinstance(scale, (tuple, list)) and len(scale) == 2 and scale[0] == scale[1]:
        scale = scale[0]
    scale = float(_number({"scale_factor": scale}, "scale_factor", 0.0625, MOST_SCALE))
    corners = state.get("align_corners")
    if corners not in (None, False, True):
        raise UnfitError("align_corners is unknown")
    return nn.Upsample(scale_factor=scale, mode=mode, align_corners=corners)


def _dropout(state: Mapping[str, Any], _: Mapping[str, tuple[int, ...]]) -> nn.Module:
    return nn.Dropout(_number(state, "p", 0, 1, 0.5), inplace=_flag(state, "inplace"))


def _identity(_: Mapping[str, Any], __: Mapping[str, tuple[int, ...]]) -> nn.Module:
    return nn.Identity()


def _activation(make: Callable[..., nn.Module], **ranges: tuple[float, float, float]) -> Maker:
    """Return the maker of an activation with these numbers, each with its low, high and default."""

    def maker(state: Mapping[str, Any], _: Mapping[str, tuple[int, ...]]) -> nn.Module:
        numbers = {name: _number(state, name, *limits) for name, limits in ranges.items()}
        made: Any = make(**numbers)
        if hasattr(made, "inplace"):
            made.inplace = _flag(state, "inplace")
        if _flag(
            state, "untrained"
        ):  # a swapped activation that no training has seen, see prune/activation.py
            vars(made)["untrained"] = True
        return cast(nn.Module, made)

    return maker


def _single(pair: tuple[int, int]) -> int | tuple[int, int]:
    return pair[0] if pair[0] == pair[1] else pair


MAKERS: dict[str, Maker] = {
    "AdaptiveAvgPool2d": _adaptive_pool,
    "AvgPool2d": _average_pool,
    "BatchNorm2d": _norm,
    "Conv2d": _conv,
    "ConvTranspose2d": _transposed,
    "Dropout": _dropout,
    "ELU": _activation(nn.ELU, alpha=(-100.0, 100.0, 1.0)),
    "Hardsigmoid": _activation(nn.Hardsigmoid),
    "Hardswish": _activation(nn.Hardswish),
    "Identity": _identity,
    "LeakyReLU": _activation(nn.LeakyReLU, negative_slope=(-100.0, 100.0, 0.01)),
    "Linear": _linear,
    "MaxPool2d": _max_pool,
    "Mish": _activation(nn.Mish),
    "ReLU": _activation(nn.ReLU),
    "ReLU6": _activation(nn.ReLU6),
    "SiLU": _activation(nn.SiLU),
    "Sigmoid": _activation(nn.Sigmoid),
    "Tanh": _activation(nn.Tanh),
    "Upsample": _upsample,
    "ZeroPad2d": _zero_pad,
}
"""Every layer of torch that may stand in a network, containers aside."""
