"""The worker of `bench.node_times`: one process that asks a runtime how long each node takes.

``python -m edgeprune.worker.nodes JOB.json OUT.json``. It needs the standard library, numpy and
the runtime.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

from edgeprune.backends import get_backend, onnxruntime, openvino
from edgeprune.core.documents import read_json
from edgeprune.core.errors import CompileError
from edgeprune.worker import affinity
from edgeprune.worker.benchmark import serve, set_variables

LEAST_WARMUP = 10


def run(job: dict[str, Any]) -> dict[str, Any]:
    """Run the engine with its runtime's counters, in turns with the same engine without them.

    Returns:
        ``nodes``: each with the fields of `bench.node_times.NodeTime`, ``ms`` being the median over the
        counted inferences; and of these inferences ``counted_ms`` and ``plain_ms``, the medians with the
        counters and without.

    Raises:
        CompileError: the runtime cannot load the engine.
    """
    affinity.pin(job["threads"])
    set_variables(job)
    import numpy as np

    images = np.load(job["inputs"])
    backend = get_backend(job["backend"])
    plain = backend.load(Path(job["engine"]), job["precision"], job["threads"], job["options"])
    counted = COUNTERS[job["backend"]](job)
    times: dict[str, list[float]] = {"plain_ms": [], "counted_ms": []}
    begin = time.monotonic()
    warm = False
    while len(times["counted_ms"]) < job["inferences"]:
        for name, session in (("plain_ms", plain), ("counted_ms", counted)):
            image = images[len(times[name]) % len(images)][None]
            start = time.perf_counter_ns()
            session(image)
            times[name].append((time.perf_counter_ns() - start) / 1e6)
        counted.note()
        if not warm and len(times["plain_ms"]) >= LEAST_WARMUP:
            warm = time.monotonic() - begin >= job["warmup_s"]
            times = {name: [] for name in times} if warm else times
    return {"nodes": counted.nodes(job["inferences"])} | {
        name: statistics.median(values) for name, values in times.items()
    }


class OpenVinoCounters:
    """An engine of OpenVINO with `PERF_COUNT`: the request tells the times of its last inference."""

    def __init__(self, job: dict[str, Any]) -> None:
        options = job["options"] | {"PERF_COUNT": "YES"}
        self.session = openvino.load(Path(job["engine"]), job["precision"], job["threads"], options)
        self.request = self.session._request
        self.taken: dict[str, list[float]] = defaultdict(list)
        self.facts: dict[str, dict[str, Any]] = {}

    def __call__(self, images: Any) -> None:
        """Run one inference."""
        self.session(images)

    def note(self) -> None:
        """Keep what the nodes of the last inference took; those that were fused into others ran none."""
        for info in self.request.profiling_info:
            if info.status == info.Status.EXECUTED:
                self.taken[info.node_name].append(info.real_time.total_seconds() * 1e3)
                self.facts[info.node_name] = {"operator": info.node_type, "kernel": info.exec_type}

    def nodes(self, count: int) -> list[dict[str, Any]]:
        """Return the nodes with their medians over the last inferences."""
        graph = self.request.get_compiled_model().get_runtime_model()
        told = {
            node.get_friendly_name(): {
                "inputs": [list(port.get_shape()) for port in node.inputs()],
                "outputs": [list(port.get_shape()) for port in node.outputs()],
                "precision": precision_of(openvino.runtime_info(node, "runtimePrecision")),
                "layers": openvino.runtime_info(node, "originalLayersNames").split(","),
            }
            for node in graph.get_ops()
        }
        none: dict[str, Any] = {"inputs": [], "outputs": [], "precision": "", "layers": []}
        return [
            {"name": name, "ms": statistics.median(self.taken[name][-count:])} | facts | told.get(name, none)
            for name, facts in self.facts.items()
        ]


class OnnxRuntimeCounters:
    """An engine of ONNX Runtime with its profiler, which writes the times of all inferences to a file."""

    def __init__(self, job: dict[str, Any]) -> None:
        options = onnxruntime._session_options(job["threads"], job["options"])
        options.enable_profiling = True
        options.profile_file_prefix = str(Path(job["inputs"]).with_name("profile"))
        self.session = onnxruntime._open(Path(job["engine"]), options, onnxruntime._providers(job["options"]))
        self.input = self.session.get_inputs()[0].name

    def __call__(self, images: Any) -> None:
        """Run one inference."""
        self.session.run(None, {self.input: images})

    def note(self) -> None:
        """Keep nothing: the profiler does."""

    def nodes(self, count: int) -> list[dict[str, Any]]:
        """Return the nodes with their medians over the last inferences."""
        events = read_json(Path(self.session.end_profiling()), CompileError)
        taken: dict[tuple[str, str], list[float]] = defaultdict(list)
        nodes: dict[tuple[str, str], dict[str, Any]] = {}
        for event in events:
            if event["cat"] != "Node" or not event["name"].endswith("_kernel_time"):
                continue
            args = event["args"]
            key = event["name"].removesuffix("_kernel_time"), args["node_index"]
            taken[key].append(event["dur"] / 1e3)
            nodes[key] = {
                "name": key[0],
                "operator": args["op_name"],
                "kernel": "",
                "inputs": [shape for one in args["input_type_shape"] for shape in one.values()],
                "outputs": [shape for one in args["output_type_shape"] for shape in one.values()],
                "precision": precision_of(
                    next((kind for one in args["input_type_shape"] for kind in one), "")
                ),
                "layers": [key[0]],
            }
        return [node | {"ms": statistics.median(taken[key][-count:])} for key, node in nodes.items()]


COUNTERS: dict[str, Any] = {"openvino": OpenVinoCounters, "onnxruntime": OnnxRuntimeCounters}
_PRECISIONS = {
    **dict.fromkeys(("u8", "i8", "uint8", "int8"), "int8"),
    **dict.fromkeys(("f32", "float"), "fp32"),
    **dict.fromkeys(("f16", "float16"), "fp16"),
    **dict.fromkeys(("bf16", "bfloat16"), "bf16"),
}


def precision_of(kind: str) -> str:
    """Return what the project calls a runtime's element type; one it has no name for stays as it is."""
    return _PRECISIONS.get(kind, kind)


if __name__ == "__main__":
    sys.exit(serve(sys.argv[1:], run))
