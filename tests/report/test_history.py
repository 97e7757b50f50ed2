"""Results on a terminal: every series under what tells it apart from the others."""

import io

from rich.console import Console

from edgeprune.history.entry import Point
from edgeprune.report.history import curves_of, print_points

PI = "Raspberry Pi 5 (aarch64)"


def _point(index: int, **changes: object) -> Point:
    fields: dict[str, object] = {
        "id": f"run{index}", "kind": "bench", "name": "model.onnx", "machine": "a CPU (x86_64)",
        "backend": "onnxruntime", "backend_version": "1", "precision": "fp32", "threads": 1,
        "scenario": "single_stream", "started_utc": f"2026-02-01T00:{index:02d}:00Z", "commit_sha": "ab" * 20,
        "valid": True, "p50_ms": 10.0 + index,
    }  # fmt: skip
    return Point.model_validate(fields | changes)


def test_series_that_differ_only_in_machine_threads_or_scenario_are_told_apart() -> None:
    points = [
        point
        for index in (0, 5)
        for point in (
            _point(index),
            _point(index + 1, machine=PI),
            _point(index + 2, threads=4),
            _point(index + 3, scenario="sustained"),
        )
    ]
    stream = io.StringIO()
    print_points(points, Console(file=stream, width=100))
    blocks = stream.getvalue().strip().split("\n\n")
    titles = [block.splitlines()[0] for block in blocks]
    assert titles == [
        "model.onnx, single_stream, onnxruntime fp32, 1 thread, a CPU (x86_64)",
        f"model.onnx, single_stream, onnxruntime fp32, 1 thread, {PI}",
        "model.onnx, single_stream, onnxruntime fp32, 4 threads, a CPU (x86_64)",
        "model.onnx, sustained, onnxruntime fp32, 1 thread, a CPU (x86_64)",
    ]
    assert ["10.00" in blocks[0], "15.00" in blocks[0], "11.00" in blocks[0]] == [True, True, False]
    assert {curve.title() for curve in curves_of(points, "p50")} == {
        f"p50 latency of {one}" for one in titles
    }
