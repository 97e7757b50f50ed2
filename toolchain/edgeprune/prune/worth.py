"""Which rewritings pay on the target: MACs fall with each of them, latency need not: a table decides."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from edgeprune.core.errors import ConfigError
from edgeprune.prune.factorise import GROUPS, REWRITES, Rewrite, relative_error
from edgeprune.records.latency_table import Layer, Shape

LayerMs = Callable[[Shape, int, int], float]
"""Shape, input and output channels -> milliseconds on the target; ConfigError when that was not measured."""

Single = tuple[Shape, int, int]
"""Shape, input and output channels of one convolution."""

MACS_SHARE = 0.5
"""Share of a layer's MACs that a rewriting may keep: the ranks that the kinds are commonly compared at."""


def rank_for(layer: Any, kind: str, step: int, share: float = MACS_SHARE) -> int | None:
    """Return the largest rank on the channel step that keeps at most a share of a layer's MACs, or None.

    ``depthwise`` has one filter a channel: with more it is no depthwise convolution to any runtime.
    """
    conv: nn.Conv2d = layer.conv
    weight = torch.empty(conv.weight.shape, device="meta")  # shapes are enough here
    unit = {"depthwise": conv.in_channels, "grouped": math.lcm(step, GROUPS)}.get(kind, step)
    if kind == "grouped" and conv.in_channels % GROUPS:
        return None
    most = share * weight.numel()
    best = None
    for rank in range(unit, unit + 1 if kind == "depthwise" else weight.numel(), unit):
        if _macs(REWRITES[kind](weight, rank), conv) > most:
            break
        best = rank
    return best


def rewrites_worth_it(
    candidates: Mapping[str, nn.Module],
    layers: Sequence[Layer],
    kinds: Sequence[str],
    layer_ms: LayerMs,
    step: int,
) -> dict[str, Rewrite]:
    """Choose for each layer the rewriting that loses least of its weights among those the table calls faster.

    A rewriting with a factor that the table does not hold is not considered.

    Args:
        candidates: from `rewritable`.
        layers: the network's convolutions at their spatial sizes, from `prune.layers.layers_of`; a candidate
            that is not among them is left as it is.
        kinds: keys of `REWRITES` that are allowed.
        layer_ms: such as `LatencyTable.factor_ms`.
        step: channel step that ranks are multiples of.
    """
    faster: dict[str, list[Rewrite]] = {}
    for name, layer, how in _considered(candidates, layers, kinds, step):
        ms = _milliseconds(factor_shapes(layer, how), layer_ms)
        whole = _milliseconds([(layer.shape, layer.cin, layer.cout)], layer_ms)
        if ms is not None and whole is not None and ms < whole:
            faster.setdefault(name, []).append(how)
    return {
        name: min(options, key=lambda how: relative_error(candidates[name], how))
        for name, options in faster.items()
    }


def shapes_to_compare(
    candidates: Mapping[str, nn.Module], layers: Sequence[Layer], kinds: Sequence[str], step: int
) -> set[Single]:
    """Return what a table has to hold for `rewrites_worth_it`, beyond the network's own layers.

    That is every factor that the kinds would make of the candidates. Where one is of the very shape of a
    layer that could be rewritten, that layer is in it too: both are then read off one grid.

    Args:
        candidates, layers, kinds, step: as in `rewrites_worth_it`.
    """
    considered = _considered(candidates, layers, kinds, step)
    factors = {factor for _, layer, how in considered for factor in factor_shapes(layer, how)}
    shapes = {shape for shape, *_ in factors}
    wholes = {(layer.shape, layer.cin, layer.cout) for _, layer, _ in considered}
    return factors | {whole for whole in wholes if whole[0] in shapes}


def factor_shapes(layer: Layer, how: Rewrite) -> list[Single]:
    """Return shape, input and output channels of each factor, as a latency table has to hold them."""
    weight = torch.empty(layer.cout, layer.cin, *layer.shape.kernel, device="meta")
    factors = REWRITES[how.kind](weight, how.rank)
    (height, width), cin = (layer.shape.height, layer.shape.width), layer.cin
    found = []
    for number, factor in enumerate(factors):
        cout, into, *kernel = factor.shape
        down, across = (
            stride if own == whole else 1
            for stride, own, whole in zip(layer.shape.stride, kernel, layer.shape.kernel, strict=True)
        )
        depthwise = into == 1 and cin == cout > 1
        shape = Shape(
            kernel=(kernel[0], kernel[1]),
            stride=(down, across),
            groups="depthwise" if depthwise else "dense" if into == cin else cin // into,
            height=height,
            width=width,
            activation=layer.shape.activation if number == len(factors) - 1 else "Identity",
        )
        found.append((shape, cin, cout))
        (height, width), cin = shape.out_size, cout
    return found


def _considered(
    candidates: Mapping[str, nn.Module], layers: Sequence[Layer], kinds: Sequence[str], step: int
) -> list[tuple[str, Layer, Rewrite]]:
    """Return each candidate that is among the layers with each rewriting that there is a rank for."""
    described = {layer.name.removesuffix(".conv"): layer for layer in layers}
    return [
        (name, described[name], Rewrite(kind, rank))
        for name, module in candidates.items()
        if name in described
        for kind in kinds
        if (rank := rank_for(module, kind, step)) is not None
    ]


def _milliseconds(shapes: Sequence[Single], layer_ms: LayerMs) -> float | None:
    try:
        return sum(layer_ms(*shape) for shape in shapes)
    except ConfigError:  # the table was not measured for such a layer
        return None


def _macs(factors: Sequence[torch.Tensor], conv: nn.Conv2d) -> int:
    """Return multiply-accumulates for one pixel of the layer's output."""
    total, (tall, wide) = 0, conv.stride  # pixels so far: what no factor has strided over yet
    for factor in factors:
        tall = 1 if factor.shape[2] == conv.kernel_size[0] else tall
        wide = 1 if factor.shape[3] == conv.kernel_size[1] else wide
        total += factor.numel() * tall * wide
    return total
