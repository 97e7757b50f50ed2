"""Engines that only a device compiles, made there behind a real ssh server; the runtime is ONNX Runtime."""

from __future__ import annotations

import platform
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from edgeprune.backends import get_backend
from edgeprune.bench import testbed
from edgeprune.bench.compiling import compile_for
from edgeprune.config.targets import DeviceProfile, resolve_targets
from edgeprune.core.artifact import Artifact, digest
from edgeprune.core.errors import CompileError, DeviceError
from edgeprune.runners.ssh import SshRunner
from sshd import Device, Wire

THERE: DeviceProfile = resolve_targets(("x86-ort",))[0].model_copy(
    update={"compile_on": "device", "time_on": "device"}
)


def bed(runner: SshRunner) -> testbed.Testbed:
    return testbed.as_testbed(runner, (THERE,))


def waiting_for(device: Device, folder: Path) -> Callable[[], None]:
    """Let the compiler there wait until the function that is returned is called; `started` appears first."""
    go = f'touch "{folder}/started"; while [ -d "{folder}" ] && [ ! -e "{folder}/go" ]; do sleep 0.05; done'
    interpreter = (device.folder / "bin" / "python3").read_text().splitlines()[-1]
    device.python_is(f'case "$*" in *worker.compile*) {go};; esac; {interpreter}')
    return (folder / "go").touch


def until(true: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def made(device: Device) -> list[Path]:
    return sorted((device.cache / "edgeprune-cache" / "compiled").glob("*"))


def test_an_engine_is_made_there_once_and_brought_here(device: Device, convnet: Path, tmp_path: Path) -> None:
    model, said = Artifact.of(convnet, "onnx", "fp32"), []
    with SshRunner(device.address()) as runner:
        engines = [
            compile_for(bed(runner), THERE, model, "fp32", tmp_path / name, say=said.append)
            for name in ("first", "second")
        ]
    assert [text.split(" in ")[0] for text in said[1::2]] == ["built there", "found there"]
    first, second = engines
    assert first.sha256 == second.sha256 == digest(second.path) and first.parent == model.sha256
    assert first.built and first.built.runtime == f"onnxruntime {get_backend('onnxruntime').version()}"
    get_backend("onnxruntime").load(second.path, "fp32", 1, {})


def test_a_build_outlives_a_lost_connection_and_the_next_one_finds_it(
    device: Device, convnet_int8: Path, tmp_path: Path
) -> None:
    go, model = waiting_for(device, tmp_path), Artifact.of(convnet_int8, "onnx", "int8")
    before = len(made(device))
    wire, ended = Wire(device.port, 1 << 60), []

    def build() -> None:
        with SshRunner(device.address(port=wire.port)) as runner:
            try:
                compile_for(bed(runner), THERE, model, "int8", tmp_path / "lost")
            except DeviceError as exc:
                ended.append(exc)

    thread = threading.Thread(target=build)
    thread.start()
    until((tmp_path / "started").exists)
    wire.close()
    device.drop()
    thread.join(60)
    assert len(ended) == 1 and "more tries failed" in str(ended[0]) and ended[0].exit_code == 4
    assert not list((tmp_path / "lost").glob("*")), "nothing half made is here"
    go()
    until(lambda: len(made(device)) == before + 1 and not made(device)[0].name.startswith(".partial"))
    said: list[str] = []
    with SshRunner(device.address()) as runner:
        compile_for(bed(runner), THERE, model, "int8", tmp_path / "again", say=said.append)
    assert said[-1] == "found there"


def test_a_build_through_a_drop_goes_on(device: Device, convnet: Path, tmp_path: Path) -> None:
    go = waiting_for(device, tmp_path)
    model = Artifact.of(convnet, "onnx", "bf16")  # a precision of its own: none like it is kept there

    def drop() -> None:
        until((tmp_path / "started").exists)
        assert device.drop()
        go()

    thread = threading.Thread(target=drop)
    thread.start()
    with SshRunner(device.address()) as runner:
        engine = compile_for(bed(runner), THERE, model, "bf16", tmp_path / "out")
    thread.join()
    assert engine.path.is_file()


DEATHS = {
    "kill -9 $$": "the device killed the build of the engine, as it does when its memory runs out",
    'for last; do :; done; echo "{}" > "$last"; exit 0': "answered with garbage",
    "echo 'no such thing' >&2; exit 7": "the engine was not built: ",
}


def test_a_compiler_that_ends_is_one_line_and_leaves_nothing_half_made(
    device: Device, convnet: Path, tmp_path: Path
) -> None:
    interpreter = (device.folder / "bin" / "python3").read_text().splitlines()[-1]
    model = Artifact.of(convnet, "onnx", "fp16")
    with SshRunner(device.address()) as runner:
        there = bed(runner)
        for script, says in DEATHS.items():
            device.python_is(f'case "$*" in *worker.compile*) {script};; esac; {interpreter}')
            with pytest.raises(DeviceError) as caught:
                compile_for(there, THERE, model, "fp16", tmp_path / "out")
            told = str(caught.value)
            assert told.startswith(f"{device.address()}: x86-ort fp16: ") and says in told
            assert "\n" not in told and not list((tmp_path / "out").glob("*"))
    assert not [left for left in made(device) if left.name.startswith(".partial")]


def test_a_model_that_its_runtime_refuses_is_told_by_it(device: Device, tmp_path: Path) -> None:
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"no network")
    with SshRunner(device.address()) as runner, pytest.raises(CompileError) as caught:
        compile_for(
            bed(runner), THERE, Artifact(broken, "onnx", "fp32", digest(broken)), "fp32", tmp_path / "out"
        )
    assert "ONNX Runtime cannot load this graph" in str(caught.value) and caught.value.exit_code == 5


def test_a_jetson_in_another_power_mode_is_another_machine(device: Device) -> None:
    with SshRunner(device.address()) as runner:
        here = bed(runner)
    modes = [
        replace(here, environment=here.environment | {"jetson": {"power_mode": mode}, "gpus": None}).machine
        for mode in ("15W", "MAXN")
    ]
    assert modes[0] != modes[1] and modes[0].keys() - here.machine.keys() == {"power_mode"}
    with_gpu = replace(here, environment=here.environment | {"gpus": [{"name": "Orin"}]}).machine
    assert with_gpu["gpus"] == ["Orin"]


def test_a_device_with_a_program_that_only_builds_measures_nothing_and_says_why(
    device: Device,
) -> None:
    jetson = resolve_targets(("xavier",))[0].model_copy(update={"arch": (platform.machine(),)})
    with SshRunner(device.address()) as runner:
        old = {"jetson": {"l4t": "35.4.1"}}
        only = testbed.Testbed(runner, old, {"tensorrt": "8.5.2"}, builds_only=frozenset({"tensorrt"}))
        assert only.compiles(jetson) and not only.evaluates(jetson)
        with pytest.raises(CompileError, match="nothing is measured there; this is JetPack 5") as caught:
            only.require(jetson)
    assert "\n" not in str(caught.value)
