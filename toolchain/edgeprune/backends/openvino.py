"""OpenVINO on the CPU, a GPU or an NPU: the engine is a folder with the IR, `model.xml` and `model.bin`.

The floating-point rows share one IR: the precision they run in is `INFERENCE_PRECISION_HINT` of the profile's
options. Left alone, OpenVINO runs an fp32 model in bf16 on CPUs that have it, silently.
"""

from __future__ import annotations

import re
import shutil
import statistics
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeprune.backends.operators import lacking
from edgeprune.backends.precisions import precision_of
from edgeprune.core.artifact import WEIGHTS, Artifact, lone
from edgeprune.core.backend import QDQ
from edgeprune.core.backend_types import Figures, NodeCounter, Recognised, Tool
from edgeprune.core.documents import read_xml
from edgeprune.core.errors import (
    CompileError,
    ConfigError,
    ModelError,
    RuntimeMissingError,
    did_you_mean,
    shorten,
)
from edgeprune.core.files import read_bytes

if TYPE_CHECKING:
    import numpy as np

MODULE = "openvino"
PIP = ("openvino",)
PACKAGES = ("openvino",)
HOW_TO_GET = "pip install 'edgeprune[openvino]'"
WHEELS = {
    "aarch64": {"openvino==2026.4.1": "bea1eb3733c34ef331adc945da0ccda5937865031139073663be84c517ffda22"}
}
PROVIDER = "CPU"
SOURCE = "onnx"
SCHEMES = ("nncf", *QDQ)
END2END = True
HALF_GRAPH = False
GRAPH_IN_FILE = False
ENGINE = "engine"
IR = "model.xml"
TAKES = "an OpenVINO .xml with its .bin"
_BESIDE = (".yaml", ".json", ".txt", ".mapping")  # what exporters and builds write beside the two files
_FLOATS = {"f32": "fp32", "f16": "fp16", "bf16": "bf16"}
_DRIVERS = {
    "GPU": "an Intel GPU needs its compute driver: apt install intel-opencl-icd",
    "NPU": "an Intel NPU (Core Ultra) needs its driver: https://github.com/intel/linux-npu-driver",
}
_INTEGERS = ("u8", "i8")
_LACKS = re.compile(r"No conversion rule found for operations: (.+)")
_CONVOLUTIONS = ("Convolution", "GroupConvolution")


class OpenVinoSession:
    """A compiled model with one inference request.

    Attributes:
        compile_ms: time of compiling, reading the model is not in it.
        request: OpenVINO's own.
        actual: ``provider`` (the device that executes), ``precision`` of the floating-point kernels as read
            back from the compiled model, ``threads``, ``streams`` and ``version``; None for what the device
            does not tell.
    """

    def __init__(self, compiled: Any, version: str, compile_ms: float | None = None) -> None:
        self.compile_ms = compile_ms
        self.request = compiled.create_infer_request()
        self._outputs = len(compiled.outputs)
        hint = _property(compiled, "INFERENCE_PRECISION_HINT")
        precision = None if hint is None else str(hint.to_string())
        # The only device of a kind is "GPU.0" in some versions and "GPU" in others.
        devices = [name.removesuffix(".0") for name in compiled.get_property("EXECUTION_DEVICES")]
        self.actual: dict[str, Any] = {
            "provider": ",".join(devices),
            "precision": None if precision is None else _FLOATS.get(precision, precision),
            "threads": _property(compiled, "INFERENCE_NUM_THREADS"),
            "streams": _property(compiled, "NUM_STREAMS"),
            "version": version,
        }

    def __call__(self, images: np.ndarray[Any, Any]) -> list[np.ndarray[Any, Any]]:
        """Run on float32 images of shape (n, 3, H, W) and return new arrays, one an output."""
        # The input is read in place; outputs are copied, since the request reuses its own memory.
        results = self.request.infer(images, share_inputs=True, share_outputs=False)
        return [results[index] for index in range(self._outputs)]


