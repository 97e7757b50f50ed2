"""The runtimes: one module each, listed in one literal table.

This package travels to the device with the worker: at import it needs only the standard library, and each
module imports its vendor's SDK inside its own functions.
"""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast, runtime_checkable

from edgeprune.core.errors import ConfigError, RuntimeMissingError, did_you_mean

if TYPE_CHECKING:
    import numpy as np

    from edgeprune.config.targets import DeviceProfile
    from edgeprune.core.artifact import Artifact

BACKENDS: dict[str, str] = {
    "onnxruntime": "edgeprune.backends.onnxruntime",
    "openvino": "edgeprune.backends.openvino",
    "tensorrt": "edgeprune.backends.tensorrt",
    "ncnn": "edgeprune.backends.ncnn",
    "litert": "edgeprune.backends.litert",
    "executorch": "edgeprune.backends.executorch",
}


WITH_PROVIDERS = ("onnxruntime", "openvino")
"""Runtimes whose option ``provider`` says what executes; their modules list what there is in `providers`."""


class Session(Protocol):
    """A loaded engine.

    Attributes:
        actual: what the runtime really uses, as evidence: ``provider``, ``precision``, ``threads`` and more.
        compile_ms: the part of loading that was compiling; None where the runtime does not tell it apart.
    """

    actual: dict[str, Any]
    compile_ms: float | None

    def __call__(self, images: np.ndarray[Any, Any]) -> list[np.ndarray[Any, Any]]:
        """Run on float32 images of shape (1, 3, H, W) and return the outputs as arrays on the host."""
        ...


@runtime_checkable
class Staged(Protocol):
    """A session on a device with memory of its own, which tells the copies apart from the network."""

    def stages_ms(self, images: np.ndarray[Any, Any]) -> dict[str, float]:
        """Run once as a call does; return ``h2d``, ``compute`` and ``d2h`` in ms by the device's clock."""
        ...


@dataclass(frozen=True)
class Recognised:
    """An engine that a runtime knows as its own, by what lies there and not by where it comes from.

    Attributes:
        engine: what `load` takes: a file, or the folder around it.
        precision: what it runs in, which is not always how its weights are stored. None where only the
            runtime reads such a file: it is asked in a process of its own, see `bench/answers.py`.
    """

    engine: Path
    precision: str | None


class Backend(Protocol):
    """What each module of this package offers.

    Attributes:
        TAKES: what `recognise` accepts, in a few words for the user.
        PROVIDER: the provider or device that is asked for; `Session.actual` tells the one that came.
        SOURCE: what `compile` takes: an ``onnx`` file, or a ``program`` of torch.export.
        END2END: whether it has the operators of an end-to-end head; others get the one-to-many head and NMS.
        HALF_GRAPH: whether it takes an fp16 graph; others round the float graph themselves.
        GRAPH_IN_FILE: whether the engine's file holds the graph that runs on any machine. Others have an
            optimiser that makes it where the engine is loaded: what is counted there is true only of there.
    """

    TAKES: str
    PROVIDER: str
    SOURCE: str
    END2END: bool
    HALF_GRAPH: bool
    GRAPH_IN_FILE: bool

    def version(self) -> str | None:
        """Return the version of the runtime installed here, or None."""
        ...

    def compile(self, model: Artifact, profile: DeviceProfile, precision: str, out: Path) -> Artifact:
        """Turn an ONNX artifact, or a program, into an engine inside the folder `out`."""
        ...

    def load(self, engine: Path, precision: str, threads: int, options: Mapping[str, str]) -> Session:
        """Load an engine for inference."""
        ...

    def load_many(
        self, engine: Path, precision: str, threads: int, options: Mapping[str, str], count: int
    ) -> Sequence[Session]:
        """Load an engine for `count` queries at once, each with `threads` threads and a session of its own.

        What the runtime allows to be shared is shared; the sessions may be one object that takes them all.
        """
        ...

    def recognise(self, path: Path) -> Recognised | None:
        """Return the engine at a path, None where it is none of this runtime.

        Raises:
            EdgepruneError: it is one of this runtime's, but it cannot be told which or how it is loaded.
        """
        ...

    def input_shape(self, engine: Path) -> list[int]:
        """Return the shape of the input, (1, 3, H, W) as a session takes it; 0 for a side that is not fixed.

        Raises:
            EdgepruneError: nothing tells it, or the file is damaged.
        """
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


def recognise(path: Path) -> tuple[str, Recognised] | None:
    """Return the runtime whose engine lies at a path, and that engine; None where no runtime knows it.

    Raises:
        EdgepruneError: see `Backend.recognise`.
    """
    for name in BACKENDS:
        if found := get_backend(name).recognise(path):
            return name, found
    return None


def options_for(profile: DeviceProfile, precision: str) -> dict[str, str]:
    """Return the profile's runtime options for a precision, its ``provider`` among them if it names one."""
    options = {str(key): options for key, options in profile.options.items()}.get(precision, {})
    return options if profile.provider is None else {"provider": profile.provider} | options


def providers(name: str) -> tuple[str, ...]:
    """Return the providers of ONNX Runtime or the devices of OpenVINO here; other runtimes have no choice."""
    if name not in WITH_PROVIDERS:
        return ()
    found: tuple[str, ...] = import_module(BACKENDS[name]).providers()
    return found


def absence(profile: DeviceProfile) -> str | None:
    """Return why engines of this profile are not run on this machine, None where nothing speaks against it.

    Whether the runtime itself works is what `edgeprune doctor` proves.
    """
    if profile.time_on == "device":
        return "run on the device itself"
    if platform.machine() not in profile.arch:
        return f"needs {' or '.join(profile.arch)}"
    if profile.provider is None:
        return None
    try:
        present = providers(profile.backend)
    except RuntimeMissingError as exc:
        return str(exc)
    if any(profile.provider in (found, found.partition(".")[0]) for found in present):
        return None
    return f"{profile.backend} finds no {profile.provider} here, only {', '.join(present)}"


def known_backends() -> Sequence[str]:
    """Return the names of all backends."""
    return tuple(BACKENDS)
