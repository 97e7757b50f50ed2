"""TensorRT on an NVIDIA GPU, 10.x and 11.x: a strongly typed network built where it runs.

An engine matches one GPU and one TensorRT version exactly (TensorRT#4730), so a workstation can only prepare
the ONNX file for another device and write the commands that build the engine there. Precisions are in the
graph: fp16 is baked into the ONNX file, int8 stands in Q/DQ pairs. Calibrators and precision flags, which
TensorRT 11 has no more, are not used.

Written from NVIDIA's documentation and never run: the project has had no GPU to run `compile` and `load` on.
What its tests prove without one is the network and its parser, through `backends/rtx.py`, which shares them.
"""

from __future__ import annotations

import ctypes
import math
import re
import weakref
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeprune.backends.nvidia import build_engine, make_log
from edgeprune.core.artifact import Artifact
from edgeprune.core.backend import QDQ
from edgeprune.core.backend_types import Figures, Recognised, Tool
from edgeprune.core.documents import parse_json
from edgeprune.core.errors import CompileError, ConfigError, ModelError, RuntimeMissingError, shorten
from edgeprune.core.files import ENGINE_BYTES, read_bytes

if TYPE_CHECKING:
    import numpy as np

MODULE = "tensorrt"
PIP = ("cuda-python",)  # TensorRT itself is part of the device's own system
PACKAGES = ("tensorrt",)
PROVIDER = "TensorRT"
PROVER = "edgeprune.backends.rtx"
SOURCE = "onnx"
SCHEMES = QDQ
END2END = True
HALF_GRAPH = True
GRAPH_IN_FILE = False
ENGINE = "model.engine"
TAKES = ""  # nothing: only where it was built is an engine loaded
HOW_TO_GET = (
    "with an NVIDIA GPU: pip install tensorrt cuda-python --extra-index-url https://pypi.nvidia.com; "
    "on a Jetson it is part of JetPack: apt install python3-libnvinfer && pip install cuda-python"
)
# A profile's options: each an integer, an attribute of the builder's configuration and a flag of trtexec.
OPTIONS = {
    "builder_optimization_level": "--builderOptimizationLevel",
    "avg_timing_iterations": "--avgTiming",
}
_FLOATS = {"Float": "fp32", "Half": "fp16", "BFloat16": "bf16"}