class OpenVinoCounter:
    """An engine with OpenVINO's `PERF_COUNT`: the request tells the times of its last inference."""

    def __init__(self, session: OpenVinoSession) -> None:
        self._session = session
        self._taken: dict[str, list[float]] = defaultdict(list)
        self._facts: dict[str, dict[str, Any]] = {}

    def __call__(self, images: np.ndarray[Any, Any]) -> None:
        """Run one inference."""
        self._session(images)

    def note(self) -> None:
        """Keep what the nodes of the last inference took; those that were fused into others ran none."""
        for info in self._session.request.profiling_info:
            if info.status == info.Status.EXECUTED:
                self._taken[info.node_name].append(info.real_time.total_seconds() * 1e3)
                self._facts[info.node_name] = {"operator": info.node_type, "kernel": info.exec_type}

    def nodes(self, count: int) -> list[dict[str, Any]]:
        """Return the nodes with their medians over the last inferences."""
        graph = self._session.request.get_compiled_model().get_runtime_model()
        told = {
            node.get_friendly_name(): {
                "inputs": [list(port.get_shape()) for port in node.inputs()],
                "outputs": [list(port.get_shape()) for port in node.outputs()],
                "precision": precision_of(runtime_info(node, "runtimePrecision")),
                "layers": runtime_info(node, "originalLayersNames").split(","),
            }
            for node in graph.get_ops()
        }
        none: dict[str, Any] = {"inputs": [], "outputs": [], "precision": "", "layers": []}
        return [
            {"name": name, "ms": statistics.median(self._taken[name][-count:])} | facts | told.get(name, none)
            for name, facts in self._facts.items()
        ]


def version() -> str | None:
    """Return the version of the OpenVINO that is installed here, such as ``2026.4.1``, or None."""
    try:
        import openvino
    except ImportError:
        return None
    return str(openvino.__version__).split("-", 1)[0]


def providers() -> tuple[str, ...]:
    """Return the devices that OpenVINO finds here, such as ``CPU`` and ``GPU.0``.

    Raises:
        RuntimeMissingError: openvino is not installed.
    """
    return tuple(_import().Core().available_devices)


def compile(model: Artifact, precision: str, options: Mapping[str, str], out: Path) -> Artifact:
    """Turn an ONNX file into IR with fp32 weights, or take over the IR folder that NNCF wrote.

    Returns:
        The folder ``out/engine``, proven to compile on the profile's device here.

    Raises:
        CompileError: OpenVINO cannot read or compile the model, or lacks one of its operators.
        RuntimeMissingError: openvino is not installed.
    """
    engine = out / ENGINE
    if model.path.is_dir():
        shutil.copytree(model.path, engine)
    else:
        openvino = _import()
        engine.mkdir(parents=True)
        network = _translated(model.path, lambda: openvino.Core().read_model(str(model.path)))
        keep_spec(network, model.path)
        # compress_to_fp16 is on by default and would round the weights of every "fp32" row.
        openvino.save_model(network, str(engine / IR), compress_to_fp16=False)
    load(engine, precision, 1, options)
    return Artifact.of(engine, "engine", precision, parent=model.sha256)


def load(engine: Path, precision: str, threads: int, options: Mapping[str, str]) -> OpenVinoSession:
    """Load an IR folder for one query at a time.

    Args:
        precision: what the row is called; `options` decide what runs and `Session.actual` tells it.
        options: OpenVINO properties, such as ``INFERENCE_PRECISION_HINT``, and ``provider``: the device,
            which is the CPU without it.

    Raises:
        CompileError: OpenVINO cannot read or compile the model, or refuses an option.
        ConfigError: OpenVINO has no such kind of device.
        RuntimeMissingError: openvino is not installed, or finds no such device.
    """
    compiled, compile_ms = _compiled(engine, threads, options)
    return OpenVinoSession(compiled, str(version()), compile_ms)


