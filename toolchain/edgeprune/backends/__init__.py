"""The runtimes: one module each, listed in one literal table.

This package travels to the device with the worker: at import it needs only the standard library, and each
module imports its vendor's SDK inside its own functions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

from edgeprune.errors import ConfigError, did_you_mean

if TYPE_CHECKING:
    import numpy as np

    from edgeprune.artifact import Artifact
    from edgeprune.device import DeviceProfile

BACKENDS: dict[str, str] = {
    "onnxruntime": "edgeprune.backends.onnxruntime",
    "openvino": "edgeprune.backends.openvino",
    "tensorrt": "edgeprune.backends.tensorrt",
    "litert": "edgeprune.backends.litert",
    "executorch": "edgeprune.backends.executorch",
}


class Session(Protocol):
    """A loaded engine.

    Attributes:
        actual: what the runtime really uses, as evidence: ``provider``, ``precision``, ``threads`` and more.
    """

    actual: dict[str, Any]

    def __call__(self, images: np.ndarray[Any, Any]) -> list[np.ndarray[Any, Any]]:
        """Run on float32 images of shape (1, 3, H, W) and return the outputs as arrays on the host."""
        ...


class Backend(Protocol):
    """What each module of this package offers.

    Attributes:
        PROVIDER: the provider or device that is asked for; `Session.actual` tells the one that came.
        SOURCE: what `compile` takes: an ``onnx`` file, or a ``program`` of torch.export.
    """

    PROVIDER: str
    SOURCE: str

    def version(self) -> str | None:
        """Return the version of the runtime installed here, or None."""
        ...

    def compile(self, model: Artifact, profile: DeviceProfile, precision: str, out: Path) -> Artifact:
        """Turn an ONNX artifact, or a program, into an engine inside the folder `out`."""
        ...

    def load(self, engine: Path, precision: str, threads: int, options: Mapping[str, str]) -> Session:
        """Load an engine for inference."""
        ...

    def quantized_ops(self, engine: Path) -> int | None:
        """Count the convolutions that run in integers in the optimised graph, None where nothing tells."""
        ...


def get_backend(name: str) -> Backend:
    """Return the backend module of that name.

    Raises:
        ConfigError: there is no such backend.
    """
    if name not in BACKENDS:
        raise ConfigError(f"unknown runtime {name!r}{did_you_mean(name, BACKENDS)}")
    return cast(Backend, import_module(BACKENDS[name]))


def options_for(profile: DeviceProfile, precision: str) -> dict[str, str]:
    """Return the profile's runtime options for a precision."""
    return {str(key): options for key, options in profile.options.items()}.get(precision, {})


def known_backends() -> Sequence[str]:
    """Return the names of all backends."""
    return tuple(BACKENDS)
