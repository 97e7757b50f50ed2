"""`bench --device adb://...` through the real adb client: devices that come and go."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from adbd import AdbDevice
from conftest import write_convnet
from edgeprune.records.bench_result import BenchResult


@pytest.fixture
def engine(tmp_path: Path) -> Path:
    """Return a network whose file is 0.7 MB: it can be cut in two on its way."""
    return write_convnet(tmp_path / "engine.onnx", width=96, depth=3)


def test_a_bench_goes_on_when_the_device_comes_back_in_mid_push(
    run: Any, phone: AdbDevice, engine: Path
) -> None:
    phone.cut_after(400_000)
    ended = run("bench", engine, "--device", phone.address(), "--json")
    assert ended.code == 0 and phone.cuts == 1
    away = f"{phone.address()}: cannot be reached: the connection ended before all was pushed"
    assert ended.error.startswith(f"edgeprune: warning: {away}; it is tried again for ")
    (result,) = (BenchResult.model_validate(entry) for entry in json.loads(ended.stdout))
    assert len(result.blocks[0].samples_ns) >= 60 and result.blocks[0].output_ok


def test_a_device_that_disappears_in_mid_push_for_good(run: Any, phone: AdbDevice, engine: Path) -> None:
    phone.cut_after(400_000, stay_away=True)
    ended = run("bench", engine, "--device", phone.address())
    assert ended.code == 4 and phone.cuts == 1
    told, failed = ended.errors
    assert f"{phone.address()}: cannot be reached: " in told and "it is tried again for " in told
    assert f"{phone.address()}: cannot be reached: " in failed and "more tries failed" in failed


def test_an_unauthorised_device(run: Any, phone: AdbDevice, convnet: Path) -> None:
    phone.trusts = False
    ended = run("bench", convnet, "--device", phone.address())
    assert ended.code == 4 and "it does not trust this machine yet" in ended.error


def test_setup_refuses_what_is_no_device_of_that_kind(run: Any) -> None:
    ended = run("device", "setup", "local")
    assert ended.code == 3 and "the device is one behind ssh:// or adb://" in ended.error
