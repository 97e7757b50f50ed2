"""The few calls of CUDA's runtime that a session needs, by ctypes: JetPack and TensorRT bring the library.

The functions are those of NVIDIA's "CUDA Runtime API"; only such are called whose signature is the same from
CUDA 11.4 (JetPack 5) to 13 (JetPack 7). No structure is read but the name at the beginning of a device's
properties. Standard library only: it travels to the device.
"""

from __future__ import annotations

import ctypes
import functools
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from edgeprune.core.errors import CompileError, RuntimeMissingError

NAMES = ("libcudart.so.13", "libcudart.so.12", "libcudart.so.11.0", "libcudart.so")
PLACES = ("/usr/local/cuda/lib64", "/usr/local/cuda/targets/aarch64-linux/lib")
TO_DEVICE, TO_HOST = 1, 2  # cudaMemcpyKind
_INTEGRATED, _MAJOR, _MINOR = 18, 75, 76  # cudaDeviceAttr
_PROPERTIES_BYTES = 8192  # more than any version's cudaDeviceProp
_NO_DEVICE = (35, 100)  # cudaErrorInsufficientDriver, cudaErrorNoDevice
_VOID, _SIZE, _INT = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int
_POINTER = ctypes.POINTER(_VOID)
_SIGNATURES: dict[str, tuple[Any, ...]] = {
    "cudaGetDeviceCount": (ctypes.POINTER(_INT),),
    "cudaGetDeviceProperties": (_VOID, _INT),
    "cudaDeviceGetAttribute": (ctypes.POINTER(_INT), _INT, _INT),
    "cudaMemGetInfo": (ctypes.POINTER(_SIZE), ctypes.POINTER(_SIZE)),
    "cudaMalloc": (_POINTER, _SIZE),
    "cudaFree": (_VOID,),
    "cudaMallocHost": (_POINTER, _SIZE),
    "cudaFreeHost": (_VOID,),
    "cudaMemcpyAsync": (_VOID, _VOID, _SIZE, _INT, _VOID),
    "cudaStreamCreate": (_POINTER,),
    "cudaStreamSynchronize": (_VOID,),
    "cudaEventCreate": (_POINTER,),
    "cudaEventRecord": (_VOID, _VOID),
    "cudaEventElapsedTime": (ctypes.POINTER(ctypes.c_float), _VOID, _VOID),
    "cudaEventDestroy": (_VOID,),
}


class Cuda:
    """CUDA's runtime on the first GPU. Pointers, streams and events are integers.

    Each call raises `CompileError` where CUDA tells of an error.
    """

    def __init__(self, library: Any) -> None:
        self._library = library
        for name, arguments in _SIGNATURES.items():
            function = getattr(library, name)
            function.argtypes, function.restype = arguments, _INT
        library.cudaGetErrorString.argtypes = (_INT,)
        library.cudaGetErrorString.restype = ctypes.c_char_p

    def _call(self, name: str, *arguments: Any) -> None:
        if status := getattr(self._library, name)(*arguments):
            said = self._library.cudaGetErrorString(status) or b"no reason"
            raise CompileError(f"CUDA failed: {name}: {said.decode(errors='replace')} ({status})")

    def _made(self, name: str, *arguments: Any) -> int:
        pointer = _VOID()
        self._call(name, ctypes.byref(pointer), *arguments)
        return int(pointer.value or 0)

    def has_gpu(self) -> bool:
        """Whether there is a GPU, and a driver for it."""
        count = _INT()
        status = self._library.cudaGetDeviceCount(ctypes.byref(count))
        return status not in _NO_DEVICE and count.value > 0

    def _attribute(self, which: int) -> int:
        value = _INT()
        self._call("cudaDeviceGetAttribute", ctypes.byref(value), which, 0)
        return value.value

    @property
    def name(self) -> str:
        """What the GPU is called."""
        properties = ctypes.create_string_buffer(_PROPERTIES_BYTES)
        self._call("cudaGetDeviceProperties", properties, 0)
        return properties.value.decode(errors="replace")

    @property
    def capability(self) -> str:
        """The GPU's compute capability, such as ``8.7``."""
        return f"{self._attribute(_MAJOR)}.{self._attribute(_MINOR)}"

    @property
    def is_integrated(self) -> bool:
        """Whether the GPU shares the machine's memory, as a Jetson's does."""
        return bool(self._attribute(_INTEGRATED))

    def free_bytes(self) -> int:
        """Return the memory that the GPU could still take."""
        free, whole = _SIZE(), _SIZE()
        self._call("cudaMemGetInfo", ctypes.byref(free), ctypes.byref(whole))
        return free.value

    def allocate(self, size: int) -> int:
        """Return memory of the GPU, of so many bytes."""
        return self._made("cudaMalloc", size)

    def allocate_host(self, size: int) -> int:
        """Return page-locked memory of the host, without which copies wait."""
        return self._made("cudaMallocHost", size)

    def free(self, device: int, host: int) -> None:
        """Give back memory of both kinds; at the end of a process an error says nothing any more."""
        self._library.cudaFree(device)
        self._library.cudaFreeHost(host)

    def copy(self, target: int, source: int, size: int, kind: int, stream: int) -> None:
        """Queue a copy of so many bytes, `TO_DEVICE` or `TO_HOST`."""
        self._call("cudaMemcpyAsync", target, source, size, kind, stream)

    def stream(self) -> int:
        """Return a new stream."""
        return self._made("cudaStreamCreate")

    def wait(self, stream: int) -> None:
        """Wait until all that is queued on a stream is done."""
        self._call("cudaStreamSynchronize", stream)

    def event(self, stream: int) -> int:
        """Queue a new event on a stream."""
        made = self._made("cudaEventCreate")
        self._call("cudaEventRecord", made, stream)
        return made

    def milliseconds(self, before: int, after: int) -> float:
        """Return the time between two events that have happened."""
        spent = ctypes.c_float()
        self._call("cudaEventElapsedTime", ctypes.byref(spent), before, after)
        return spent.value

    def drop(self, event: int) -> None:
        """Give back an event."""
        self._call("cudaEventDestroy", event)


@functools.cache
def load_cuda(where: str = "") -> Cuda:
    """Return CUDA's runtime, when there is a GPU to use it on.

    Args:
        where: what errors begin with.

    Raises:
        RuntimeMissingError: the library, a driver or a GPU is missing.
    """
    library = next(_libraries(), None)
    if library is None:
        raise RuntimeMissingError(
            f"{where}TensorRT needs CUDA's runtime, {NAMES[0]} or an older one; it comes with JetPack "
            "(sudo apt install nvidia-jetpack), and with pip install tensorrt"
        )
    cuda = Cuda(library)
    if not cuda.has_gpu():
        raise RuntimeMissingError(
            f"{where}no NVIDIA GPU is found here; nvidia-smi tells whether there is one"
        )
    return cuda


def _libraries() -> Iterator[Any]:
    """Yield the library from where the loader looks, where JetPack puts it, and where pip does."""
    folders = [Path(place) for place in PLACES]
    for entry in sys.path:
        nvidia = Path(entry) / "nvidia"
        folders += [nvidia / "cu13" / "lib", nvidia / "cuda_runtime" / "lib"]
    for path in (*NAMES, *(str(folder / name) for folder in folders for name in NAMES)):
        try:
            yield ctypes.CDLL(path)
        except OSError:
            continue
