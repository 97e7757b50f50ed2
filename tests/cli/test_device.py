"""`bench --device ssh://...` and `device setup` on a real ssh server."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from edgeprune.bench.placing import measure_subjects
from edgeprune.bench.result import BenchResult
from edgeprune.bench.subject import subjects_of
from edgeprune.runners.ssh import SshRunner
from sshd import Device


def test_a_bench_on_a_device(
    quick_bench: None, run: Any, device: Device, convnet: Path, tmp_path: Path
) -> None:
    engine = tmp_path / 'it\'s a\n$(touch pwned) "model";.onnx'
    shutil.copyfile(convnet, engine)
    left = set(device.cache.glob("work-*"))  # by tests that cut the connection for good
    ended = run("bench", engine, "--device", device.address(), "--json")
    assert ended.code == 0 and ended.errors == []
    (result,) = (BenchResult.model_validate(entry) for entry in json.loads(ended.stdout))
    assert len(result.blocks[0].samples_ns) >= 60 and result.blocks[0].output_ok
    assert result.artifact["path"] == str(engine) and result.memory
    assert result.env_before["machine"] and result.env_before["kernel"]  # as the worker read them there
    assert any(sample["rss_kb"] for sample in result.telemetry)
    assert set(device.cache.glob("work-*")) <= left


def test_a_bench_in_turns_whose_connection_is_killed_is_complete(
    quick_bench: None, device: Device, convnet: Path, convnet_int8: Path
) -> None:
    dropped: list[int] = []

    def drop(done: float, total: int, text: str) -> None:
        if not dropped and text.startswith("block"):
            dropped.append(device.drop())

    subjects = [*subjects_of(convnet), *subjects_of(convnet_int8)]
    with SshRunner(device.address()) as runner:
        results = measure_subjects(subjects, 1, "quick", runner, drop)
    assert dropped and dropped[0] > 0
    assert [result.name for result in results] == [convnet.name, convnet_int8.name]
    for result in results:
        assert len(result.blocks[0].samples_ns) >= 60 and result.blocks[0].output_ok


def test_a_worker_that_answers_with_garbage(
    quick_bench: None, run: Any, device: Device, convnet: Path
) -> None:
    garbage = 'echo "{"; for last; do :; done; echo "garbage" > "$last"; exit 0'
    device.python_is(f'case "$*" in *bench.worker*) {garbage};; esac; exec "{sys.executable}" "$@"')
    ended = run("bench", convnet, "--device", device.address())
    assert ended.code == 4
    assert f"{convnet.name}: the worker on {device.address()} answered with garbage" in ended.error


def test_a_target_of_another_architecture_is_refused(run: Any, device: Device, convnet: Path) -> None:
    ended = run("bench", convnet, "--device", device.address(), "--target", "android-ort")
    assert ended.code == 3 and "this target is not the device" in ended.error


def test_a_device_that_cannot_be_reached(run: Any, device: Device, convnet: Path) -> None:
    ended = run("bench", convnet, "--device", device.address(port=1))
    assert ended.code == 4 and "cannot be reached" in ended.error
    ended = run("bench", convnet, "--device", "tape://reel")
    assert ended.code == 3 and "there are local and ssh://" in ended.error


@pytest.fixture
def bare(device: Device, bare_python: str) -> Device:
    """Return the device with a Python that has no packages, and an index of its own for pip."""
    device.python_is(bare_python)
    return device


def test_setup_makes_what_a_bench_then_uses(run: Any, bare: Device, convnet: Path) -> None:
    lacking = run("bench", convnet, "--device", bare.address())
    assert lacking.code == 4
    assert "has numpy and onnxruntime" in lacking.error
    assert lacking.error.endswith(f"edgeprune device setup {bare.address()}")
    ended = run("device", "setup", bare.address(), "--target", "x86-ort")
    assert ended.code == 0, ended.errors
    python = ended.stdout.strip().removeprefix("onnxruntime is installed: ")
    assert Path(python) == bare.cache / "venv" / "bin" / "python"
    with SshRunner(bare.address()) as runner:
        said = runner.run(
            (runner.python("onnxruntime"), "-c", "import onnxruntime as o; print(o.stands_for)"), 60
        )
    assert said.stdout == "onnxruntime\n"
    shutil.rmtree(bare.cache / "venv")
