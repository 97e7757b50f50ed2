"""`python -m benchmarks.npu`: the drops in its tables, and a whole run in Qualcomm's emulator."""

from __future__ import annotations

import json
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest

from benchmarks import npu
from edgeprune.config.targets import resolve_targets
from edgeprune.images.dataset import Dataset

LINE = npu.Line(
    network="yolo11n",
    variant="original",
    metric="mAP50-95",
    params=2_600_000,
    target="rk3588",
    plain={"val": 0.45, "test": 0.4321},
    int8={"val": 0.44, "test": 0.4346},
    taken=90,
    operators=120,
    kept=0,
)


def test_a_drop_is_counted_from_the_same_network_in_float() -> None:
    pruned = replace(LINE, variant="pruned", params=1_300_000, target="qcs6490", int8=LINE.plain)
    assert npu.short_table([LINE, pruned]).splitlines()[2:] == [
        "| yolo11n | 2.60 M | .4321 | -.0025 | – |",
        "| yolo11n, pruned | 1.30 M | .4321 | – | .0000 |",
    ]
    assert npu.whole_table([LINE]).splitlines() == [
        "| network | target | val: float | int8 | drop | test: float | int8 | drop | on the NPU |",
        "|---|---|--:|--:|--:|--:|--:|--:|--:|",
        "| yolo11n | `rk3588` | .4500 | .4400 | .0100 | .4321 | .4346 | -.0025 | 90 of 120 |",
    ]


def test_all_targets_share_one_channel_step() -> None:
    profiles = resolve_targets(npu.TARGETS)
    assert {profile.step for profile in profiles} == {16, 32}
    assert {profile.step for profile in npu.alike(profiles)} == {32}


@pytest.mark.skipif(find_spec("onnxruntime_qnn") is None, reason="onnxruntime-qnn is not installed")
def test_a_network_is_built_pruned_and_not_and_the_same_command_makes_nothing_again(
    checkpoints: dict[str, Path], tiny: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [
        *("--model", str(checkpoints["yolov8n"]), "--data", str(tiny.source), "--target", "qcs6490"),
        *("--epochs", "0", "--set", "quantize.images=2", "--set", "prune.max_ratio=0.9"),
        *("--set", "budget.max_drop=1", "--out", str(tmp_path / "out")),
    ]
    npu.main(arguments)
    printed = capsys.readouterr().out
    assert printed == (tmp_path / "out/npu.md").read_text()
    (file,) = (tmp_path / "out").glob("*.json")
    original, pruned = json.loads(file.read_text())
    assert (original["variant"], pruned["variant"]) == ("original", "pruned")
    assert pruned["params"] < original["params"]
    for line in (original, pruned):
        assert 200 < line["taken"] < line["operators"] and line["kept"] == 0
        assert list(line["plain"]) == list(line["int8"]) and line["network"] == "yolov8n"
    stages = {path: path.stat().st_mtime_ns for path in file.with_suffix("").joinpath("stages").iterdir()}
    npu.main(arguments)
    assert capsys.readouterr().out == printed
    folders = [path for path in stages if path.is_dir()]
    assert all(stages[path] == path.stat().st_mtime_ns for path in folders)
