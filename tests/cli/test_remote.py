"""`bench` and `device setup` on a device behind a real ssh server and behind the real adb client."""

from __future__ import annotations

import json
import platform
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from adbd import AdbDevice
from edgeprune.bench.sessions import Request, measure_on
from edgeprune.bench.setup import Setup
from edgeprune.records.bench_result import BenchResult, load_result, result_file
from edgeprune.runners.devices import remote_runner_for
from edgeprune.runners.known import place_of
from made_builds import write_build
from made_effort import TINY, TINY_EFFORT, quick
from sshd import Device

Place = Device | AdbDevice
OWN, OTHER = ("arm64-ort", "x86-ort") if platform.machine() == "aarch64" else ("x86-ort", "arm64-ort")
DEATHS = {
    "crashes": ("echo 'Illegal instruction' >&2; exit 132", "exited with code 132: Illegal instruction"),
    "hangs": ("exec sleep 600", "no answer within 1 s, it was stopped"),
    "prints garbage": (
        'echo "{"; for last; do :; done; echo "garbage" > "$last"; exit 0',
        "the worker on {} answered with garbage",
    ),
}


def worker_does(place: Place, script: str) -> None:
    """Let the worker be a shell script on the device, whose other processes are as they were."""
    place.python_is(f'case "$*" in *worker.benchmark*) {script};; esac; exec "{sys.executable}" "$@"')


def test_a_bench_on_a_device(run: Any, place: Place, convnet: Path, tmp_path: Path) -> None:
    engine = tmp_path / 'it\'s a\n$(touch pwned) "model";.onnx'
    shutil.copyfile(convnet, engine)
    left = set(place.cache.glob("work-*"))  # by tests that cut the connection for good
    ended = run("bench", engine, "--device", place.address(), "--json")
    assert ended.code == 0 and ended.errors == []
    (result,) = (BenchResult.model_validate(entry) for entry in json.loads(ended.stdout))
    assert len(result.blocks[0].samples_ns) >= 60 and result.blocks[0].output_ok
    assert result.artifact.path == str(engine) and result.memory
    assert result.env_before["machine"] and result.env_before["kernel"]  # as the worker read them there
    assert any(sample["rss_kb"] for sample in result.telemetry)
    assert set(place.cache.glob("work-*")) <= left and not list(tmp_path.rglob("pwned"))


def test_the_rows_of_a_build_for_the_device_are_measured_in_turns_through_a_drop(
    place: Place, convnet: Path, convnet_int8: Path, tmp_path: Path
) -> None:
    both = {"fp32": convnet, "int8": convnet_int8}
    build = write_build(tmp_path / "build", {OWN: both, OTHER: both, "jetson": {"int8": convnet_int8}})
    dropped: list[int] = []

    def drop(name: str, share: float, text: str) -> None:
        if not dropped and text.startswith("block"):
            dropped.append(place.drop())

    (outcome,) = measure_on([place_of(place.address())], Request(build, None, 1, TINY, Setup()), drop)
    assert dropped and dropped[0] > 0 and outcome.error is None
    assert [result.name for result in outcome.results] == [f"{OWN} original fp32", f"{OWN} original int8"]
    for result in outcome.results:
        assert len(result.blocks[0].samples_ns) >= 60 and result.blocks[0].output_ok and result.memory
    assert outcome.results[1].backend.environment == {"ONEDNN_MAX_CPU_ISA": "AVX2"}
    assert {score and score.score for _, score in outcome.accuracies} == {0.5}


@pytest.mark.parametrize("death", DEATHS)
def test_a_worker_that_dies_is_one_line(
    run: Any, place: Place, convnet: Path, death: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    script, says = DEATHS[death]
    effort = quick(timeout_s=1.0) if death == "hangs" else TINY_EFFORT
    worker_does(place, script)
    left = set(place.cache.glob("work-*"))
    ended = run("bench", convnet, "--device", place.address(), effort=effort)
    assert ended.code == 4 and ended.error.startswith(f"edgeprune: {convnet.name}: ")
    assert says.format(place.address()) in ended.error
    assert set(place.cache.glob("work-*")) <= left


def test_what_was_finished_before_a_worker_was_killed_for_memory_is_kept_and_marked(
    run: Any, place: Place, convnet: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    second = tmp_path / "second"
    worker_does(place, f'[ -e "{second}" ] && kill -9 $$; touch "{second}"')
    out = tmp_path / "out"
    ended = run("bench", convnet, "--device", place.address(), "--out", out, effort=quick(blocks=2))
    assert ended.code == 4 and "killed by SIGKILL (out of memory?)" in ended.error
    kept = tmp_path / "out" / result_file(convnet.name)
    assert ended.error.endswith(f"what was finished is kept, marked incomplete: {kept}")
    result = load_result(kept)
    assert len(result.blocks) == 1 and result.blocks[0].output_ok and not result.valid
    assert result.flags[0].evidence.startswith("1 of 2 processes had finished, no peak memory: ")


def test_setup_makes_what_a_bench_then_uses(
    run: Any, place: Place, bare_python: str, convnet: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("devices.yaml").write_text(f"board: {{address: '{place.address()}', target: {OWN}}}\n")
    place.python_is(bare_python)
    lacking = run("bench", convnet, "--device", "board")
    assert lacking.code == 4 and "has numpy and onnxruntime" in lacking.error
    assert lacking.error.endswith(f"edgeprune device setup {place.address()}")
    ended = run("device", "setup", "board")  # the runtime of its target, and no other
    assert ended.code == 0, ended.errors
    python = ended.stdout.strip().removeprefix("onnxruntime is installed: ")
    assert place.here(python) == place.cache / "venv" / "bin" / "python"
    with remote_runner_for(place.address()) as runner:
        code = "import onnxruntime as o; print(o.stands_for)"
        assert runner.run((runner.python("onnxruntime"), "-c", code), 60).stdout == "onnxruntime\n"
    shutil.rmtree(place.cache / "venv")
