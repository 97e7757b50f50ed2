"""A Jetson over a real ssh server: its TensorRT is the tests' stand-in, all else is as it is on a board."""

from __future__ import annotations

import json
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from edgeprune.adapters.ultralytics import classify
from edgeprune.bench.testbed import as_testbed
from edgeprune.config.targets import load_profile
from edgeprune.core.artifact import digest
from edgeprune.gate import decision
from edgeprune.gate import run as gate
from edgeprune.images.dataset import Dataset
from edgeprune.latency.micronet import layer_net
from edgeprune.latency.rounds import measured_rounds
from edgeprune.latency.shipped import compile_shipped, key_of, subject_of
from edgeprune.records.bench_result import BenchResult
from edgeprune.records.latency_table import Shape
from edgeprune.runners.ssh import SshRunner
from edgeprune.runners.userland import VERSION
from made_effort import TINY_EFFORT
from sshd import Device, Wire
from tensorrt_standin import Standin, install, put_trtexec


@pytest.fixture
def jetson(device: Device, tmp_path: Path, elsewhere: None) -> Iterator[Standin]:
    """Return the device as a Jetson whose engines nobody has built before."""
    folder = tmp_path / "standin"
    folder.mkdir()
    yield install(device, folder)
    shutil.rmtree(device.cache / "edgeprune-cache", ignore_errors=True)


@pytest.fixture
def build(run: Any, jetson: Standin, classifiers: dict[str, Path], digits: Dataset, tmp_path: Path) -> Any:
    """Return a function that builds a tiny classifier, unpruned, for a target on the device."""

    def build(
        *more: object, target: Path = jetson.target, port: int | None = None, model: str = "yolov8n-cls"
    ) -> Any:
        return run(
            *("build", "--model", classifiers[model], "--data", digits.source, "--imgsz", "32"),
            *("--out", tmp_path / "out", "--target", target, "--no-prune", "--max-drop", "1"),
            *("--bench", "quick", "--set", "quantize.images=4", "--set", "quantize.guard=false"),
            *("--device", jetson.device.address(port=port), *more),
        )

    return build


def rows_of(out: Path) -> list[dict[str, Any]]:
    targets = json.loads((out / "summary.json").read_text())["targets"]
    return [row for target in targets.values() for row in target["rows"]]


