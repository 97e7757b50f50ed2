"""A runtime as another package would bring it: ONNX's own reference evaluator, in one module.

`tests/backends/test_outside_runtime.py` installs it beside the package, under the entry point `reference`.
"""

from __future__ import annotations

import shutil
import statistics
import time
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgeprune.backends import Recognised
from edgeprune.core.artifact import Artifact
from edgeprune.core.onnx_files import read_onnx

MODULE = "onnx"
PIP = ("onnx",)
TAKES = "a .reference file"
ENGINE = "model.reference"


class Session:
    """A loaded engine."""

    compile_ms: float | None = None

    def __init__(self, engine: Path) -> None:
        from onnx.reference import ReferenceEvaluator

        self.evaluator = ReferenceEvaluator(str(engine))
        self.input: str = self.evaluator.input_names[0]
        self.actual = {
            "provider": "CPU",
            "precision": "fp32",
            "threads": 1,
            "streams": 1,
            "version": version(),
        }

    def __call__(self, images: Any) -> list[Any]:
        return list(self.evaluator.run(None, {self.input: images}))


class Counter:
    """An engine that is timed node by node: each node of the graph is evaluated by itself."""

    def __init__(self, engine: Path) -> None:
        from onnx.reference import ReferenceEvaluator

        self.graph = read_onnx(engine).graph
        self.evaluator = ReferenceEvaluator(str(engine))
        self.taken: dict[str, list[float]] = defaultdict(list)
        self.shapes: dict[str, list[int]] = {}

    def __call__(self, images: Any) -> None:
        values = {"": None, **self.evaluator.rt_inits_, self.graph.input[0].name: images}
        for node in self.evaluator.rt_nodes_:
            start = time.perf_counter()
            outputs = node.run(*(values[name] for name in node.input))
            self.taken[node.output[0]].append((time.perf_counter() - start) * 1e3)
            values.update(zip(node.output, outputs, strict=True))
        self.shapes = {name: list(value.shape) for name, value in values.items() if value is not None}

    def note(self) -> None: ...

    def nodes(self, count: int) -> list[dict[str, Any]]:
        return [
            {
                "name": node.name,
                "operator": node.op_type,
                "kernel": "numpy",
                "precision": "fp32",
                "layers": [node.name],
                "inputs": [self.shapes[name] for name in node.input if name],
                "outputs": [self.shapes[name] for name in node.output],
                "ms": statistics.median(self.taken[node.output[0]][-count:]),
            }
            for node in self.graph.node
        ]


def version() -> str | None:
    import onnx

    return str(onnx.__version__)


def compile(model: Artifact, precision: str, options: Mapping[str, str], out: Path) -> Artifact:
    out.mkdir(parents=True, exist_ok=True)
    engine = out / ENGINE
    shutil.copyfile(model.path, engine)
    load(engine, precision, 1, options)
    return Artifact.of(engine, "engine", precision, parent=model.sha256)


def load(engine: Path, precision: str, threads: int, options: Mapping[str, str]) -> Session:
    return Session(engine)


def count_nodes(
    engine: Path, precision: str, threads: int, options: Mapping[str, str], folder: Path
) -> Counter:
    return Counter(engine)


def recognise(path: Path) -> Recognised | None:
    if path.suffix != Path(ENGINE).suffix or not path.is_file():
        return None
    integer = any(node.op_type == "QuantizeLinear" for node in read_onnx(path).graph.node)
    return Recognised(path, "int8" if integer else "fp32")


def input_shape(engine: Path) -> list[int]:
    return [dim.dim_value for dim in read_onnx(engine).graph.input[0].type.tensor_type.shape.dim]
