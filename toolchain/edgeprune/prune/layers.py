"""The convolutions of a network as the latency table knows them: shape, widths, groups these follow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from edgeprune.core.errors import ModelError
from edgeprune.images.size import ImageSize, input_shape
from edgeprune.models import ModelAdapter
from edgeprune.prune.groups import Group, find_groups, trace
from edgeprune.records.latency_table import Layer, Shape


def deployed_layers(
    adapter: ModelAdapter, model: nn.Module, imgsz: ImageSize, skip: Sequence[str] = ()
) -> tuple[tuple[Layer, ...], dict[str, int]]:
    """Return the layers of a prunable network that its exported form runs, and the width of every group.

    A head with two branches trains both and ships one.

    Args:
        model: what `ModelAdapter.prunable` returned.
        imgsz: size of the input, in pixels.
        skip: glob patterns of layer names whose widths stay.

    Raises:
        ModelError: the network cannot be traced.
    """
    example = torch.zeros(input_shape(imgsz))
    fixed = adapter.unprunable(model)
    groups = find_groups(trace(model, example, fixed), model, fixed, skip)
    shipped = {name for name, _ in adapter.exportable(model).named_modules()}
    layers = tuple(layer for layer in layers_of(model, example, groups) if layer.name in shipped)
    return layers, {group.name: group.width for group in groups}


def layers_of(model: nn.Module, example: torch.Tensor, groups: Sequence[Group]) -> tuple[Layer, ...]:
    """List the dense and depthwise convolutions whose widths follow a group, in the order one input runs.

    What no group reaches costs the same at every pruning: the table counts it with the rest of the network.

    Args:
        example: one input, float32 (1, 3, H, W); the spatial sizes are those it leads to.
        groups: of this very network, from `find_groups`.

    Raises:
        ModelError: a group reaches a convolution in a way that no whole number of channels describes.
    """
    coupling = _coupling(groups)
    names = {module: name for name, module in model.named_modules()}
    seen = _Seen()
    hooks = [
        module.register_forward_hook(seen.note) for module in model.modules() if not any(module.children())
    ]
    try:
        with torch.no_grad():
            model(example)
    finally:
        for hook in hooks:
            hook.remove()
    layers = []
    for call in seen.calls:
        conv = call.conv
        depthwise = conv.groups > 1
        if conv not in coupling or (depthwise and not conv.groups == conv.in_channels == conv.out_channels):
            continue
        out, each, inner = coupling[conv].parts()
        layers.append(
            Layer(
                name=names[conv],
                shape=Shape(
                    kernel=(conv.kernel_size[0], conv.kernel_size[1]),
                    stride=(conv.stride[0], conv.stride[1]),
                    groups="depthwise" if depthwise else "dense",
                    height=call.height,
                    width=call.width,
                    activation=call.activation,
                ),
                cin=conv.in_channels,
                cout=conv.out_channels,
                out_group=out,
                out_each=each,
                in_groups=((out, each),) if depthwise and out else inner,
            )
        )
    return tuple(layers)


@dataclass
class _Coupling:
    """Which groups a convolution's output and input channels belong to."""

    out: str | None = None
    each: int = 1
    inner: dict[str, int] = field(default_factory=dict)

    def parts(self) -> tuple[str | None, int, tuple[tuple[str, int], ...]]:
        return self.out, self.each, tuple(self.inner.items())


def _coupling(groups: Sequence[Group]) -> dict[nn.Module, _Coupling]:
    found: dict[nn.Module, _Coupling] = {}
    for group in groups:
        for dep, channels in group.coupled:
            module = dep.target.module
            if not isinstance(module, nn.Conv2d):
                continue
            each, left = divmod(len(set(channels)), group.width)
            if left:
                raise ModelError(
                    f"group {group.name}: {len(set(channels))} channels of a convolution follow its "
                    f"{group.width}; no latency can be predicted for this network"
                )
            part = found.setdefault(module, _Coupling())
            if dep.handler.__name__ == "prune_in_channels":
                part.inner[group.name] = each
            else:
                part.out, part.each = group.name, each
    return found


@dataclass
class _Call:
    conv: nn.Conv2d
    height: int
    width: int
    activation: str = "Identity"


class _Seen:
    """Hooks on leaf modules: each convolution, and the activation that follows it or its batch norm."""

    def __init__(self) -> None:
        self.calls: list[_Call] = []
        # Tensors are told apart by identity, so they are kept: a freed one's place may be taken by another.
        self._from: dict[int, tuple[torch.Tensor, _Call]] = {}

    def note(self, module: nn.Module, args: tuple[Any, ...], out: Any) -> None:
        if isinstance(module, nn.Conv2d):
            height, width = args[0].shape[2:]
            call = _Call(module, int(height), int(width))
            self.calls.append(call)
            self._from[id(out)] = (out, call)
        elif args and id(args[0]) in self._from:
            _, call = self._from.pop(id(args[0]))
            if isinstance(module, nn.BatchNorm2d):
                self._from[id(out)] = (out, call)
            elif type(module).__module__ == nn.SiLU.__module__:
                call.activation = type(module).__name__