def until(true: Callable[[], object]) -> None:
    deadline = time.monotonic() + 120
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_the_whole_path_through_a_connection_that_is_lost_while_an_engine_is_built(
    run: Any, build: Any, jetson: Standin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    int8 = jetson.target_with("standin-orin", precisions=["int8"])
    started, go = tmp_path / "started", tmp_path / "go"
    waits = f'touch "{started}"; while [ -e "{started}" ] && [ ! -e "{go}" ]; do sleep 0.05; done'
    jetson.runs(f'case "$*" in *worker.compile*) {waits};; esac')
    wire = Wire(jetson.device.port, 1 << 60)

    def lose() -> None:
        until(started.exists)
        wire.close()
        jetson.device.drop()

    losing = threading.Thread(target=lose)
    losing.start()
    lost = build(target=int8, port=wire.port)
    losing.join()
    assert lost.code == 4 and any("more tries failed" in line for line in lost.errors), lost.errors
    stages = tmp_path / "out" / "stages"
    assert not list(stages.glob("engine-*")) and not list(stages.glob(".partial-*"))
    go.touch()
    until(lambda: len(jetson.calls()) == 1)

    ended = build(target=int8)
    assert ended.code == 0, (ended.errors, ended.exception)
    (call,) = jetson.calls()  # the engine whose build was cut off was found there
    assert call["typed"] and call["int8"] and not call["flags"]
    assert call["pools"] == {"WORKSPACE": 3 << 29} and call["told"] == {"profiling_verbosity": "DETAILED"}
    (row,) = rows_of(tmp_path / "out")
    assert row["p50_ms"] > 0 and row["built"]["runtime"] == "tensorrt 10.7.0"
    assert row["runtime_version"] == "10.7.0" and "output_mismatch" not in row["flags"]
    assert row["score"] is not None and "accuracy_on_host" not in row["flags"]
    assert row["quantized_ops"] > 5
    best = {path.name for path in (tmp_path / "out" / "best").iterdir()}
    assert {"model.engine", "model.json"} <= best and not (tmp_path / "out" / "standin-orin").exists()

    measured = run("bench", tmp_path / "out", "--device", jetson.device.address(), "--json")
    assert measured.code == 0, measured.errors
    results = [BenchResult.model_validate(one) for one in json.loads(measured.stdout)]
    for result in results:
        assert result.stages_ms and None not in result.stages_ms.model_dump().values()
        assert result.backend.provider_actual == "TensorRT" and result.memory
        assert (
            result.memory.device_method == "TensorRT: activations and buffers, without weights and CUDA's own"
        )
        block = result.blocks[0]  # held against ONNX Runtime on the file that the engine was compiled from
        assert block.output_ok and block.output_error is not None and block.output_error < 1e-3

    for module in (decision, gate):  # what the gate makes of many pairs, its own tests show
        monkeypatch.setattr(module, "LOOKS", (2,))
    same = ("--baseline", tmp_path / "out", "--candidate", tmp_path / "out")
    checked = run("check", *same, "--tau", "0.5", "--device", jetson.device.address())
    assert checked.code in (0, 8), checked.errors

    jetson.settings(wrong=True)
    for words in (("bench", tmp_path / "out" / "best" / "model.engine", "--target", int8), ("check", *same)):
        wrong = run(*words, "--device", jetson.device.address(), "--json")
        said = wrong.stdout + "".join(wrong.errors)
        assert "outputs differ from the reference: relative L2 error 2" in said, said
    assert wrong.code == 5

    jetson.settings(version="10.3.0")
    other = run("bench", tmp_path / "out", "--device", jetson.device.address())
    assert other.code == 4 and "it was built by TensorRT 10.7.0, and here is 10.3.0" in other.error
    removed = run("device", "remove", jetson.device.address())
    assert removed.code == 0 and "edgeprune-cache" in removed.stdout, removed.errors
    assert not (jetson.device.cache / "edgeprune-cache").exists()


def test_layers_and_networks_are_timed_in_engines_that_the_device_builds(
    jetson: Standin, classifiers: dict[str, Path], tmp_path: Path
) -> None:
    profile = load_profile(jetson.target)
    subject = subject_of(classify, classifiers["yolov8n-cls"], 32, profile, "fp16", 1)
    shape = Shape(kernel=(3, 3), stride=(2, 2), groups="dense", height=16, width=16, activation="SiLU")
    net = layer_net(shape, 8, 16)
    with SshRunner(jetson.device.address()) as runner:
        bed = as_testbed(runner, (profile,))
        whole = compile_shipped(subject, subject.model, tmp_path / "whole", bed)
        key, plan = key_of(subject, {}, bed), TINY_EFFORT.table
        nets = [net, *net.around]
        rounds, _ = measured_rounds(nets, {"whole": whole}, subject, key, plan, runner, lambda share: None)
    assert (key.runtime, key.runtime_version) == ("tensorrt", "10.7.0")
    assert {len(values) for values in rounds.values()} == {plan.rounds} and len(rounds) == 4
    assert all(call["typed"] and not call["int8"] for call in jetson.calls()) and len(jetson.calls()) == 4
    assert jetson.calls()[-1]["timing_cache"] == "stand-in timing cache:3"


def test_a_lone_onnx_file_is_compiled_on_the_device_and_held_against_what_it_computes(
    run: Any, jetson: Standin, convnet: Path
) -> None:
    def bench(**settings: Any) -> Any:
        jetson.settings(**settings)
        where = ("--target", jetson.target, "--device", jetson.device.address())
        return run("bench", convnet, *where, "--json")

    killed = bench(killed=True)
    assert (
        killed.code == 4 and "as it does when its memory runs out; nothing half built is left" in killed.error
    )
    assert not list((jetson.device.cache / "edgeprune-cache" / "compiled").glob("*"))

    ended = bench(killed=False)
    assert ended.code == 0, ended.errors
    (result,) = (BenchResult.model_validate(one) for one in json.loads(ended.stdout))
    assert result.blocks[0].output_ok and result.blocks[0].output_error is not None
    assert (result.name, result.artifact.parent) == (convnet.name, digest(convnet))
    assert result.backend.name == "tensorrt" and result.artifact.built_on
    (call,) = jetson.calls()
    assert call["typed"] and not call["int8"]


def test_dla_counts_what_falls_back_to_the_gpu_and_strict_refuses_it(
    build: Any, jetson: Standin, tmp_path: Path
) -> None:
    dla = jetson.target_with("dla", provider="DLA", precisions=["fp16"], ship="fp16")
    lacking = build(target=dla)
    assert lacking.code == 5 and "has no DLA: tensorrt there runs on GPU (an Orin Nano" in lacking.error
    assert not (tmp_path / "out" / "stages").exists(), "nothing was built for it"
    jetson.settings(dla=2)
    ended = build("--strict", target=dla)
    assert ended.code == 7 and "fallback (dla original fp16)" in ended.error, ended.errors
    (call,) = jetson.calls()
    assert call["flags"] == ["FP16", "GPU_FALLBACK"] and not call["typed"]
    assert call["told"]["default_device_type"] == "DLA" and call["told"]["DLA_core"] == 0
    (row,) = rows_of(tmp_path / "out")
    assert "partial_fallback" in row["flags"]
    placed = row["placement"]
    assert placed["processor"] == "DLA" and 0 < placed["taken"] < placed["operators"] and placed["left"]
    warned = json.loads((tmp_path / "out" / "summary.json").read_text())["warnings"]
    (text,) = (one["text"] for one in warned if one["code"] == "fallback")
    assert "layers on DLA, " in text and " on GPU (" in text


def test_without_tensorrt_a_device_is_told_how_to_get_it_by_its_jetpack(
    run: Any, build: Any, jetson: Standin
) -> None:
    (jetson.folder / "tensorrt.py").unlink()
    ended = build()
    assert ended.code == 4 and "its Python has no tensorrt: with an NVIDIA GPU: pip install" in ended.error


def test_with_a_python_of_ours_and_trtexec_of_jetpack_5_it_builds_and_measures_nothing(
    run: Any, build: Any, jetson: Standin, tmp_path: Path
) -> None:
    userland = jetson.device.cache / "userland"
    userland.mkdir(parents=True)
    (userland / "python3").write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    (userland / "python3").chmod(0o755)
    (userland / "version").write_text(VERSION)
    jetson.device.python_is("echo its python3 is 3.8 >&2; exit 1")
    noted = put_trtexec(jetson.device, "8502")
    try:
        ended = build(target=jetson.target_with("xavier", precisions=["int8"]))
        assert ended.code == 0, (ended.errors, ended.exception)
        calls = [line.split() for line in noted.read_text().splitlines()]
        measured = run("bench", tmp_path / "out", "--device", jetson.device.address())
        assert measured.code == 5 and "has no Python module tensorrt, only a program" in measured.error
    finally:
        noted.with_name("trtexec").unlink()
        noted.unlink(missing_ok=True)
        shutil.rmtree(userland)
    (call,) = calls
    assert {"--fp16", "--int8", "--buildOnly"} <= set(call)
    assert any(flag.startswith("--timingCacheFile=") for flag in call)
    names = {path.name for path in (tmp_path / "out" / "xavier").iterdir()}
    assert {"original-int8.engine", "original-int8.json", "original-int8.source.onnx"} <= names
    (row,) = rows_of(tmp_path / "out")
    assert row["flags"] == ["accuracy_on_host"] and row["built"]["runtime"] == "tensorrt 8.5.2"


def test_a_known_fault_is_told_before_the_engine_is_built_and_again_where_it_fails(
    build: Any, jetson: Standin
) -> None:
    jetson.settings(version="10.3.0", refuse="Error Code 2: checkLinks::218")
    ended = build(target=jetson.target_with("int8-only", precisions=["int8"]), model="yolo26n-cls")
    assert ended.code == 5
    told, error = ended.errors
    assert "checkLinks::218" in error and "ultralytics#23841" in error and "10.7 builds it" in error
    assert told.startswith(
        "edgeprune: warning: int8-only original int8: TensorRT 10.3 is known to fail on YOLO26"
    )
