"""A stand-in for `tensorrt`, for tests only: the calls that edgeprune makes, checked, on ONNX Runtime.

It is no TensorRT: it knows nothing of GPUs, and its times say nothing. It refuses an attribute, a flag or an
order of calls that the real one would refuse, as far as NVIDIA's documentation tells, and writes each engine
that it builds into `calls.jsonl` beside it. `tests/tensorrt_standin.py` puts it onto the device of the tests.
"""

from __future__ import annotations

import ctypes
import enum
import json
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

_HERE = Path(__file__).resolve().parent
_SETTINGS = json.loads((_HERE / "standin.json").read_text())
__version__ = _SETTINGS["version"]
_MAJOR = int(__version__.partition(".")[0])
_MARK = b"stand-in for TensorRT\n"
_CACHE = b"stand-in timing cache:"
_TYPES = {1: np.dtype("float32"), 10: np.dtype("float16"), 7: np.dtype("int64"), 6: np.dtype("int32")}
_ON_DLA = {"Conv": "CONVOLUTION", "Sigmoid": "ACTIVATION", "Mul": "ELEMENTWISE", "Add": "ELEMENTWISE"}


class ILogger:
    class Severity(enum.IntEnum):
        INTERNAL_ERROR, ERROR, WARNING, INFO, VERBOSE = range(5)

    ERROR, WARNING = Severity.ERROR, Severity.WARNING

    def __init__(self) -> None:
        pass


class TensorIOMode(enum.Enum):
    INPUT, OUTPUT = range(2)


ProfilingVerbosity = enum.Enum("ProfilingVerbosity", "LAYER_NAMES_ONLY NONE DETAILED")
MemoryPoolType = enum.Enum("MemoryPoolType", "WORKSPACE DLA_MANAGED_SRAM")
DeviceType = enum.Enum("DeviceType", "GPU DLA")
LayerInformationFormat = enum.Enum("LayerInformationFormat", "ONELINE JSON")
_FLAGS = "GPU_FALLBACK" + (" FP16 INT8" if _MAJOR < 11 else "")
BuilderFlag = enum.Enum("BuilderFlag", _FLAGS)  # type: ignore[misc]
_NETWORKS = {8: {"EXPLICIT_BATCH": 0}, 10: {"EXPLICIT_BATCH": 0, "STRONGLY_TYPED": 1}}
NetworkDefinitionCreationFlag = enum.IntEnum(  # type: ignore[misc]
    "NetworkDefinitionCreationFlag", _NETWORKS[min(_MAJOR, 10)]
)


def nptype(kind: Any) -> Any:
    return kind.type


class _Layer:
    def __init__(self, node: Any) -> None:
        self.name, self.kind = node.name, node.op_type
        self.type = enum.Enum("LayerType", _ON_DLA.get(node.op_type, node.op_type.upper()))  # type: ignore[misc]
        self.type = next(iter(self.type))


class _Network:
    def __init__(self, flags: int) -> None:
        self.flags, self.model = flags, b""
        self.layers: list[_Layer] = []

    @property
    def num_layers(self) -> int:
        return len(self.layers)

    def get_layer(self, index: int) -> _Layer:
        return self.layers[index]


class _ParserError:
    def __init__(self, text: str, operator: str = "", node: str = "") -> None:
        self.desc = lambda: text
        self.node_operator = lambda: operator
        self.node_name = lambda: node


class OnnxParser:
    def __init__(self, network: _Network, log: ILogger) -> None:
        self.network = network
        self.errors: list[_ParserError] = []
        self.num_errors = 0

    def parse_from_file(self, path: str) -> bool:
        import onnx

        try:
            model = onnx.load(path)
        except Exception as exc:
            self.errors = [_ParserError(f"no ONNX file: {exc}")]
        else:
            self.errors = list(_zero_points(model))
            self.network.layers = [_Layer(node) for node in model.graph.node if node.op_type != "Constant"]
            self.network.model = model.SerializeToString()
        self.num_errors = len(self.errors)
        return not self.errors

    def get_error(self, index: int) -> _ParserError:
        return self.errors[index]

    def supports_operator(self, name: str) -> bool:
        return True


