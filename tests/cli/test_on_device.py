"""`profile`, `build` and `check --device ssh://...` on a real ssh server; nothing is measured here."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from edgeprune.bench.testbed import as_testbed
from edgeprune.config.targets import resolve_targets
from edgeprune.core.errors import DeviceError, NotMeasuredWarning
from edgeprune.core.resources import find_bundled
from edgeprune.images.dataset import Dataset
from edgeprune.records.latency_table import load_table
from edgeprune.runners.ssh import SshRunner
from sshd import Device


def test_a_latency_table_is_the_devices(
    run: Any,
    device: Device,
    elsewhere: None,
    checkpoints: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out = tmp_path / "table.json"
    ended = run(
        *("profile", "--model", checkpoints["yolov8n"], "--target", "x86-ort", "--precision", "fp32"),
        *("--device", device.address(), "--out", out),
    )
    assert ended.code == 0, (ended.errors, ended.exception)
    table = load_table(out)
    assert table.whole_ms > 0 and len(table.layers) > 50
    with SshRunner(device.address()) as runner:
        bed = as_testbed(runner, resolve_targets(("x86-ort",)))
    assert table.key.cpu == bed.environment["cpu"]
    assert table.key.runtime_version == bed.versions["onnxruntime"]


def test_a_build_measures_on_the_device(
    run: Any,
    device: Device,
    elsewhere: None,
    checkpoints: dict[str, Path],
    tiny: Dataset,
    tmp_path: Path,
) -> None:
    """One target is compiled and evaluated here, one there; nothing else differs, nor do their rows."""
    out, here, there = (tmp_path / name for name in ("out", "here.yaml", "there.yaml"))
    told = yaml.safe_load((find_bundled("targets") / "x86-ort.yaml").read_text()) | {"precisions": ["int8"]}
    here.write_text(yaml.safe_dump(told))
    there.write_text(yaml.safe_dump(told | dict.fromkeys(("compile_on", "evaluate_on", "time_on"), "device")))
    ended = run(
        *("build", "--model", checkpoints["yolov8n"], "--data", tiny.source, "--out", out, "--imgsz", "64"),
        *("--target", here, "--target", there, "--no-prune", "--bench", "quick", "--max-drop", "1"),
        *("--set", "quantize.images=4", "--device", device.address()),
    )
    assert ended.code == 0, (ended.errors, ended.exception)
    targets = json.loads((out / "summary.json").read_text())["targets"]
    rows = {name: targets[name]["rows"] for name in ("here", "there")}
    for own, away in zip(rows["here"], rows["there"], strict=True):
        for name in ("precision", "score", "val", "per_class", "quantized_ops", "sha256", "runtime_version"):
            assert own[name] == away[name], name
    for row in rows["here"] + rows["there"]:
        assert row["p50_ms"] > 0 and "output_mismatch" not in row["flags"]


def test_a_check_compares_on_the_device(
    run: Any,
    device: Device,
    elsewhere: None,
    convnet: Path,
    convnet_int8: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ended = run(
        *("check", "--baseline", convnet, "--candidate", convnet_int8, "--target", "x86-ort"),
        *("--device", device.address()),
    )
    assert ended.code == 6, (ended.errors, ended.exception)
    assert "differ in precision: fp32 and int8" in ended.error


@pytest.mark.parametrize("command", ["profile", "build"])
def test_a_target_that_is_not_the_device_is_refused_before_anything_is_made(
    run: Any, device: Device, checkpoints: dict[str, Path], tiny: Dataset, tmp_path: Path, command: str
) -> None:
    more = ("--data", tiny.source, "--out", tmp_path / "out") if command == "build" else ()
    ended = run(
        *(command, "--model", checkpoints["yolov8n"], "--target", "rpi5", "--device", device.address(), *more)
    )
    assert ended.code == 3, (ended.errors, ended.exception)
    assert f"rpi5: this target is not {device.address()}, which is " in ended.error
    assert not (tmp_path / "out").exists()


def test_of_several_targets_those_that_are_not_the_device_are_told(device: Device) -> None:
    profiles = resolve_targets(("x86-ort", "rk3588", "snapdragon-8gen3"))
    told = pytest.warns(NotMeasuredWarning)
    with SshRunner(device.address()) as runner, told as warned:
        bed = as_testbed(runner, profiles)
    assert [bed.measures(one) for one in profiles] == [True, False, False]
    assert [str(one.message).partition(":")[0] for one in warned] == ["rk3588", "snapdragon-8gen3"]


@pytest.mark.parametrize("told", ["{", '{"environment": {}, "versions": {}}'])
def test_a_device_that_tells_garbage_of_itself(device: Device, told: str) -> None:
    device.python_is(
        f'case "$*" in *worker.facts*) echo \'{told}\'; exit 0;; esac; exec "{sys.executable}" "$@"'
    )
    with SshRunner(device.address()) as runner, pytest.raises(DeviceError, match="asked what it is"):
        as_testbed(runner, resolve_targets(("x86-ort",)))