def load_many(
    engine: Path, precision: str, threads: int, options: Mapping[str, str], count: int
) -> Sequence[OpenVinoSession]:
    """Compile once, with a stream and an inference request for each query.

    Arguments and errors are those of `load`.
    """
    compiled, compile_ms = _compiled(engine, threads, options, count)
    return [OpenVinoSession(compiled, str(version()), compile_ms) for _ in range(count)]


def count_nodes(
    engine: Path, precision: str, threads: int, options: Mapping[str, str], folder: Path
) -> NodeCounter:
    """Load an engine with OpenVINO's counters; arguments and errors are those of `load`."""
    return OpenVinoCounter(load(engine, precision, threads, {**options, "PERF_COUNT": "YES"}))


def recognise(path: Path) -> Recognised | None:
    """Return the IR at a path: its ``.xml``, its ``.bin``, or a folder with one such pair under any name.

    The engine is the folder where that holds nothing else of weight, and the ``.xml`` where it does. An IR
    whose weights are stored in fp16 runs in what `INFERENCE_PRECISION_HINT` says, so it counts as fp32.

    Raises:
        ModelError: the folder holds several, or the ``.bin`` is missing.
    """
    xml = _ir_at(path)
    if xml is None:
        return None
    weights = xml.with_suffix(WEIGHTS)
    if not weights.is_file():
        raise ModelError(f"{xml}: {weights.name} is not beside it; an OpenVINO model is both files")
    others = [other for other in xml.parent.iterdir() if other not in (xml, weights)]
    alone = all(other.is_file() and other.suffix in _BESIDE for other in others)
    precision = "int8" if b"FakeQuantize" in read_bytes(xml, ModelError) else "fp32"
    return Recognised(xml.parent if alone else xml, precision)


def _ir_at(path: Path) -> Path | None:
    if path.is_dir():
        found = [xml for xml in sorted(path.glob("*.xml")) if _is_ir(xml)]
        if len(found) > 1 and path / IR not in found:
            names = ", ".join(xml.name for xml in found)
            raise ModelError(f"{path}: it holds {len(found)} OpenVINO models; name the one to run: {names}")
        return (path / IR if path / IR in found else found[0]) if found else None
    xml = path.with_suffix(".xml") if path.suffix == WEIGHTS else path
    return xml if xml.suffix == ".xml" and _is_ir(xml) else None


def _is_ir(path: Path) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as stream:
        return b"<net" in stream.read(4096)


def ir_of(engine: Path) -> Path:
    """Return the ``.xml`` of an engine: the file itself, or the one in its folder."""
    return (lone(engine, IR) or engine / IR) if engine.is_dir() else engine


def input_shape(engine: Path) -> list[int]:
    """Return the shape of the first input, 0 for a side that is not fixed.

    Raises:
        ModelError: the file is no OpenVINO model.
    """
    xml = ir_of(engine)
    layers = read_xml(xml, ModelError).iter("layer")
    data = next((layer.find("data") for layer in layers if layer.get("type") == "Parameter"), None)
    text = data.get("shape", "") if data is not None else ""
    sides = [side.strip() for side in text.split(",") if side.strip()]
    return [int(side) if side.isdecimal() else 0 for side in sides]


def quantized_ops(engine: Path) -> int | None:
    """Count the convolutions of the executed graph whose kernels take u8 or i8 input."""
    graph = _compiled(engine, 1, {})[0].get_runtime_model()
    return sum(
        runtime_info(node, "layerType") in _CONVOLUTIONS
        and runtime_info(node, "runtimePrecision") in _INTEGERS
        for node in graph.get_ops()
    )


def keep_spec(network: Any, onnx: Path) -> None:
    """Write the spec of an ONNX file's metadata (`edgeprune.images.spec`) into a network's ``rt_info``."""
    from edgeprune.images.spec import PREFIX, onnx_texts

    for part, text in onnx_texts(onnx).items():
        network.set_rt_info(text, [PREFIX, part])


