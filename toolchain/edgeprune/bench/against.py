"""The vendors' own stopwatches, run beside ours: what each was asked, what it said, what of that compares.

They see the same engine, threads, precision and cores as our worker; what they feed it and how they count is
theirs (section 5 of the protocol names the pitfalls).
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edgeprune.backends import options_for
from edgeprune.backends.ncnn_files import param_of
from edgeprune.backends.onnxruntime import split
from edgeprune.backends.openvino import ir_of
from edgeprune.bench.subject import Subject, input_size
from edgeprune.core.errors import ConfigError, DeviceError, IncompleteError, RuntimeMissingError
from edgeprune.records.bench_result import BenchResult
from edgeprune.runners import Runner
from edgeprune.worker.affinity import best_cores

_TIMEOUT_S = 600.0  # beside twice the time that a tool was given: to load, to compile, to warm up
# Keeps a tool to the cores that our worker keeps to, in the environment that the row is run in.
_START = """
import json, os, sys
cores, variables = json.loads(sys.argv[1])
os.sched_setaffinity(0, cores)
os.environ.update(variables)
os.execv(sys.argv[2], sys.argv[2:])
"""


@dataclass(frozen=True)
class Figures:
    """What a tool says, in milliseconds and queries a second; None for what it does not say."""

    p50: float | None = None
    p90: float | None = None
    p99: float | None = None
    mean: float | None = None
    min: float | None = None
    max: float | None = None
    fps: float | None = None


@dataclass(frozen=True)
class Tool:
    """A vendor's benchmark.

    Attributes:
        backend: the runtime that it measures.
        options: the command line after its name, from (subject, threads, seconds).
        read: its output to figures.
        compares: which of its figures may be held against which of ours, and what differs.
    """

    backend: str
    get: str
    options: Callable[[Subject, int, float], list[str]]
    read: Callable[[str], Figures]
    compares: str


def _benchmark_app(subject: Subject, threads: int, seconds: float) -> list[str]:
    path = subject.engine.path
    hint = options_for(subject.profile, subject.engine.precision).get("INFERENCE_PRECISION_HINT")
    precision = ["-infer_precision", hint] if hint else []
    model = ["-m", str(ir_of(path)), "-d", subject.profile.provider or "CPU"]
    how = ["-api", "sync", "-hint", "none", "-nthreads", str(threads), "-nstreams", "1"]
    how += ["-ip", "f32"]  # left alone it gives an image's input the type u8, which is another network
    return [*model, *how, *precision, "-t", str(max(1, round(seconds)))]


def _perf_test(subject: Subject, threads: int, seconds: float) -> list[str]:
    named, *parts = split(options_for(subject.profile, subject.engine.precision))
    own, entries = ([f"{key}|{value}" for key, value in part.items()] for part in parts)
    # It calls the providers by their names in lower case: CPUExecutionProvider is cpu, and so on.
    provider = named.removesuffix("ExecutionProvider").lower()
    how = ["-e", provider, "-x", str(threads), "-y", "1", "-m", "duration", "-t", str(max(1, round(seconds)))]
    how += ["-i", " ".join(own)] if own else []
    how += ["-C", " ".join(entries)] if entries else []
    return [*how, "-I", "-s", str(subject.engine.path)]


def _trtexec(subject: Subject, threads: int, seconds: float) -> list[str]:
    return [f"--loadEngine={subject.engine.path}", "--warmUp=2000", f"--duration={max(1, round(seconds))}"]


def _benchncnn(subject: Subject, threads: int, seconds: float) -> list[str]:
    size = input_size(subject.engine.path)
    param = param_of(subject.engine.path)
    return ["128", str(threads), "0", "-1", "0", f"param={param}", f"shape=[{size},{size},3]"]


def _read_benchmark_app(text: str) -> Figures:
    said = re.findall(r"(Median|Average|Min|Max):\s+([\d.]+) (ms|us)\b", text)  # us of a fast network
    found = {name.lower(): float(value) / (1 if unit == "ms" else 1e3) for name, value, unit in said}
    fps = re.search(r"Throughput:\s+([\d.]+) FPS", text)
    return Figures(
        p50=found.get("median"),
        mean=found.get("average"),
        min=found.get("min"),
        max=found.get("max"),
        fps=float(fps[1]) if fps else None,
    )


def _read_perf_test(text: str) -> Figures:
    said = re.findall(r"^(Min|Max|P\d+) Latency(?: is|:)\s*([-+.\deE]+) s", text, re.MULTILINE)
    found = {name: float(seconds) * 1e3 for name, seconds in said}
    mean = re.search(r"^Average (?:inference )?time cost(?: total)?:\s*([\d.]+) ms", text, re.MULTILINE)
    fps = re.search(r"^Number of inferences per second:\s*([\d.]+)", text, re.MULTILINE)
    return Figures(
        p50=found.get("P50"),
        p90=found.get("P90"),
        p99=found.get("P99"),
        mean=float(mean[1]) if mean else None,
        min=found.get("Min"),
        max=found.get("Max"),
        fps=float(fps[1]) if fps else None,
    )


def _read_trtexec(text: str) -> Figures:
    line = re.search(r"\] Latency: (.*)$", text, re.MULTILINE)
    found = dict(re.findall(r"([\w()%]+) = ([\d.]+) ms", line[1])) if line else {}
    fps = re.search(r"Throughput: ([\d.]+) qps", text)
    ms = {name: float(value) for name, value in found.items()}
    return Figures(
        p50=ms.get("median"),
        p90=ms.get("percentile(90%)"),
        p99=ms.get("percentile(99%)"),
        mean=ms.get("mean"),
        min=ms.get("min"),
        max=ms.get("max"),
        fps=float(fps[1]) if fps else None,
    )


def _read_benchncnn(text: str) -> Figures:
    """Read the line of the network that was named, which ends in `.param`.

    One of before ncnn#4782 leaves `param=` unread and times networks of its own. Of a network that it cannot
    load it says 0.00 ms, and exits with 0.
    """
    said = re.search(r"\.param\s+min =\s*([\d.]+)\s+max =\s*([\d.]+)\s+avg =\s*([\d.]+)", text)
    if said is None or not float(said[3]):
        return Figures()
    return Figures(min=float(said[1]), max=float(said[2]), mean=float(said[3]))


TOOLS: Mapping[str, Tool] = {
    "benchmark_app": Tool(
        "openvino",
        "pip install openvino",
        _benchmark_app,
        _read_benchmark_app,
        "its median compares with our p50. It feeds one random tensor, set before the clock starts, and "
        "warms up by one query",
    ),
    "onnxruntime_perf_test": Tool(
        "onnxruntime",
        "build it with ONNX Runtime (build.sh --build_shared_lib), and put it on the PATH",
        _perf_test,
        _read_perf_test,
        "its P50 compares with our p50. It feeds one random tensor and warms up by one query",
    ),
    "trtexec": Tool(
        "tensorrt",
        "it comes with TensorRT (/usr/src/tensorrt/bin): put it on the PATH",
        _trtexec,
        _read_trtexec,
        "its latency is the sum of transfers and GPU time by CUDA's clock, ours is by the host's, with "
        "launch and sync; trtexec 11 leaves the transfers off unless asked",
    ),
    "benchncnn": Tool(
        "ncnn",
        "build it with ncnn of June 2023 or newer (-DNCNN_BUILD_BENCHMARK=ON), and put it on the PATH",
        _benchncnn,
        _read_benchncnn,
        "it has only a mean, of 128 queries, which compares with our mean. Its weights are zero and its "
        "input is constant, so int8 and denormals cost other than in earnest; it allows fp16 in any row",
    ),
}


def found_tool(name: str) -> str:
    """Return the path of a tool: on the PATH, or beside this Python.

    Raises:
        RuntimeMissingError: it is not here; the message says how to get it.
    """
    places = os.pathsep.join([os.environ.get("PATH", ""), str(Path(sys.executable).parent)])
    path = shutil.which(name, path=places)
    if path is None:
        raise RuntimeMissingError(f"--against {name}: it is not installed here: {TOOLS[name].get}")
    return path


def need_tool(name: str, subjects: Sequence[Subject]) -> None:
    """Check, before anything is measured, that a tool is here and has something to measure.

    Raises:
        RuntimeMissingError: it is not here.
        ConfigError: none of the subjects runs in its runtime.
    """
    backend = TOOLS[name].backend
    if not any(subject.profile.backend == backend for subject in subjects):
        others = ", ".join(sorted({subject.profile.backend for subject in subjects}))
        raise ConfigError(f"--against {name}: it measures {backend}, and here is only {others}")
    found_tool(name)


def with_tool(
    name: str,
    subjects: Sequence[Subject],
    results: Sequence[BenchResult],
    threads: int,
    seconds: float,
    runner: Runner,
    say: Callable[[str], None],
) -> list[BenchResult]:
    """Run a tool on each subject of its runtime; return the results with what it said in `against`.

    Args:
        results: of the subjects, in their order.
        seconds: about how long it is to measure each.
        runner: this machine.
        say: called with what runs next, in a few words.

    Raises:
        IncompleteError: it failed, or said nothing that could be read; it has the results.
    """
    told = list(results)
    for index, (subject, result) in enumerate(zip(subjects, results, strict=True)):
        if subject.profile.backend != TOOLS[name].backend:
            continue
        say(f"{name}, {subject.name}")
        try:
            told[index] = result.model_copy(
                update={"against": _said_by(name, subject, threads, seconds, runner)}
            )
        except DeviceError as exc:
            raise IncompleteError(f"--against {name}: {exc}", told) from exc
    return told


def as_a_worker(command: Sequence[str], threads: int, environment: Mapping[str, str]) -> list[str]:
    """Return the command line that runs a program, named by its path, where and as our worker runs a row."""
    cores = sorted(best_cores(threads, os.sched_getaffinity(0)))
    # A tool of OpenVINO's is Python, and reports to Intel unless it runs in CI.
    variables = {"CI": "true", **environment}
    return [sys.executable, "-I", "-c", _START, json.dumps([cores, variables]), *command]


def _said_by(name: str, subject: Subject, threads: int, seconds: float, runner: Runner) -> dict[str, Any]:
    """Return ``tool``, its ``path``, ``options`` and ``figures`` (ms, 1/s; None: not told), ``compares``."""
    tool, path = TOOLS[name], found_tool(name)
    options = tool.options(subject, threads, seconds)
    command = as_a_worker((path, *options), threads, subject.environment)
    done = runner.run(command, _TIMEOUT_S + 2 * seconds)
    figures = tool.read(done.stdout + done.stderr)
    if figures.p50 is None and figures.mean is None:
        raise DeviceError(
            f"{subject.name}: no latency is in what it printed: it failed, or is of another version"
        )
    said: dict[str, Any] = {"tool": name, "path": path, "options": options}
    return said | {"figures": asdict(figures), "compares": tool.compares}
