"""How long each node of an engine takes: the runtime's own counters, read in a fresh process."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeprune.backends import all_backends, get_backend, options_for
from edgeprune.bench.ask import ask
from edgeprune.bench.jobs import write_inputs
from edgeprune.bench.stock import stock_images
from edgeprune.bench.testbed import Testbed
from edgeprune.config.targets import DeviceProfile
from edgeprune.core.artifact import Artifact
from edgeprune.core.documents import read_json
from edgeprune.core.errors import ConfigError, DeviceError
from edgeprune.images.preprocess import Preprocess
from edgeprune.runners import require_timed

if TYPE_CHECKING:
    import numpy as np

TIMEOUT_S = 600.0

# Operators of both runtimes; one that is in no line goes by its own name.
KINDS: dict[str, tuple[str, ...]] = {
    "convolution": ("Convolution", "GroupConvolution", "Conv", "FusedConv", "QLinearConv"),
    "reorder, reshape, requantize": (
        *("Reorder", "ReorderInput", "ReorderOutput", "Transpose", "Reshape", "Convert", "Cast"),
        *("FakeQuantize", "QuantizeLinear", "DequantizeLinear"),
    ),
    "concat, split": ("Concat", "QLinearConcat", "Split", "VariadicSplit", "Slice", "StridedSlice"),
    "activation, element-wise left alone": (
        *("Sigmoid", "QLinearSigmoid", "Mul", "Multiply", "QLinearMul", "Swish", "QuickGelu", "Relu"),
        *("Clip", "HardSwish", "HSwish", "HardSigmoid", "Subgraph"),
    ),
    "addition": ("Add", "QLinearAdd"),
    "pooling, upsampling": ("MaxPool", "NhwcMaxPool", "AveragePool", "Resize", "Interpolate", "Upsample"),
}


@dataclass(frozen=True)
class NodeTime:
    """One node that the runtime ran.

    Attributes:
        operator: as the runtime calls it, after its optimisations.
        kernel: what the runtime chose to run it by; empty where it does not tell.
        precision: of its first input (ONNX Runtime) or of its kernel (OpenVINO), such as ``int8``.
        layers: names of the nodes of the model that were fused into it, as far as the runtime tells.
        inputs, outputs: shapes.
        ms: median over the inferences.
    """

    name: str
    operator: str
    kernel: str
    precision: str
    layers: tuple[str, ...]
    inputs: tuple[tuple[int, ...], ...]
    outputs: tuple[tuple[int, ...], ...]
    ms: float

    @property
    def kind(self) -> str:
        """A key of `KINDS`, or the operator's own name."""
        return next((kind for kind, names in KINDS.items() if self.operator in names), self.operator)


@dataclass(frozen=True)
class NodeTimes:
    """All nodes of an engine.

    Attributes:
        counted_ms, plain_ms: medians of whole inferences with the counters and, in turns with them, without:
            counting costs time itself, so shares say more than the nodes' milliseconds.
    """

    nodes: tuple[NodeTime, ...]
    counted_ms: float
    plain_ms: float


def node_times(
    engine: Artifact,
    profile: DeviceProfile,
    threads: int,
    spec: Preprocess,
    testbed: Testbed,
    environment: Mapping[str, str] | None = None,
    images: np.ndarray[Any, Any] | None = None,
) -> NodeTimes:
    """Run an engine on a device with its runtime's counters, with the options of its target's profile.

    Args:
        spec: of the engine's input.
        testbed: the device in use.
        environment: variables that are set before the runtime is imported.
        images: float32 (n, 3, H, W), at least 16 distinct ones, to rotate over; stock photographs by default.

    Raises:
        ConfigError: the runtime has no counters that are read here.
        DeviceError: the process crashed, hung or answered with garbage, or the device is emulated.
    """
    runner = testbed.runner
    require_timed(runner)
    if get_backend(profile.backend).count_nodes is None:
        able = ", ".join(one.name for one in all_backends() if one.count_nodes)
        raise ConfigError(f"{profile.backend}: nodes are timed by the counters of {able} only")
    images = stock_images(spec) if images is None else images
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        job = {
            "engine": runner.push(engine.path),
            "precision": engine.precision,
            "backend": profile.backend,
            "threads": threads,
            "options": options_for(profile, engine.precision),
            "environment": dict(environment or {}),
            "inputs": runner.push(write_inputs(images, folder / "inputs.npy")),
            "batch": spec.batch,
            "inferences": testbed.effort.inferences,
            "warmup_s": testbed.effort.counting_warmup_s,
        }
        told = ask(runner, "nodes", job, folder, TIMEOUT_S)
        try:
            answer = read_json(told, DeviceError)
            nodes = tuple(_node(node) for node in answer["nodes"])
            return NodeTimes(nodes, answer["counted_ms"], answer["plain_ms"])
        except (DeviceError, ValueError, LookupError, TypeError, AttributeError) as exc:
            raise DeviceError(
                f"{engine.path.name}: the worker on {runner.name} answered with garbage"
            ) from exc


def _node(told: dict[str, Any]) -> NodeTime:
    shapes = {key: tuple(tuple(shape) for shape in told[key]) for key in ("inputs", "outputs")}
    return NodeTime(**(told | shapes | {"layers": tuple(filter(None, told["layers"]))}))