def _property(compiled: Any, name: str) -> Any:
    return compiled.get_property(name) if name in compiled.get_property("SUPPORTED_PROPERTIES") else None


def runtime_info(node: Any, key: str) -> str:
    """Return what the executed graph tells of a node, such as its ``runtimePrecision``; empty if nothing."""
    info = node.get_rt_info()
    return str(info[key].astype(str)) if key in info else ""


def _import() -> Any:
    try:
        import openvino
    except ImportError as exc:
        raise RuntimeMissingError("openvino is not installed here: pip install openvino") from exc
    return openvino


def _compiled(engine: Path, threads: int, options: Mapping[str, str], streams: int = 1) -> tuple[Any, float]:
    """Return the compiled model, and how long compiling took, ms."""
    core = _import().Core()
    device = _device(core, options.get("provider", PROVIDER))
    properties = {"PERFORMANCE_HINT": "LATENCY" if streams == 1 else "THROUGHPUT"}
    if device == PROVIDER:
        properties |= {"NUM_STREAMS": str(streams), "INFERENCE_NUM_THREADS": str(threads * streams)}
    properties |= {key: value for key, value in options.items() if key != "provider"}
    model = str(ir_of(engine) if engine.is_dir() else engine)
    network = _translated(engine, lambda: core.read_model(model))
    started = time.perf_counter()
    compiled = _translated(engine, lambda: core.compile_model(network, device, properties))
    return compiled, (time.perf_counter() - started) * 1e3


def _device(core: Any, wanted: str) -> str:
    kind, present = wanted.partition(".")[0], core.available_devices
    if kind not in (PROVIDER, *_DRIVERS):
        raise ConfigError(
            f"provider: OpenVINO has no device {wanted!r}{did_you_mean(kind, (PROVIDER, *_DRIVERS))}"
        )
    # Taken as given, OpenVINO would complain of a library that it cannot load.
    if not any(wanted in (found, found.partition(".")[0]) for found in present):
        advice = _DRIVERS.get(kind, "")
        raise RuntimeMissingError(f"OpenVINO finds no {wanted} here, only {', '.join(present)}; {advice}")
    return wanted


def _translated(path: Path, action: Any) -> Any:
    try:
        return action()
    except RuntimeError as exc:
        if lacks := _LACKS.search(str(exc)):
            operators = [_operator(word.strip()) for word in lacks[1].split(",")]
            raise lacking(f"OpenVINO {version()}", path, operators) from exc
        raise CompileError(f"{path}: OpenVINO cannot use this model: {shorten(exc)}") from exc


def _operator(told: str) -> str:
    """Turn OpenVINO's ``domain.Type``, or ``Type-17`` for ONNX's own domain, into ``domain:Type``."""
    domain, _, kind = re.sub(r"-\d+$", "", told).rpartition(".")
    return f"{domain}:{kind}" if domain else kind


def _benchmark_app(engine: Path, options: Mapping[str, str], threads: int, seconds: float) -> list[str]:
    hint = options.get("INFERENCE_PRECISION_HINT")
    precision = ["-infer_precision", hint] if hint else []
    model = ["-m", str(ir_of(engine)), "-d", options.get("provider", PROVIDER)]
    how = ["-api", "sync", "-hint", "none", "-nthreads", str(threads), "-nstreams", "1"]
    how += ["-ip", "f32"]  # left alone it gives an image's input the type u8, which is another network
    return [*model, *how, *precision, "-t", str(max(1, round(seconds)))]


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


TOOL = Tool(
    "benchmark_app",
    "pip install openvino",
    _benchmark_app,
    _read_benchmark_app,
    "its median compares with our p50. It feeds one random tensor, set before the clock starts, and "
    "warms up by one query",
)
