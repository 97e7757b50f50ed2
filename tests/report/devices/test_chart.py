"""The chart of many devices: each metric has its own, and every point names its line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

from edgeprune.report.devices.chart import accuracy_over_devices, drawn_metrics
from edgeprune.report.devices.entries import load_lines
from edgeprune.report.devices.tables import parts_of

Make = Callable[..., Path]


def test_every_measured_row_is_a_point_that_names_its_line(make: Make) -> None:
    (part,) = parts_of(load_lines([make("a"), make("b", slower=3.0)]))
    assert drawn_metrics(part) == [("mAP50-95", "test")]
    svg = ElementTree.fromstring(accuracy_over_devices(part, ("mAP50-95", "test"), "chart"))
    texts = ["".join(one.itertext()) for one in svg.iter("text")]
    rows = [(line.number, one) for line in part.lines for one in line.figures if one.p50_ms is not None]
    assert sorted(text for text in texts if text.split()[0].isdigit() and len(text.split()) == 2) == sorted(
        f"{number} {one.variant.split()[1]}" for number, one in rows
    )
    assert svg.get("aria-label") == "mAP50-95 over p50 latency of every row of every device"


def test_without_accuracy_there_is_nothing_to_draw(bench: Make) -> None:
    (part,) = parts_of(load_lines([bench("x.json", "tiny", 8.0)]))
    assert drawn_metrics(part) == []
