"""`edgeprune bench --device emulated://aarch64`: a real network on ARM, and the refusals."""

from __future__ import annotations

import json
import platform
import shutil
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeprune.backends import ncnn
from edgeprune.runners import debian, emulated
from edgeprune.runners.emulated import EmulatedRunner
from edgeprune.runners.sysroot import MARKER
from edgeprune.verify import agreement
from made_builds import write_build
from made_once import made_once

ADDRESS = "emulated://aarch64"


def cannot_run() -> str:
    """Return what the real thing lacks here: a program, or the network."""
    for tool in ("qemu-aarch64-static", "gpgv", "dpkg-deb"):
        if shutil.which(tool) is None:
            return f"there is no {tool} here"
    try:
        socket.create_connection(("deb.debian.org", 80), timeout=5).close()
    except OSError:
        return "deb.debian.org cannot be reached"
    return ""


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Let the device be made once, in the cache of all tests of what runs on ARM; skip where it cannot be."""
    if reason := cannot_run():
        pytest.skip(reason)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGEPRUNE_CACHE", str(made_once(tmp_path_factory, "arm-cache", lambda _: None)))
        yield


@pytest.fixture
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have an empty cache and no network."""
    monkeypatch.setenv("EDGEPRUNE_CACHE", str(tmp_path / "empty"))
    monkeypatch.setattr(debian, "MIRROR", "http://127.0.0.1:1/debian")
    monkeypatch.setattr(debian, "require_tools", lambda: None)
    monkeypatch.setattr(emulated.shutil, "which", lambda tool: f"/usr/bin/{tool}")


def test_a_build_answers_on_arm_as_it_does_here_and_no_time_is_told(
    prepared: None,
    run: Any,
    convnet: Path,
    convnet_int8: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    both = {"fp32": convnet, "int8": convnet_int8}
    build = write_build(tmp_path / "build", {"arm64-ort": both, "x86-ort": both, "jetson": both})
    ended = run("bench", build, "--device", ADDRESS, "--out", tmp_path / "out")
    assert (ended.code, ended.errors) == (0, [])
    assert ended.stdout.count("agrees") == 2 and "no latency is measured" in ended.stdout
    assert not any(word in ended.stdout for word in ("p50", "FPS", " ms"))
    names = [f"arm64-ort-original-{precision}.aarch64.json" for precision in both]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == names
    for name in names:
        kept = json.loads((tmp_path / "out" / name).read_text())
        assert (kept["here"]["machine"], kept["there"]["machine"]) == (platform.machine(), "aarch64")
        assert kept["outputs"][0]["relative_l2"] <= kept["tolerance"]
        assert "onnxruntime==" in str(kept["device"]["wheels"]) and kept["device"]["packages"]["libc6"]

    # From now on the cache is enough.
    monkeypatch.setattr(debian, "MIRROR", "http://127.0.0.1:1/debian")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    real = agreement.ask_engine

    def spoiled(job: Any, runner: Any, *more: Any) -> Any:
        answer, outputs = real(job, runner, *more)
        factor = np.float32(1.1 if runner.name == "local" else 1.0)
        return answer, [output * factor for output in outputs]

    monkeypatch.setattr(agreement, "ask_engine", spoiled)
    ended = run("bench", convnet_int8, "--device", ADDRESS, "--json")
    assert ended.code == 5 and "are not this machine's: int8.onnx" in ended.error
    assert [one["agrees"] for one in json.loads(ended.stdout)] == [False]


def test_a_worker_that_fails_there_is_one_line(
    prepared: None, run: Any, convnet: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        EmulatedRunner, "push", lambda self, local: "/nowhere" if "inputs" in local.name else str(local)
    )
    ended = run("bench", convnet, "--device", ADDRESS)
    assert ended.code == 4
    assert ended.error.startswith(
        f"edgeprune: {convnet.name}: {ADDRESS}: python3.11 -m edgeprune.worker.answer"
    )


DEATHS = {
    "crashes": ("echo 'Illegal instruction' >&2; exit 132", "exited with code 132: Illegal instruction"),
    "hangs": ("exec sleep 600", "no answer within 1 s, it was stopped"),
    "is killed for memory": ("kill -9 $$", "killed by SIGKILL (out of memory?)"),
    "prints garbage": (
        "for last; do :; done; echo '{' > \"$last\"; printf 'PK\\003\\004' > \"$last.npz\"",
        "answered with garbage",
    ),
    "writes nothing": ('for last; do :; done; : > "$last"; : > "$last.npz"', "answered with garbage"),
}


@pytest.fixture
def dies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, int], None]:
    """Return a function that makes the worker a shell script from its n-th start on; before, it runs here."""
    (tmp_path / MARKER).write_text(json.dumps({"packages": {}, "wheels": []}))
    for name in ("system", "site"):
        monkeypatch.setattr(emulated, name, lambda *_: tmp_path)

    def from_start(script: str, number: int) -> None:
        qemu = tmp_path / "qemu"
        whole = f'echo >> "{tmp_path}/starts"; [ $(wc -l < "{tmp_path}/starts") -lt {number} ]'
        run_here = f'shift 5; exec "{sys.executable}" "$@"'
        qemu.write_text(f"#!/bin/sh\n[ $# = 1 ] && exit\nif {whole}; then {run_here}; fi\n{script}\n")
        qemu.chmod(0o755)
        monkeypatch.setattr(emulated.shutil, "which", lambda tool: str(qemu))

    return from_start


