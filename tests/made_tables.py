"""A latency table of a real network with made-up times, where measuring one would take a minute."""

from __future__ import annotations

from typing import Any

from torch import nn

from edgeprune.latency import Anchor, Grid, LatencyTable, TableKey
from edgeprune.models import ModelAdapter
from edgeprune.prune.layers import deployed_layers

KEY: dict[str, Any] = {
    "machine": "x86_64", "board": None, "cpu": "a cpu", "cores": 2, "runtime": "onnxruntime",
    "runtime_version": "1", "precision": "int8", "threads": 1,
}  # fmt: skip


def made_table(
    adapter: ModelAdapter, model: nn.Module, imgsz: int, key: TableKey | None = None
) -> LatencyTable:
    """Return a table in which a layer's time follows its multiplications, at a step of 8."""
    layers, original = deployed_layers(adapter, model, imgsz)
    axis = (8, 512)
    grids = []
    for shape in {layer.shape: None for layer in layers}:
        cins = axis if shape.groups == "dense" else (0,)
        ms = tuple(tuple(max(cin, 1) * cout * shape.pixels * 1e-7 for cout in axis) for cin in cins)
        grids.append(Grid(shape=shape, cin=cins, cout=axis, ms=ms, iqr_ms=ms, n=1))
    table = LatencyTable(
        key=key or TableKey(**KEY), model="made", imgsz=imgsz, step=8, original=original, layers=layers,
        grids=tuple(grids), anchors=(Anchor(ms=1.0, iqr_ms=0.1, n=1),),
    )  # fmt: skip
    whole = table.whole_ms - table.rest_ms()
    return table.model_copy(update={"anchors": (Anchor(ms=whole, iqr_ms=0.1, n=1),)})
