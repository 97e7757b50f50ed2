"""`python -m benchmarks.scale`: which points, which step a build is at, what grows too fast; a small run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from benchmarks.scale import AFTER, BEFORE, Found, Point, Step

from benchmarks import scale

BASE = Point("yolov8n", 160, 200)


def found(images: int, **steps: float) -> Found:
    taken = {name: Step(2 * seconds, seconds, 100 + seconds) for name, seconds in steps.items()}
    return Found(replace(BASE, images=images), taken, 0.5, "a CPU, 2 cores", "2026-11-30T01:00+00:00")


def test_one_of_the_three_is_varied_at_a_time() -> None:
    points = scale.points_of(["yolov8n", "yolov8s"], [160, 320], [200, 2000])
    assert points == [
        BASE,
        replace(BASE, images=2000),
        replace(BASE, network="yolov8s"),
        replace(BASE, imgsz=320),
    ]


def test_a_step_is_the_stage_that_was_begun_last() -> None:
    seen: list[str] = []
    assert scale.step_of([], seen) == BEFORE
    assert scale.step_of([".partial-view-a_1"], seen) == "view"
    assert scale.step_of([], seen) == BEFORE
    assert scale.step_of([".partial-int8-ort-u8s8-x"], seen) == "int8-ort-u8s8"
    assert scale.step_of([".partial-int8-ort-u8s8-x", ".partial-calibration-y"], seen) == "calibration"
    assert scale.step_of([".partial-int8-ort-u8s8-x"], seen) == "int8-ort-u8s8"
    assert scale.step_of([], seen) == AFTER


def test_what_grows_faster_than_the_images_is_named() -> None:
    few, some = found(200, accuracy=1, load=1), found(2000, accuracy=10, load=4, bench=9)
    many = found(20_000, accuracy=100, load=50, bench=9)
    assert scale.faster_than_linear([many, few, some]) == [
        "load: 12.5 times the CPU time for 10 times the images"
    ]
    assert scale.faster_than_linear([few, some]) == []
    short = [found(200, load=0.01), found(2000, load=1.9)]
    assert scale.faster_than_linear(short) == []  # too short to tell


def test_the_tables_have_a_line_for_each_build_and_each_step() -> None:
    both = [found(200, load=6, accuracy=54), found(2000, accuracy=540)]
    assert scale.builds_table(both)[2:] == [
        "| yolov8n | 160 | 200 | 2.0 | 1.0 | 154 | 0.5 | 2026-11-30T01:00 |",
        "| yolov8n | 160 | 2,000 | 18.0 | 9.0 | 640 | 0.5 | 2026-11-30T01:00 |",
        "",
        "Machine: a CPU, 2 cores.",
    ]
    assert scale.steps_table(both) == [
        "| step | 200: CPU s | 200: peak MB | 2,000: CPU s | 2,000: peak MB |",
        "|---|--:|--:|--:|--:|",
        "| load | 6.0 | 106 | – | – |",
        "| accuracy | 54.0 | 154 | 540.0 | 640 |",
    ]


def test_a_point_is_built_once_and_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["--out", str(tmp_path), "--networks", "yolov8n", "--imgsz", "64", "--images", "24"]
    asked += ["--target", "rpi5", "--", "--no-prune", "--set", "quantize.images=4"]
    assert scale.main(asked) == 0
    printed = capsys.readouterr().out
    (kept,) = tmp_path.glob("yolov8n-64-24.json")
    steps = scale.read_found(scale.json.loads(kept.read_text())).steps
    assert {BEFORE, "onnx", "accuracy"} <= steps.keys()
    assert all(step.peak_mb > 50 and step.cpu_s >= 0 for step in steps.values())
    assert len(list((tmp_path / "data/24/images").rglob("*.jpg"))) == 24
    assert not (tmp_path / "yolov8n-64-24").exists()
    before = kept.stat().st_mtime_ns
    assert scale.main(asked) == 0
    assert capsys.readouterr().out == printed and kept.stat().st_mtime_ns == before