@pytest.mark.parametrize("death", DEATHS)
def test_a_worker_that_dies_there_is_one_line(
    dies: Callable[[str, int], None], run: Any, convnet: Path, death: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    script, says = DEATHS[death]
    dies(script, 1)
    monkeypatch.setattr(agreement, "TIMEOUT_S", 1.0 if death == "hangs" else 60.0)
    ended = run("bench", convnet, "--device", ADDRESS)
    assert ended.code == 4 and ended.stdout == ""
    assert ended.error.startswith(f"edgeprune: {convnet.name}: ") and says in ended.error


def test_the_rows_before_a_worker_that_dies_there_are_shown_and_kept(
    dies: Callable[[str, int], None], run: Any, convnet: Path, convnet_int8: Path, tmp_path: Path
) -> None:
    dies("kill -9 $$", 2)
    hostile = tmp_path / 'it\'s a\n$(touch pwned) "build"; \\'
    build = write_build(hostile, {"arm64-ort": {"fp32": convnet, "int8": convnet_int8}})
    ended = run("bench", build, "--device", ADDRESS, "--out", tmp_path / "out")
    assert ended.code == 4 and ended.error.startswith("edgeprune: arm64-ort original int8: ")
    assert ended.error.endswith("nothing on standard error; 1 of 2 rows were compared")
    assert "arm64-ort original fp32" in ended.stdout
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["arm64-ort-original-fp32.aarch64.json"]


def test_without_the_emulator_its_package_is_told(
    run: Any, convnet: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    ended = run("bench", convnet, "--device", ADDRESS)
    assert ended.code == 4
    assert ended.error.endswith("there is no qemu-aarch64-static here: apt-get install qemu-user-static")


def test_without_a_network_the_address_is_told(offline: None, run: Any, convnet: Path) -> None:
    ended = run("bench", convnet, "--device", ADDRESS)
    assert ended.code == 4
    assert f"{ADDRESS}: http://127.0.0.1:1/debian/dists/bookworm/InRelease: cannot be fetched" in ended.error


def test_what_cannot_be_compared_is_told_before_anything_is_fetched(
    offline: None, run: Any, tmp_path: Path
) -> None:
    ended = run("bench", tmp_path / "missing.onnx", "--device", ADDRESS)
    assert ended.code == 3 and "missing.onnx: no such file or folder" in ended.error


def test_a_row_that_cannot_be_emulated_keeps_no_other_from_being_compared(
    dies: Callable[[str, int], None], run: Any, convnet: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dies("exit 1", 9)
    monkeypatch.setattr(ncnn, "WHEELS", {})
    build = write_build(tmp_path / "build", {"arm64-ncnn": {"fp32": convnet}, "arm64-ort": {"fp32": convnet}})
    ended = run("bench", build, "--device", ADDRESS)
    assert ended.code == 4 and "arm64-ort original fp32" in ended.stdout
    assert ended.error.endswith(
        "ncnn cannot be emulated, only onnxruntime, openvino; 1 of 2 rows were compared"
    )


@pytest.mark.parametrize("words", ["device setup", "check --baseline a --candidate b --device"])
def test_what_takes_no_emulated_device_says_what_does(run: Any, words: str) -> None:
    ended = run(*words.split(), ADDRESS)
    assert ended.code == 3 and "only `edgeprune bench --device` takes it" in ended.error


def test_another_architecture_is_refused(run: Any, convnet: Path) -> None:
    ended = run("bench", convnet, "--device", "emulated://arch64")
    assert ended.code == 3
    assert "'arch64' cannot be emulated (did you mean 'aarch64'?); there is emulated://aarch64" in ended.error


def test_options_of_timing_are_refused(run: Any, convnet: Path) -> None:
    ended = run("bench", convnet, "--device", ADDRESS, "--profile", "standard")
    assert ended.code == 2 and "--profile: nothing is timed on an emulated device" in ended.errors[-1]


def test_a_runtime_that_is_not_known_to_work_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(Exception, match="litert cannot be emulated, only onnxruntime, openvino, ncnn"):
        EmulatedRunner(ADDRESS).python("ai_edge_litert")