class TensorRtSession:
    """A loaded engine with one execution context, one stream and buffers for one query.

    Attributes:
        actual: ``provider``; ``precision`` of the convolutions' floating-point weights as the engine tells
            it, that of the input where it does not; ``threads`` (1: the host only waits), ``streams``,
            ``version``.
    """

    compile_ms: float | None = None

    def __init__(self, trt: Any, cuda: Any, engine: Any) -> None:
        import numpy as np

        self._cuda, self._engine = cuda, engine
        self._context = engine.create_execution_context()
        self._stream = _checked(cuda.cudaStreamCreate())
        self._inputs: list[_Buffer] = []
        self._outputs: list[_Buffer] = []
        for name in (engine.get_tensor_name(index) for index in range(engine.num_io_tensors)):
            shape = tuple(engine.get_tensor_shape(name))
            buffer = _Buffer(cuda, shape, np.dtype(trt.nptype(engine.get_tensor_dtype(name))))
            self._context.set_tensor_address(name, buffer.device)
            is_input = engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT
            (self._inputs if is_input else self._outputs).append(buffer)
        weights = [kind for kind in _weight_types(_layers(trt, engine)) if kind in _FLOATS]
        of_input = {"float32": "fp32", "float16": "fp16"}.get(str(self._inputs[0].host.dtype), "unknown")
        self.actual: dict[str, Any] = {
            "provider": PROVIDER,
            "precision": _FLOATS[max(set(weights), key=weights.count)] if weights else of_input,
            "threads": 1,
            "streams": 1,
            "version": str(trt.__version__),
        }

    def __call__(self, images: np.ndarray[Any, Any]) -> list[np.ndarray[Any, Any]]:
        """Run on float32 images of shape (n, 3, H, W) and return new arrays on the host, one an output.

        Copies and the network are queued on one stream; the call returns when all of it is done.
        """
        import numpy as np

        np.copyto(self._inputs[0].host, images)
        self._copy_in()
        self._queue()
        self._copy_out()
        _checked(self._cuda.cudaStreamSynchronize(self._stream))
        return [got.host.copy() for got in self._outputs]

    def stages_ms(self, images: np.ndarray[Any, Any]) -> dict[str, float]:
        """Run once with events between the copies and the network; return the time between them, ms."""
        import numpy as np

        cuda, stream = self._cuda, self._stream
        events = [_checked(cuda.cudaEventCreate()) for _ in range(4)]
        np.copyto(self._inputs[0].host, images)
        _checked(cuda.cudaEventRecord(events[0], stream))
        self._copy_in()
        _checked(cuda.cudaEventRecord(events[1], stream))
        self._queue()
        _checked(cuda.cudaEventRecord(events[2], stream))
        self._copy_out()
        _checked(cuda.cudaEventRecord(events[3], stream))
        _checked(cuda.cudaStreamSynchronize(stream))
        spent = [float(_checked(cuda.cudaEventElapsedTime(*pair))) for pair in pairwise(events)]
        for event in events:
            _checked(cuda.cudaEventDestroy(event))
        return dict(zip(("h2d", "compute", "d2h"), spent, strict=True))

    def _copy_in(self) -> None:
        cuda, stream = self._cuda, self._stream
        kind = cuda.cudaMemcpyKind.cudaMemcpyHostToDevice
        for put in self._inputs:
            _checked(cuda.cudaMemcpyAsync(put.device, put.host.ctypes.data, put.host.nbytes, kind, stream))

    def _queue(self) -> None:
        if not self._context.execute_async_v3(stream_handle=int(self._stream)):
            raise CompileError("TensorRT could not queue the network on the GPU")

    def _copy_out(self) -> None:
        cuda, stream = self._cuda, self._stream
        kind = cuda.cudaMemcpyKind.cudaMemcpyDeviceToHost
        for got in self._outputs:
            _checked(cuda.cudaMemcpyAsync(got.host.ctypes.data, got.device, got.host.nbytes, kind, stream))


