"""Which widths of which layer shapes are measured, and together with which others."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from edgeprune.prune.allocation import on_step
from edgeprune.records.latency_table import Layer, Shape

Axes = Mapping[Shape, tuple[tuple[int, ...], tuple[int, ...]]]
"""Input and output widths of each shape, rising; a depthwise shape has one width, its inputs are ``(0,)``."""


def macs(layer: Layer) -> int:
    """Return the multiply-accumulates of a layer for one image."""
    kernel = layer.shape.kernel[0] * layer.shape.kernel[1]
    return layer.cin * layer.cout * kernel * layer.shape.pixels


def axes_of(layers: Iterable[Layer], step: int, most: int) -> Axes:
    """Return the widths to measure each shape at, input and output."""
    by_shape: dict[Shape, list[Layer]] = {}
    for layer in layers:
        by_shape.setdefault(layer.shape, []).append(layer)
    return {
        shape: (
            (0,)
            if shape.groups == "depthwise"
            else _axis({layer.cin for layer in group}, _follows(group, "in"), step, most),
            _axis({layer.cout for layer in group}, _follows(group, "out"), step, most),
        )
        for shape, group in by_shape.items()
    }


def axes_through(layers: Iterable[tuple[Shape, int, int]]) -> Axes:
    """Return the widths to measure each shape at so that these layers, of given widths, are among them."""
    widths: dict[Shape, tuple[set[int], set[int]]] = {}
    for shape, cin, cout in layers:
        cins, couts = widths.setdefault(shape, (set(), set()))
        cins.add(0 if shape.groups == "depthwise" else cin)
        couts.add(cout)
    return {shape: (tuple(sorted(cins)), tuple(sorted(couts))) for shape, (cins, couts) in widths.items()}


def _follows(layers: Sequence[Layer], side: str) -> bool:
    return any(layer.in_groups if side == "in" else layer.out_group for layer in layers)


def _axis(widths: set[int], varies: bool, step: int, most: int) -> tuple[int, ...]:
    """Return the original widths, and if they vary a quarter of the least and even places, all on the step.

    Each original width is in it, since what a network's rest is counts from these.
    """
    chosen = set(widths)
    if varies:
        low, high = on_step(min(widths) / 4, step, min(widths)), max(widths)
        chosen.add(low)
        for place in np.linspace(low, high, most)[1:-1]:
            near = on_step(float(place), step, high)
            if all(abs(near - other) >= (high - low) / (2 * most) for other in chosen):
                chosen.add(near)
    return tuple(sorted(chosen))


def chunks_of(points: Mapping[Shape, int], size: int) -> list[list[Shape]]:
    """Put shapes together until a chunk has about `size` points; shapes of one input size stay neighbours."""
    chunks: list[list[Shape]] = []
    filled = size
    for shape in sorted(points, key=lambda shape: (-shape.height, -shape.width, str(shape))):
        if filled + points[shape] > size:
            chunks.append([])
            filled = 0
        chunks[-1].append(shape)
        filled += points[shape]
    return chunks
