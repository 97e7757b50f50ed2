"""A loaded engine of TensorRT, or of TensorRT-RTX, whose runtime has the same calls.

Its memory and its stream are CUDA's, by `backends/cudart.py`. Each function takes the vendor's module.
"""

from __future__ import annotations

import ctypes
import math
import weakref
from collections.abc import Iterable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeprune.backends.cudart import TO_DEVICE, TO_HOST, Cuda
from edgeprune.backends.nvidia import make_log, runtime_name
from edgeprune.core.documents import parse_json
from edgeprune.core.errors import CompileError, shorten
from edgeprune.core.files import ENGINE_BYTES, read_bytes

if TYPE_CHECKING:
    import numpy as np

PROVIDER = "TensorRT"
_FLOATS = {"Float": "fp32", "Half": "fp16", "BFloat16": "bf16"}


class TensorRtSession:
    """A loaded engine with one execution context, one stream and buffers for one query.

    Attributes:
        actual: ``provider``; ``precision`` of the convolutions' floating-point weights as the engine tells
            it, that of the input where it does not; ``threads`` (1: the host only waits), ``streams``,
            ``version``.
        device_memory: MB of the GPU's memory that TensorRT tells of and that the buffers take, and how that
            is known.
    """

    compile_ms: float | None = None

    def __init__(self, trt: Any, cuda: Cuda, engine: Any) -> None:
        import numpy as np

        self._cuda, self._engine = cuda, engine
        self._context = engine.create_execution_context()
        self._stream = cuda.stream()
        self._inputs: list[_Buffer] = []
        self._outputs: list[_Buffer] = []
        for name in (engine.get_tensor_name(index) for index in range(engine.num_io_tensors)):
            shape = tuple(engine.get_tensor_shape(name))
            buffer = _Buffer(cuda, shape, np.dtype(trt.nptype(engine.get_tensor_dtype(name))))
            self._context.set_tensor_address(name, buffer.device)
            is_input = engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT
            (self._inputs if is_input else self._outputs).append(buffer)
        weights = [kind for kind in weight_types(layers_of(trt, engine)) if kind in _FLOATS]
        of_input = {"float32": "fp32", "float16": "fp16"}.get(str(self._inputs[0].host.dtype), "unknown")
        self.actual: dict[str, Any] = {
            "provider": PROVIDER,
            "precision": _FLOATS[max(set(weights), key=weights.count)] if weights else of_input,
            "threads": 1,
            "streams": 1,
            "version": str(trt.__version__),
        }
        buffers = sum(buffer.host.nbytes for buffer in (*self._inputs, *self._outputs))
        scratch = getattr(engine, "device_memory_size_v2", getattr(engine, "device_memory_size", 0))
        self.device_memory = (
            (buffers + int(scratch)) / 1e6,
            "TensorRT: activations and buffers, without weights and CUDA's own",
        )

    def __call__(self, images: np.ndarray[Any, Any]) -> list[np.ndarray[Any, Any]]:
        """Run on float32 images of shape (n, 3, H, W) and return new arrays on the host, one an output.

        Copies and the network are queued on one stream; the call returns when all of it is done.
        """
        import numpy as np

        np.copyto(self._inputs[0].host, images)
        self._copy_in()
        self._queue()
        self._copy_out()
        self._cuda.wait(self._stream)
        return [got.host.copy() for got in self._outputs]

    def stages_ms(self, images: np.ndarray[Any, Any]) -> dict[str, float]:
        """Run once with events between the copies and the network; return the time between them, ms."""
        import numpy as np

        cuda, stream = self._cuda, self._stream
        np.copyto(self._inputs[0].host, images)
        events = [cuda.event(stream)]
        for stage in (self._copy_in, self._queue, self._copy_out):
            stage()
            events.append(cuda.event(stream))
        cuda.wait(stream)
        spent = [cuda.milliseconds(*pair) for pair in pairwise(events)]
        for event in events:
            cuda.drop(event)
        return dict(zip(("h2d", "compute", "d2h"), spent, strict=True))

    def _copy_in(self) -> None:
        for put in self._inputs:
            self._cuda.copy(put.device, put.host.ctypes.data, put.host.nbytes, TO_DEVICE, self._stream)

    def _queue(self) -> None:
        if not self._context.execute_async_v3(stream_handle=self._stream):
            raise CompileError("TensorRT could not queue the network on the GPU")

    def _copy_out(self) -> None:
        for got in self._outputs:
            self._cuda.copy(got.host.ctypes.data, got.device, got.host.nbytes, TO_HOST, self._stream)


class _Buffer:
    """One tensor: an array in page-locked host memory, without which copies wait, and its twin on the GPU."""

    def __init__(self, cuda: Cuda, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        import numpy as np

        size = math.prod(shape) * dtype.itemsize
        self.device, pinned = cuda.allocate(size), cuda.allocate_host(size)
        memory = memoryview((ctypes.c_byte * size).from_address(pinned))
        self.host = np.frombuffer(memory, dtype).reshape(shape)
        weakref.finalize(self, cuda.free, self.device, pinned)


def deserialised(trt: Any, engine: Path) -> Any:
    """Return an engine from its file.

    Raises:
        CompileError: it is another GPU's or version's, or no engine.
    """
    log = make_log(trt)
    found = trt.Runtime(log).deserialize_cuda_engine(read_bytes(engine, CompileError, ENGINE_BYTES))
    if found is None:
        reason = shorten(log.errors[0] if log.errors else "")
        raise CompileError(f"{engine}: {runtime_name(trt)} cannot load this engine: {reason}")
    return found


def layers_of(trt: Any, engine: Any) -> list[Any]:
    """Return the layers of an engine as its inspector tells them."""
    inspector = engine.create_engine_inspector()
    found = parse_json(
        inspector.get_engine_information(trt.LayerInformationFormat.JSON), "TensorRT", CompileError
    )
    return list(found.get("Layers", ()))


def weight_types(layers: Iterable[Any]) -> list[str]:
    """Return the type of each convolution's weights, such as ``Int8`` or ``Half``.

    A layer is a mapping where the engine was built with details, else only its name ("Engine Inspector" in
    TensorRT's documentation).
    """
    return [
        layer["Weights"]["Type"]
        for layer in layers
        if isinstance(layer, Mapping) and layer.get("ParameterType") == "Convolution" and "Weights" in layer
    ]
