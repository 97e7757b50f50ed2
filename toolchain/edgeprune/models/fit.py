"""Weights put into a network: what does not fit is told, or the network's widths follow the weights."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

from edgeprune.core.errors import ModelError

State = Mapping[str, torch.Tensor]
"""Parameters and buffers by their dotted names, as `nn.Module.state_dict` gives them."""

NAMED = 5
"""So many misfits are named in a message."""


def find_misfits(model: nn.Module, state: State) -> list[str]:
    """List what keeps weights from fitting a network, a few words each; nothing where they fit.

    `num_batches_tracked` of batch norms may be absent, as in checkpoints of torch 0.4.
    """
    own = model.state_dict()
    missing = [name for name in own if name not in state and not name.endswith("num_batches_tracked")]
    unknown = [name for name in state if name not in own]
    other = [
        f"{name} has shape {list(state[name].shape)}, not {list(own[name].shape)}"
        for name in own
        if name in state and state[name].shape != own[name].shape
    ]
    return [
        *other,
        *(f"{name} is missing" for name in missing),
        *(f"{name} is not one of its layers" for name in unknown),
    ]


def name_misfits(found: list[str]) -> str:
    """Return the first few misfits as words, with the count of the others."""
    more = len(found) - NAMED
    return "; ".join(found[:NAMED]) + (f"; and {more} more" if more > 0 else "")


def require_finite(model: nn.Module, where: object) -> None:
    """Refuse weights that no training run in order leaves.

    Raises:
        ModelError: a parameter or buffer holds NaN or infinite values.
    """
    for name, tensor in model.state_dict().items():
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise ModelError(f"{where}: {name} holds NaN or infinite values; this training run diverged")


def fit(model: nn.Module, state: State, where: Path) -> None:
    """Give the layers of a fresh network the widths of a pruned one's weights, and the weights, in place.

    A convolution of as many groups as channels stays one; any other keeps its number of groups.

    Args:
        where: the file, for messages.

    Raises:
        ModelError: layers are missing, or there are others than the network's; or weights are not finite.
    """
    own = model.state_dict()
    strays = [name for name in find_misfits(model, state) if " has shape " not in name]
    axes = [
        f"{name} has {tensor.ndim} axes, not {own[name].ndim}"
        for name, tensor in state.items()
        if name in own and tensor.ndim != own[name].ndim
    ]
    if strays or axes:
        raise ModelError(f"{where}: the weights do not fit the network: {name_misfits([*axes, *strays])}")
    for path, module in model.named_modules():
        prefix = f"{path}." if path else ""
        found = {name: state[prefix + name] for name in _own_names(module) if prefix + name in state}
        _set_widths(module, found)
        for name, tensor in found.items():
            _set(module, name, tensor)
    require_finite(model, where)


def _own_names(module: nn.Module) -> list[str]:
    return [
        name
        for owned in (module._parameters, module._buffers)
        for name, tensor in owned.items()
        if tensor is not None
    ]


def _set(module: nn.Module, name: str, tensor: torch.Tensor) -> None:
    value = tensor.detach().clone()
    if name in module._parameters:
        module._parameters[name] = nn.Parameter(value, requires_grad=value.is_floating_point())
    else:
        module._buffers[name] = value


def _set_widths(module: nn.Module, found: Mapping[str, torch.Tensor]) -> None:
    """Set what a layer says of its widths by the shapes of its weights."""
    layer: Any = module
    match module:
        case _ConvTransposeNd():
            into, out = found["weight"].shape[:2]
            layer.groups = _groups(layer, into)
            layer.in_channels, layer.out_channels = into, out * layer.groups
        case _ConvNd():
            out, into = found["weight"].shape[:2]
            layer.groups = _groups(layer, out)
            layer.in_channels, layer.out_channels = into * layer.groups, out
        case nn.Linear():
            layer.out_features, layer.in_features = found["weight"].shape
        case _BatchNorm():
            if found:
                layer.num_features = next(iter(found.values())).shape[0]
        case nn.LayerNorm():
            if "weight" in found:
                layer.normalized_shape = tuple(found["weight"].shape)
        case nn.GroupNorm():
            if "weight" in found:
                layer.num_channels = found["weight"].shape[0]
        case nn.PReLU():
            layer.num_parameters = found["weight"].shape[0]


def _groups(layer: Any, channels: int) -> int:
    """Return the groups of a convolution that has so many channels now at the side that groups divide."""
    if layer.groups == 1 or layer.groups != layer.in_channels:
        return int(layer.groups)
    of_each = (layer.in_channels if layer.transposed else layer.out_channels) // layer.groups
    return channels // int(of_each)
