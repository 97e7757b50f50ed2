"""A latency table of a real network with made-up times, where measuring one would take a minute."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from edgeprune.latency.grids import axes_through
from edgeprune.models import ModelAdapter
from edgeprune.prune.factorise import rewritable
from edgeprune.prune.layers import deployed_layers
from edgeprune.prune.worth import shapes_to_compare
from edgeprune.records.latency_table import Anchor, Grid, LatencyTable, Shape, TableKey

KEY: dict[str, Any] = {
    "machine": "x86_64", "board": None, "cpu": "a cpu", "cores": 2, "runtime": "onnxruntime",
    "runtime_version": "1", "precision": "int8", "threads": 1,
}  # fmt: skip


def made_table(
    adapter: ModelAdapter,
    model: nn.Module,
    imgsz: int,
    key: TableKey | None = None,
    rewrite: Sequence[str] = (),
) -> LatencyTable:
    """Return a table in which a layer's time follows its multiplications, at a step of 8.

    Args:
        rewrite: kinds of rewriting whose factors it holds too.
    """
    layers, original = deployed_layers(adapter, model, imgsz)
    axis = (8, 512)
    grids = tuple(
        _grid(shape, axis if shape.groups == "dense" else (0,), axis)
        for shape in {layer.shape: None for layer in layers}
    )
    candidates = rewritable(model, adapter.unprunable(model))
    axes = axes_through(shapes_to_compare(candidates, layers, rewrite, 8))
    factors = tuple(_grid(shape, *widths) for shape, widths in axes.items())
    table = LatencyTable(
        key=key or TableKey(**KEY), model="made", imgsz=imgsz, step=8, original=original, layers=layers,
        grids=grids, factors=factors, anchors=(Anchor(ms=1.0, iqr_ms=0.1, n=1),),
    )  # fmt: skip
    whole = table.whole_ms - table.rest_ms()
    return table.model_copy(update={"anchors": (Anchor(ms=whole, iqr_ms=0.1, n=1),)})


def _grid(shape: Shape, cins: tuple[int, ...], couts: tuple[int, ...]) -> Grid:
    each = shape.groups if isinstance(shape.groups, int) else 1
    kernel = shape.kernel[0] * shape.kernel[1]
    rows = [[max(cin, 1) / each * cout * kernel * shape.pixels * 1e-7 for cout in couts] for cin in cins]
    ms = tuple(tuple(row) for row in rows)
    return Grid(shape=shape, cin=cins, cout=couts, ms=ms, iqr_ms=ms, n=1)
