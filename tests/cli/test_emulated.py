"""`edgeprune bench --device emulated://aarch64`: a real network on ARM, and the refusals."""

from __future__ import annotations

import json
import shutil
import socket
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeprune.bench import agreement
from edgeprune.runners import debian, emulated
from edgeprune.runners.emulated import EmulatedRunner

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
    """Let the device be made in a cache of its own, once; skip where it cannot be."""
    if reason := cannot_run():
        pytest.skip(reason)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGEPRUNE_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have an empty cache and no network."""
    monkeypatch.setenv("EDGEPRUNE_CACHE", str(tmp_path / "empty"))
    monkeypatch.setattr(debian, "MIRROR", "http://127.0.0.1:1/debian")
    monkeypatch.setattr(debian, "require_tools", lambda: None)
    monkeypatch.setattr(emulated.shutil, "which", lambda tool: f"/usr/bin/{tool}")


def test_an_int8_network_answers_on_arm_as_it_does_here_and_no_time_is_told(
    prepared: None, run: Any, convnet_int8: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended = run("bench", convnet_int8, "--device", ADDRESS, "--out", tmp_path / "out")
    assert (ended.code, ended.errors) == (0, [])
    assert "agrees" in ended.stdout and "no latency is measured" in ended.stdout
    assert not any(word in ended.stdout for word in ("p50", "FPS", " ms"))
    (path,) = (tmp_path / "out").iterdir()
    kept = json.loads(path.read_text())
    assert (kept["here"]["machine"], kept["there"]["machine"]) == ("x86_64", "aarch64")
    assert kept["outputs"][0]["relative_l2"] <= kept["tolerance"]
    assert "onnxruntime==" in str(kept["device"]["wheels"]) and kept["device"]["packages"]["libc6"]

    # From now on the cache is enough.
    monkeypatch.setattr(debian, "MIRROR", "http://127.0.0.1:1/debian")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    real = agreement._host_answer

    def spoiled(*args: Any) -> Any:
        answer, outputs = real(*args)
        return answer, [output * np.float32(1.1) for output in outputs]

    monkeypatch.setattr(agreement, "_host_answer", spoiled)
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
        f"edgeprune: {convnet.name}: {ADDRESS}: python3.11 -m edgeprune.bench.answer"
    )


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
