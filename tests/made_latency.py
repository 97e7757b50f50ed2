"""A latency table of three layers, one behind the other, whose times follow their widths."""

from __future__ import annotations

from typing import Any

from edgeprune.records.latency_table import Anchor, Grid, LatencyTable, Layer, Shape, TableKey

SHAPE = Shape(kernel=(3, 3), stride=1, groups="dense", height=8, width=8, activation="SiLU")
DEEP = Shape(kernel=(3, 3), stride=2, groups="depthwise", height=8, width=8, activation="SiLU")
KEY = TableKey(
    machine="x86_64", board=None, cpu="a cpu", cores=2, runtime="onnxruntime", runtime_version="1.31.1",
    precision="int8", threads=1,
)  # fmt: skip
LAYERS = (
    Layer(name="a", shape=SHAPE, cin=64, cout=64, out_group="a"),
    Layer(name="b", shape=SHAPE, cin=64, cout=32, out_group="b", in_groups=(("a", 1),)),
    Layer(name="c", shape=SHAPE, cin=64, cout=64, in_groups=(("b", 2),)),
)
ORIGINAL = {"a": 64, "b": 32}
AXIS = (16, 32, 64)


def table(**changes: Any) -> LatencyTable:
    ms = tuple(tuple(cin * cout / 1000 for cout in AXIS) for cin in AXIS)
    grid = Grid(shape=SHAPE, cin=AXIS, cout=AXIS, ms=ms, iqr_ms=ms, n=3)
    data: dict[str, Any] = {
        "key": KEY, "model": "digest", "imgsz": 64, "step": 16, "original": ORIGINAL, "layers": LAYERS,
        "grids": (grid,), "anchors": (Anchor(ms=12.0, iqr_ms=0.1, n=3),),
    }  # fmt: skip
    return LatencyTable(**(data | changes))