class _Buffer:
    """One tensor: an array in page-locked host memory, without which copies wait, and its twin on the GPU."""

    def __init__(self, cuda: Any, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        import numpy as np

        size = math.prod(shape) * dtype.itemsize
        self.device = int(_checked(cuda.cudaMalloc(size)))
        pinned = int(_checked(cuda.cudaMallocHost(size)))
        self.host = np.frombuffer(memoryview((ctypes.c_byte * size).from_address(pinned)), dtype).reshape(
            shape
        )
        weakref.finalize(self, _free, cuda, self.device, pinned)


def _free(cuda: Any, device: int, pinned: int) -> None:
    cuda.cudaFree(device)
    cuda.cudaFreeHost(pinned)


def version() -> str | None:
    """Return the version of the TensorRT that is installed here, or None."""
    try:
        import tensorrt
    except ImportError:
        return None
    return str(tensorrt.__version__)


def compile(model: Artifact, precision: str, options: Mapping[str, str], out: Path) -> Artifact:
    """Build `out/model.engine` from an ONNX file, for the GPU of this machine.

    The builder times its kernels; what it learns is kept in the user's cache folder, one file for each GPU
    and TensorRT version, so that the next build of a like network is quick.

    Raises:
        CompileError: the parser or the builder refuses the graph.
        ConfigError: an option is none of TensorRT's.
        RuntimeMissingError: TensorRT, cuda-python or the GPU is missing.
    """
    settings = _settings(options)
    trt, cuda = _import("")
    cache = _timing_cache(trt, cuda)

    def configure(config: Any) -> None:
        config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED  # or the engine cannot tell its kernels
        for name, value in settings.items():
            setattr(config, name, value)
        known = config.create_timing_cache(read_bytes(cache, CompileError)) if cache.is_file() else None
        timings.append(known or config.create_timing_cache(b""))  # none comes of a file that is damaged
        config.set_timing_cache(timings[0], ignore_mismatch=False)

    timings: list[Any] = []
    content = build_engine(trt, make_log(trt), model.path, configure)
    _write_aside(cache, bytes(timings[0].serialize()))
    out.mkdir(parents=True, exist_ok=True)
    engine = out / ENGINE
    engine.write_bytes(content)
    return Artifact.of(engine, "engine", precision, parent=model.sha256)


def load(engine: Path, precision: str, threads: int, options: Mapping[str, str]) -> TensorRtSession:
    """Load an engine that was built on this GPU by this TensorRT.

    Args:
        precision: what the row is called; the engine holds it.
        threads: of no effect: the GPU computes.
        options: of no effect: they are the builder's.

    Raises:
        CompileError: the engine is another GPU's or TensorRT's, or no engine.
        RuntimeMissingError: TensorRT, cuda-python or the GPU is missing.
    """
    trt, cuda = _import(f"{engine}: ")
    return TensorRtSession(trt, cuda, _deserialised(trt, engine))


def load_many(
    engine: Path, precision: str, threads: int, options: Mapping[str, str], count: int
) -> Sequence[TensorRtSession]:
    """Load the engine once, with an execution context, a stream and buffers for each query.

    Arguments and errors are those of `load`.
    """
    trt, cuda = _import(f"{engine}: ")
    loaded = _deserialised(trt, engine)
    return [TensorRtSession(trt, cuda, loaded) for _ in range(count)]


def recognise(path: Path) -> Recognised | None:
    """Tell an engine file by its ending, and refuse it: only the GPU and the TensorRT that built it load it.

    Raises:
        ModelError: it is one.
    """
    if path.suffix not in (".engine", ".plan") or not path.is_file():
        return None
    raise ModelError(
        f"{path}: a TensorRT engine fits one GPU and one version of TensorRT; measure it there with "
        "trtexec --loadEngine, or give the .onnx file that it was built from"
    )


def input_shape(engine: Path) -> list[int]:
    """Return the shape of the input of an engine that loads here.

    Raises:
        CompileError: TensorRT cannot load it.
        RuntimeMissingError: TensorRT is not installed.
    """
    loaded = _deserialised(_import(f"{engine}: ")[0], engine)
    names = [loaded.get_tensor_name(index) for index in range(loaded.num_io_tensors)]
    return [max(int(side), 0) for side in loaded.get_tensor_shape(names[0])]


def quantized_ops(engine: Path) -> int | None:
    """Count the convolutions whose kernels have int8 weights, as the engine itself tells.

    Returns:
        The count, or None where the engine shows no convolution (TensorRT may fuse all into larger nodes).
    """
    trt, _ = _import(f"{engine}: ")
    kinds = _weight_types(_layers(trt, _deserialised(trt, engine)))
    return kinds.count("Int8") if kinds else None


def device_commands(onnx_name: str, options: Mapping[str, str]) -> tuple[str, ...]:
    """Return the shell commands that build an engine on the device and time it there.

    Args:
        onnx_name: ONNX file in the folder that the commands run in; letters, digits, ``.-_``.
        options: of the profile at this precision; see `OPTIONS`.

    Raises:
        ConfigError: an option is none of TensorRT's.
    """
    engine = f"{Path(onnx_name).stem}.engine"
    flags = "".join(f" {OPTIONS[name]}={value}" for name, value in _settings(options).items())
    return (
        f"trtexec --onnx={onnx_name} --stronglyTyped --timingCacheFile=timing.cache{flags}"
        f" --saveEngine={engine}",
        f"trtexec --loadEngine={engine} --warmUp=2000 --duration=60 --useSpinWait --percentile=50,90,99",
    )


def _import(where: str) -> tuple[Any, Any]:
    """Return the modules of TensorRT and of CUDA's runtime, when there is a GPU to use them on."""
    try:
        import tensorrt
    except ImportError as exc:
        raise RuntimeMissingError(f"{where}TensorRT is not installed here; {HOW_TO_GET}") from exc
    try:
        from cuda.bindings import runtime
    except ImportError as exc:
        raise RuntimeMissingError(f"{where}TensorRT needs CUDA's bindings: pip install cuda-python") from exc
    error, count = runtime.cudaGetDeviceCount()
    if int(error) or not count:
        raise RuntimeMissingError(
            f"{where}TensorRT finds no NVIDIA GPU here; nvidia-smi tells whether there is one"
        )
    return tensorrt, runtime


def _checked(answer: tuple[Any, ...]) -> Any:
    """Return what a call of CUDA's runtime gives beside its status."""
    status, *values = answer
    if int(status):
        raise CompileError(f"CUDA failed: {status.name}")
    return values[0] if values else None


def _settings(options: Mapping[str, str]) -> dict[str, int]:
    for name, value in options.items():
        if name not in OPTIONS:
            raise ConfigError(
                f"options: {name!r} is not one of {', '.join(OPTIONS)}, which TensorRT takes here"
            )
        if not value.isdigit():
            raise ConfigError(f"options: {name}: a whole number is expected, not {value!r}")
    return {name: int(value) for name, value in options.items()}


def _timing_cache(trt: Any, cuda: Any) -> Path:
    """Return the file with the kernel timings of this GPU and TensorRT: they hold for no other."""
    from edgeprune.core.resources import cache_dir

    gpu = _checked(cuda.cudaGetDeviceProperties(0))
    name = re.sub(r"[^a-z0-9]+", "-", gpu.name.decode().lower()).strip("-")
    return cache_dir() / "tensorrt" / f"{name}-sm{gpu.major}{gpu.minor}-{trt.__version__}.timing"


def _write_aside(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_bytes(content)
    partial.replace(path)


def _deserialised(trt: Any, engine: Path) -> Any:
    log = make_log(trt)
    found = trt.Runtime(log).deserialize_cuda_engine(read_bytes(engine, CompileError, ENGINE_BYTES))
    if found is None:
        reason = shorten(log.errors[0] if log.errors else "")
        raise CompileError(f"{engine}: TensorRT {trt.__version__} cannot load this engine: {reason}")
    return found


def _layers(trt: Any, engine: Any) -> list[Any]:
    inspector = engine.create_engine_inspector()
    found = parse_json(
        inspector.get_engine_information(trt.LayerInformationFormat.JSON), "TensorRT", CompileError
    )
    return list(found.get("Layers", ()))


def _weight_types(layers: Iterable[Any]) -> list[str]:
    """Return the type of each convolution's weights, such as ``Int8`` or ``Half``.

    A layer is a mapping where the engine was built with details, else only its name ("Engine Inspector" in
    TensorRT's documentation).
    """
    return [
        layer["Weights"]["Type"]
        for layer in layers
        if isinstance(layer, dict) and layer.get("ParameterType") == "Convolution" and "Weights" in layer
    ]


def _trtexec(engine: Path, options: Mapping[str, str], threads: int, seconds: float) -> list[str]:
    return [f"--loadEngine={engine}", "--warmUp=2000", f"--duration={max(1, round(seconds))}"]


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


TOOL = Tool(
    "trtexec",
    "it comes with TensorRT (/usr/src/tensorrt/bin): put it on the PATH",
    _trtexec,
    _read_trtexec,
    "its latency is the sum of transfers and GPU time by CUDA's clock, ours is by the host's, with "
    "launch and sync; trtexec 11 leaves the transfers off unless asked",
)