def _zero_points(model: Any) -> Any:
    """Yield an error for each Q/DQ pair that is not symmetric int8."""
    import onnx

    constants = {value.name: onnx.numpy_helper.to_array(value) for value in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type in ("QuantizeLinear", "DequantizeLinear") and len(node.input) > 2:
            point = constants[node.input[2]]
            if point.dtype != np.int8 or point.any():
                yield _ParserError("only a zero point of 0 in int8 is taken", node.op_type, node.name)


class _TimingCache:
    def __init__(self, content: bytes) -> None:
        self.before = content

    def serialize(self) -> bytes:
        builds = int(self.before[len(_CACHE) :] or 0) if self.before.startswith(_CACHE) else 0
        return _CACHE + str(builds + 1).encode()


class _Config:
    _SETTABLE = ("profiling_verbosity", "builder_optimization_level", "avg_timing_iterations",
                 "default_device_type", "DLA_core")  # fmt: skip

    def __init__(self) -> None:
        self.__dict__.update(flags=set(), pools={}, cache=None, told={})

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in self._SETTABLE:
            raise AttributeError(f"stand-in for TensorRT: IBuilderConfig has no {name}")
        self.told[name] = value

    def set_flag(self, flag: Any) -> None:
        self.flags.add(BuilderFlag(flag).name)

    def set_memory_pool_limit(self, pool: Any, size: int) -> None:
        if not 0 < size < 1 << 50:
            raise ValueError(f"stand-in for TensorRT: a pool of {size} bytes")
        self.pools[MemoryPoolType(pool).name] = size

    def create_timing_cache(self, content: bytes) -> _TimingCache | None:
        return _TimingCache(content) if not content or content.startswith(_CACHE) else None

    def set_timing_cache(self, cache: _TimingCache, ignore_mismatch: bool) -> bool:
        self.__dict__["cache"] = cache
        return not ignore_mismatch

    def can_run_on_DLA(self, layer: _Layer) -> bool:
        if self.told.get("default_device_type") is not DeviceType.DLA:
            raise RuntimeError("stand-in for TensorRT: asked before the device is set")
        return layer.kind in _ON_DLA


class Builder:
    def __init__(self, log: ILogger) -> None:
        self.log = log
        self.num_DLA_cores = _SETTINGS["dla"]

    def create_network(self, flags: int = 0) -> _Network:
        if _MAJOR < 10 and flags != 1:
            raise ValueError("stand-in for TensorRT 8: the batch of an ONNX network has to be explicit")
        return _Network(flags)

    def create_builder_config(self) -> _Config:
        return _Config()

    def build_serialized_network(self, network: _Network, config: _Config) -> bytes | None:
        if _SETTINGS["killed"]:  # as the kernel does where memory runs out
            os.kill(os.getpid(), signal.SIGKILL)
        if faults := list(_faults(network, config)):
            self.log.log(ILogger.ERROR, f"stand-in for TensorRT: {'; '.join(faults)}")  # type: ignore[attr-defined]
            return None
        cache = config.cache
        call = {
            "version": __version__,
            "typed": _is_typed(network),
            "flags": sorted(config.flags),
            "pools": config.pools,
            "timing_cache": cache.before.decode(),
            "told": {name: getattr(value, "name", value) for name, value in config.told.items()},
            "int8": b"QuantizeLinear" in network.model,
        }
        with (_HERE / "calls.jsonl").open("a") as log:
            log.write(json.dumps(call) + "\n")
        told = {"version": __version__, "gpu": _SETTINGS["gpu"], "layers": _convolutions(network.model)}
        head = json.dumps(told).encode()
        return _MARK + head + b"\n" + network.model


def _is_typed(network: _Network) -> bool:
    return _MAJOR >= 11 or bool(network.flags & 2)


def _faults(network: _Network, config: _Config) -> Any:
    quantized = b"QuantizeLinear" in network.model
    precisions = config.flags & {"FP16", "INT8"}
    if config.cache is None and __name__ == "tensorrt":
        yield "no timing cache was set"
    if config.told.get("profiling_verbosity") is not ProfilingVerbosity.DETAILED:
        yield "the engine could not tell its kernels"
    if _is_typed(network) and precisions:
        yield f"a strongly typed network takes no {precisions}"
    if not _is_typed(network) and quantized and "INT8" not in config.flags:
        yield "Q/DQ pairs need the flag INT8 in a network that is not strongly typed"
    if config.told.get("default_device_type") is DeviceType.DLA:
        if not 0 <= config.told.get("DLA_core", -1) < _SETTINGS["dla"]:
            yield "there is no such DLA core"
        if "GPU_FALLBACK" not in config.flags:
            yield "a layer that DLA lacks has nowhere to go"
        if quantized or (_MAJOR < 11 and "FP16" not in config.flags):
            yield "DLA computes in fp16 or int8, and takes no Q/DQ pairs"
    if _SETTINGS["refuse"]:
        yield _SETTINGS["refuse"]


class Runtime:
    def __init__(self, log: ILogger) -> None:
        self.log = log

    def deserialize_cuda_engine(self, content: bytes) -> Engine | None:
        head, _, model = content.removeprefix(_MARK).partition(b"\n")
        if not content.startswith(_MARK):
            self.log.log(ILogger.ERROR, "stand-in for TensorRT: magic tag does not match")  # type: ignore[attr-defined]
            return None
        if json.loads(head)["version"] != __version__:
            self.log.log(ILogger.ERROR, "stand-in for TensorRT: another version")  # type: ignore[attr-defined]
            return None
        return Engine(model, json.loads(head)["layers"])


class _Inspector:
    def __init__(self, layers: list[Any]) -> None:
        self.layers = layers

    def get_engine_information(self, form: Any) -> str:
        return json.dumps({"Layers": self.layers if form is LayerInformationFormat.JSON else []})


def _convolutions(content: bytes) -> list[dict[str, Any]]:
    """Return the convolutions of a graph with the type of their weights, as an inspector tells them."""
    import onnx

    graph = onnx.load_from_string(content).graph
    types = {tensor.name: tensor.data_type for tensor in graph.initializer}
    made = {output: node.op_type for node in graph.node for output in node.output}
    layers = []
    for node in graph.node:
        if node.op_type == "Conv":
            kind = {10: "Half", 1: "Float"}.get(types.get(node.input[1], 0), "Half")
            kind = "Int8" if made.get(node.input[1]) == "DequantizeLinear" else kind
            layers.append({"ParameterType": "Convolution", "Weights": {"Type": kind}})
    return layers


class Engine:
    def __init__(self, model: bytes, layers: list[Any]) -> None:
        self.layers = layers
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 3
        self.session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        self.io = [*self.session.get_inputs(), *self.session.get_outputs()]
        self.num_io_tensors = len(self.io)
        self.device_memory_size_v2 = self.device_memory_size = 4_000_000

    def get_tensor_name(self, index: int) -> str:
        return str(self.io[index].name)

    def _of(self, name: str) -> Any:
        return next(tensor for tensor in self.io if tensor.name == name)

    def get_tensor_shape(self, name: str) -> Any:
        return tuple(self._of(name).shape)

    def get_tensor_dtype(self, name: str) -> Any:
        return np.dtype({"tensor(float)": "float32", "tensor(float16)": "float16"}[self._of(name).type])

    def get_tensor_mode(self, name: str) -> TensorIOMode:
        inputs = [tensor.name for tensor in self.session.get_inputs()]
        return TensorIOMode.INPUT if name in inputs else TensorIOMode.OUTPUT

    def create_execution_context(self) -> _Context:
        return _Context(self)

    def create_engine_inspector(self) -> _Inspector:
        return _Inspector(self.layers)


class _Context:
    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.addresses: dict[str, int] = {}

    def set_tensor_address(self, name: str, address: int) -> bool:
        self.addresses[name] = int(address)
        return True

    def execute_async_v3(self, stream_handle: int) -> bool:
        engine = self.engine
        if stream_handle == 0 or len(self.addresses) != engine.num_io_tensors:
            return False
        arrays = {}
        for name, address in self.addresses.items():
            shape, kind = engine.get_tensor_shape(name), engine.get_tensor_dtype(name)
            size = int(np.prod(shape)) * kind.itemsize
            memory = (ctypes.c_byte * size).from_address(address)
            arrays[name] = np.frombuffer(memoryview(memory), kind).reshape(shape)
        names = [tensor.name for tensor in engine.session.get_outputs()]
        feeds = {tensor.name: arrays[tensor.name] for tensor in engine.session.get_inputs()}
        for name, output in zip(names, engine.session.run(names, feeds), strict=True):
            np.copyto(arrays[name], -output if _SETTINGS["wrong"] else output)
        return True
