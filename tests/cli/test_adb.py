"""`bench --device adb://...` and `device setup`, through the real adb client."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from adbd import AdbDevice
from conftest import write_convnet
from edgeprune.bench.placing import measure_subjects
from edgeprune.bench.result import BenchResult
from edgeprune.bench.subject import subjects_of
from edgeprune.runners.adb import AdbRunner
from edgeprune.runners.devices import runner_for


@pytest.fixture
def engine(tmp_path: Path) -> Path:
    """Return a network whose file is 0.7 MB: it can be cut in two on its way."""
    return write_convnet(tmp_path / "engine.onnx", width=96, depth=3)


def test_a_bench_on_a_device(
    quick_bench: None, run: Any, phone: AdbDevice, convnet: Path, tmp_path: Path
) -> None:
    engine = tmp_path / 'it\'s a\n$(touch pwned) "model";.onnx'
    shutil.copyfile(convnet, engine)
    ended = run("bench", engine, "--device", phone.address(), "--json")
    assert ended.code == 0 and ended.errors == []
    (result,) = (BenchResult.model_validate(entry) for entry in json.loads(ended.stdout))
    assert len(result.blocks[0].samples_ns) >= 60 and result.blocks[0].output_ok
    assert result.artifact["path"] == str(engine) and result.memory
    assert result.env_before["machine"] and result.env_before["kernel"]  # as the worker read them there
    assert not list(phone.cache.glob("work-*")) and not list(tmp_path.rglob("pwned"))


def test_a_bench_in_turns_through_drops_is_complete(
    quick_bench: None, phone: AdbDevice, convnet: Path, convnet_int8: Path
) -> None:
    dropped: list[int] = []

    def drop(done: float, total: int, text: str) -> None:
        if not dropped and text.startswith("block"):
            dropped.append(phone.drop())

    subjects = [*subjects_of(convnet), *subjects_of(convnet_int8)]
    with runner_for(phone.address()) as runner:
        results = measure_subjects(subjects, 1, "quick", runner, drop)
    assert dropped and dropped[0] > 0
    assert [result.name for result in results] == [convnet.name, convnet_int8.name]
    for result in results:
        assert len(result.blocks[0].samples_ns) >= 60 and result.blocks[0].output_ok


def test_a_bench_goes_on_when_the_device_comes_back_in_mid_push(
    quick_bench: None, run: Any, phone: AdbDevice, engine: Path
) -> None:
    phone.cut_after(400_000)
    ended = run("bench", engine, "--device", phone.address(), "--json")
    assert ended.code == 0 and ended.errors == [] and phone.cuts == 1
    (result,) = (BenchResult.model_validate(entry) for entry in json.loads(ended.stdout))
    assert len(result.blocks[0].samples_ns) >= 60 and result.blocks[0].output_ok


def test_a_device_that_disappears_in_mid_push_for_good(run: Any, phone: AdbDevice, engine: Path) -> None:
    phone.cut_after(400_000, stay_away=True)
    ended = run("bench", engine, "--device", phone.address())
    assert ended.code == 4 and phone.cuts == 1
    assert f"{phone.address()}: cannot be reached: " in ended.error and "more tries failed" in ended.error


def test_a_worker_that_answers_with_garbage(
    quick_bench: None, run: Any, phone: AdbDevice, convnet: Path
) -> None:
    garbage = 'echo "{"; for last; do :; done; echo "garbage" > "$last"; exit 0'
    phone.python_is(f'case "$*" in *bench.worker*) {garbage};; esac; exec "{sys.executable}" "$@"')
    ended = run("bench", convnet, "--device", phone.address())
    assert ended.code == 4
    assert f"{convnet.name}: the worker on {phone.address()} answered with garbage" in ended.error


def test_a_worker_that_is_killed_for_memory(
    quick_bench: None, run: Any, phone: AdbDevice, convnet: Path
) -> None:
    phone.python_is(f'case "$*" in *bench.worker*) kill -9 $$;; esac; exec "{sys.executable}" "$@"')
    ended = run("bench", convnet, "--device", phone.address())
    assert ended.code == 4 and "killed by SIGKILL (out of memory?)" in ended.error
    assert not list(phone.cache.glob("work-*"))


def test_an_unauthorised_device(run: Any, phone: AdbDevice, convnet: Path) -> None:
    phone.trusts = False
    ended = run("bench", convnet, "--device", phone.address())
    assert ended.code == 4 and "it does not trust this machine yet" in ended.error


def test_setup_makes_what_a_bench_then_uses(
    run: Any, phone: AdbDevice, bare_python: str, convnet: Path
) -> None:
    phone.python_is(bare_python)
    lacking = run("bench", convnet, "--device", phone.address())
    assert lacking.code == 4 and "has numpy and onnxruntime" in lacking.error
    assert lacking.error.endswith(f"edgeprune device setup {phone.address()}")
    ended = run("device", "setup", phone.address(), "--target", "x86-ort")
    assert ended.code == 0, ended.errors
    python = ended.stdout.strip().removeprefix("onnxruntime is installed: ")
    assert phone.here(python) == phone.cache / "venv" / "bin" / "python"
    with AdbRunner(phone.address()) as runner:
        code = "import onnxruntime as o; print(o.stands_for)"
        assert runner.run((runner.python("onnxruntime"), "-c", code), 60).stdout == "onnxruntime\n"


def test_setup_refuses_what_is_no_device_of_that_kind(run: Any) -> None:
    ended = run("device", "setup", "local")
    assert ended.code == 3 and "the device is one behind ssh:// or adb://" in ended.error
