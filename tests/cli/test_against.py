"""The vendors' tools: OpenVINO's is run, the others' recorded output is read."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from edgeprune.backends import options_for
from edgeprune.bench.against import as_a_worker, with_tool
from edgeprune.bench.subject import Subject
from edgeprune.config.targets import resolve_targets
from edgeprune.core.artifact import Artifact
from edgeprune.core.backend import vendor_tools
from edgeprune.core.backend_types import Figures
from edgeprune.records.bench_result import BenchResult
from edgeprune.runners import Completed
from edgeprune.runners.local import LocalRunner
from edgeprune.worker.affinity import best_cores

DATA = Path(__file__).parents[1] / "data" / "against"


@pytest.mark.parametrize(
    ("tool", "file", "figures"),
    [
        (
            "onnxruntime_perf_test",
            "perf_test.txt",
            Figures(99.5086, 101.519, 101.519, 98.961997, 95.8204, 101.519, 10.104),
        ),
        (
            "onnxruntime_perf_test",
            "perf_test_2023.txt",
            Figures(58.7108, 59.9845, 61.9517, 58.8053, 55.9777, 62.3472, None),
        ),
        ("trtexec", "trtexec.txt", Figures(9.76404, 10.1075, 11.4742, 9.81005, 9.11414, 11.7442, 120.699)),
        ("trtexec", "trtexec_8.txt", Figures(0.572998, None, 0.587769, 0.573891, 0.564209, 0.593018, 27207)),
        ("benchncnn", "benchncnn.txt", Figures(mean=28.64, min=28.64, max=28.64)),
    ],
)
def test_recorded_output_is_read(tool: str, file: str, figures: Figures) -> None:
    read = vendor_tools()[tool][1].read((DATA / file).read_text())
    assert vars(read) == pytest.approx(vars(figures))


def test_benchmark_app_tells_fast_networks_in_microseconds() -> None:
    read = vendor_tools()["benchmark_app"][1].read
    assert read("[ INFO ]    Median:        34.19 us\n[ INFO ]    Average:       0.04 ms\n") == Figures(
        p50=0.03419, mean=0.04
    )


def test_benchncnn_is_read_only_of_the_network_that_it_was_given() -> None:
    read = vendor_tools()["benchncnn"][1].read
    assert read("a b/model.ncnn.param  min =   13.01  max =   13.23  avg =   13.13\n") == Figures(
        mean=13.13, min=13.01, max=13.23
    )
    assert read((DATA / "benchncnn_own.txt").read_text()) == Figures(), "an old one leaves param= unread"
    unloaded = "network graph not ready\nmodel.ncnn.param  min =    0.00  max =    0.00  avg =    0.00\n"
    assert read(unloaded) == Figures(), "it ends with 0 although it ran nothing"


@pytest.mark.parametrize("tool", vendor_tools())
def test_nothing_is_read_into_another_text(tool: str) -> None:
    assert vendor_tools()[tool][1].read("Segmentation fault\nLatency = fast\n") == Figures()


@pytest.mark.parametrize("tool", ["benchmark_app", "onnxruntime_perf_test", "trtexec"])
def test_each_is_asked_for_the_same_engine_and_threads(tool: str, convnet: Path) -> None:
    target = {"benchmark_app": "x86-openvino", "onnxruntime_perf_test": "x86-ort", "trtexec": "jetson"}
    (profile, *_) = resolve_targets((target[tool],))
    options = vendor_tools()[tool][1].options(convnet, options_for(profile, "fp32"), 3, 10.0)
    assert any(str(convnet) in option for option in options)
    if tool != "trtexec":  # threads are not the GPU's
        assert "3" in options


def test_onnxruntimes_own_tool_gets_the_provider_and_the_options_of_the_row(convnet: Path) -> None:
    (profile,) = resolve_targets(("x86-ort",))
    entries = {"session.intra_op.allow_spinning": "0", "provider.intra_op_num_threads": "3"}
    own = profile.model_copy(update={"provider": "XnnpackExecutionProvider", "options": {"fp32": entries}})
    tool = vendor_tools()["onnxruntime_perf_test"][1]
    plain, asked = (tool.options(convnet, options_for(one, "fp32"), 3, 1.0) for one in (profile, own))
    assert plain[plain.index("-e") + 1] == "cpu" and "-C" not in plain and "-i" not in plain
    assert asked[asked.index("-e") + 1] == "xnnpack"
    assert asked[asked.index("-C") + 1] == "session.intra_op.allow_spinning|0"
    assert asked[asked.index("-i") + 1] == "intra_op_num_threads|3"


def test_a_tool_that_is_to_measure_for_long_gets_the_time(
    convnet: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tool = tmp_path / "onnxruntime_perf_test"
    tool.touch(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    given: list[float] = []
    said: list[str] = []

    class Patient(LocalRunner):
        def run(self, args: Any, timeout: float, on_line: Any = None) -> Completed:
            given.append(timeout)
            return Completed(tuple(args), 0, (DATA / "perf_test.txt").read_text(), "")

    (profile,) = resolve_targets(("x86-ort",))
    subject = Subject("row", Artifact.of(convnet, "engine", "fp32"), profile, {})
    with_tool(tool.name, [subject], [BenchResult.model_construct()], 1, 3600.0, Patient(), said.append)
    assert given[0] > 3600 and said == ["onnxruntime_perf_test, row"]


def test_a_tool_runs_where_and_as_our_worker_does() -> None:
    tell = "import os; print(sorted(os.sched_getaffinity(0)), os.environ['ROW'], os.environ['PATH'])"
    command = as_a_worker([sys.executable, "-c", tell], 1, {"ROW": "it's $HOME"})
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    cores = sorted(best_cores(1, os.sched_getaffinity(0)))
    assert done.stdout == f"{cores} it's $HOME {os.environ['PATH']}\n"


def test_openvinos_own_tool_is_run_and_both_are_shown(run: Any, convnet: Path, tmp_path: Path) -> None:
    import openvino

    (tmp_path / "ir").mkdir()
    openvino.save_model(
        openvino.convert_model(convnet), tmp_path / "ir" / "model.xml", compress_to_fp16=False
    )
    ended = run("bench", tmp_path / "ir", "--against", "benchmark_app", "--json")
    assert ended.code == 0 and ended.errors == []
    (result,) = json.loads(ended.stdout)
    figures = result["against"]["figures"]
    assert Path(result["against"]["path"]).is_file()
    assert 0 < figures["min"] <= figures["p50"] <= figures["max"] and figures["fps"] > 0
    asked = result["against"]["options"]
    assert asked[asked.index("-nthreads") + 1] == "1" and asked[asked.index("-infer_precision") + 1] == "f32"
    assert asked[asked.index("-api") + 1] == "sync"
    assert asked[asked.index("-ip") + 1] == "f32", "ours gets float32: an input of type u8 is another network"


def test_a_tool_that_is_not_here_says_how_to_get_it(run: Any, convnet: Path) -> None:
    ended = run("bench", convnet, "--target", "x86-ort", "--against", "onnxruntime_perf_test")
    assert ended.code == 5
    assert "--against onnxruntime_perf_test: it is not installed here: build it" in ended.error


def test_a_tool_that_says_nothing_loses_nothing(
    run: Any, convnet: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tool = tmp_path / "onnxruntime_perf_test"
    tool.write_text("#!/bin/sh\necho hello\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    sides = ("--target", "x86-ort", "--against", "onnxruntime_perf_test")
    kept_in = ("--out", tmp_path / "out", "--history", tmp_path / "h.sqlite")
    ended = run("bench", convnet, *sides, *kept_in)
    assert ended.code == 4 and f"{convnet.name}: no latency is in what it printed" in ended.error
    (kept,) = (tmp_path / "out").iterdir()
    assert json.loads(kept.read_text())["against"] is None and convnet.name in ended.stdout
    shown = run("history", "show", "--json", "--db", tmp_path / "h.sqlite")
    assert len(json.loads(shown.stdout)) == 1, "ours is whole, whatever became of the other tool"


def test_a_tool_of_another_runtime_is_refused(run: Any, convnet: Path) -> None:
    ended = run("bench", convnet, "--target", "x86-ort", "--against", "benchmark_app")
    assert ended.code == 3 and "it measures openvino, and here is only onnxruntime" in ended.error
    ended = run("bench", convnet, "--against", "benchmark_app", "--scenario", "cold")
    assert ended.code == 2
