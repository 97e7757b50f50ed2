"""The seam of a runtime: what its module owes, what it may add, and which runtimes there are.

A runtime is one module with a line in `BACKENDS`, or a module of another package that names it as an entry
point of the group `edgeprune.backends`. Standard library only: this travels to the device with the workers.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields, replace
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from edgeprune.core.backend_types import (
    Converter,
    NodeCounter,
    Placement,
    Prover,
    Recognised,
    Session,
    Tool,
)
from edgeprune.core.errors import ConfigError, ModelError, did_you_mean

if TYPE_CHECKING:
    from edgeprune.core.artifact import Artifact

    LoadMany = Callable[[Path, str, int, Mapping[str, str], int], Sequence[Session]]

BACKENDS: dict[str, str] = {
    "onnxruntime": "edgeprune.backends.onnxruntime",
    "openvino": "edgeprune.backends.openvino",
    "tensorrt": "edgeprune.backends.tensorrt",
    "ncnn": "edgeprune.backends.ncnn",
    "litert": "edgeprune.backends.litert",
    "executorch": "edgeprune.backends.executorch",
    "qnn": "edgeprune.backends.qnn",
    "rknn": "edgeprune.backends.rknn",
}
"""The modules of the runtimes that come along, by name."""
GROUP = "edgeprune.backends"
REFERENCE = "onnxruntime"
"""What ONNX files are held against: baselines, speed-ups, and files that only a device compiles."""
QDQ = ("ort-u8s8", "ort-s8s8", "trt-s8s8")
"""Schemes whose quantizer writes an ONNX file with Q/DQ pairs."""


@dataclass(frozen=True)
class Backend:
    """A runtime, as its module tells it: each attribute is what the module has of that name, or the default.

    Attributes:
        name: what profiles call it; not of the module.
        version: the version that is installed here, or None.
        compile: turns an ONNX artifact, or a program, into the engine ``out/ENGINE``, from (model, precision,
            options, out). It raises `CompileError`, or `RuntimeMissingError` with the command that helps.
        load: an engine as a session, from (engine, precision, threads, options). It raises as `compile`.
        input_shape: the shape of an engine's input, (n, 3, H, W) as a session takes it, 0 for a side that is
            not fixed. It raises an `EdgepruneError` where nothing tells it, or the file is damaged.
        load_many: from the same and a count, an engine for so many queries at once, each with `threads`
            threads and a session of its own. What the runtime allows to be shared is shared; the sessions
            may be one object that takes them all.
        recognise: the engine at a path, None where it is none of this runtime. It raises an `EdgepruneError`
            where it is one, but cannot be told which or how it is loaded. By default a file with the ending
            of `ENGINE`.
        quantized_ops: the convolutions that run in integers in the optimised graph, None where nothing tells.
        providers: what there is here of what the option ``provider`` chooses from; None for no choice.
        count_nodes: an engine with the runtime's counters, from (engine, precision, threads, options, folder
            for its files). It is what `explain` reads layers by.
        quantize: writes the int8 twin of a float model, as `quantize/__init__.py` has it, in those of
            `SCHEMES` that are this runtime's own.
        write_format: a model in another of `FORMATS`, from (model, format, out).
        parts: the files that a user takes away with an engine, itself first.
        placement: which operators of an engine its accelerator took, None where nothing tells.
        require_options: checks a profile's options for a precision before anything is built, from (options,
            with the profile's ``provider`` among them if it names one, precision). It raises `ConfigError`.
        device_commands: shell commands that compile a file on the device and time it there, from (name of
            the file, options).
        builder: the version of a program that is here and makes engines where `MODULE` is missing, or None.
        advice: how a device gets the runtime, from what `read_environment` tells of it.
        caveat: what is known to go wrong, from (version of the runtime on the device, family of the network,
            precision); None for nothing. It is said before an engine is built.
        MODULE: what Python imports for it, whose version is the runtime's; empty for none.
        PIP: what pip installs on a device to have it. What is part of the device's own system is left out.
        PACKAGES: distributions whose versions belong into the keys of what this runtime makes or times.
        HOW_TO_GET: what to do where it is missing, as `doctor` says it.
        TAKES: what `recognise` accepts, in a few words for the user.
        ENGINE: name of the engine in the folder that `compile` is given.
        PROVIDERS_NOTE: which devices lack a provider, in a few words; empty for nothing to say.
        PROVIDER: what is asked for without the option ``provider``; `Session.actual` tells what came.
        SOURCE: what `compile` takes: an ``onnx`` file, or a ``program`` of torch.export.
        END2END: whether it has the operators of an end-to-end head; others get the one-to-many head and NMS.
        HALF_GRAPH: whether it takes an fp16 graph; others round the float graph themselves.
        GRAPH_IN_FILE: whether the engine's file holds the graph that runs on any machine. Others have an
            optimiser that makes it where the engine is loaded: what is counted there is true only of there.
        ONE_IMAGE: why it takes only one image at a time; empty for one that takes a fixed batch of several.
        SCHEMES: int8 schemes whose files it takes.
        PRECISIONS: what a profile's ``precisions`` may be; empty for all.
        FORMATS: what a profile's ``format`` may be; ``onnx`` is what `compile` makes.
        CONVERTER: of a program, in an environment of its own.
        PROBE: an engine that `doctor` runs where the converter may be missing, see
            `benchmarks/make_probes.py`: a name in `converters/scripts/`, or a path; empty to compile one.
        TOOL: the vendor's benchmark for `bench --against`.
        PROVER: name of a module that proves a file without the device, see `Prover`.
        EMULATOR: the vendor's emulator that stands in for the accelerator on this machine. It gives the
            engine's own outputs, and no times.
        WHEELS: what an emulated device gets: by architecture, pinned wheels with their sha256.
        TRAVELS: whether the module of another package goes to a device with the workers. It needs only the
            standard library, numpy and the runtime at import, as those that come along do.
    """

    name: str
    version: Callable[[], str | None]
    compile: Callable[[Artifact, str, Mapping[str, str], Path], Artifact]
    load: Callable[[Path, str, int, Mapping[str, str]], Session]
    input_shape: Callable[[Path], list[int]]
    load_many: LoadMany
    recognise: Callable[[Path], Recognised | None]
    quantized_ops: Callable[[Path], int | None] = lambda engine: None
    providers: Callable[[], tuple[str, ...]] | None = None
    count_nodes: Callable[[Path, str, int, Mapping[str, str], Path], NodeCounter] | None = None
    quantize: Callable[..., Artifact] | None = None
    write_format: Callable[[Artifact, str, Path], Artifact] | None = None
    parts: Callable[[Path], Sequence[Path]] = lambda engine: (engine,)
    placement: Callable[[Path], Placement | None] = lambda engine: None
    require_options: Callable[[Mapping[str, str], str], None] = lambda options, precision: None
    device_commands: Callable[[str, Mapping[str, str]], tuple[str, ...]] | None = None
    builder: Callable[[], str | None] = lambda: None
    advice: Callable[[Mapping[str, Any]], str] | None = None
    caveat: Callable[[str, str, str], str | None] = lambda version, family, precision: None
    MODULE: str = ""
    PIP: tuple[str, ...] = ()
    PACKAGES: tuple[str, ...] = ()
    HOW_TO_GET: str = ""
    TAKES: str = ""
    ENGINE: str = "engine"
    PROVIDERS_NOTE: str = ""
    PROVIDER: str = "CPU"
    SOURCE: str = "onnx"
    END2END: bool = False
    HALF_GRAPH: bool = False
    GRAPH_IN_FILE: bool = False
    ONE_IMAGE: str = ""
    SCHEMES: tuple[str, ...] = QDQ
    PRECISIONS: tuple[str, ...] = ()
    FORMATS: tuple[str, ...] = ("onnx",)
    CONVERTER: Converter | None = None
    PROBE: str = ""
    TOOL: Tool | None = None
    PROVER: str = ""
    EMULATOR: str = ""
    WHEELS: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    TRAVELS: bool = True

    @property
    def prover(self) -> Prover | None:
        """The module that proves a file of this runtime without the device, if there is one."""
        return cast(Prover, import_module(self.PROVER)) if self.PROVER else None


def get_backend(name: str) -> Backend:
    """Return the runtime of that name.

    Raises:
        ConfigError: there is none, or the package that brings it cannot be used.
    """
    if name in BACKENDS:
        return backend_of(name, import_module(BACKENDS[name]))
    point = plugins().get(name)
    if point is None:
        raise ConfigError(f"unknown runtime {name!r}{did_you_mean(name, known_backends())}")
    package = point.dist.name if point.dist else point.module
    try:
        module = point.load()
    except Exception as exc:  # it is another's code
        raise ConfigError(f"runtime {name!r} of the package {package}: it cannot be loaded: {exc}") from exc
    told = backend_of(name, module)
    get = told.HOW_TO_GET or f"pip install {package}"
    return replace(told, PACKAGES=(package, *told.PACKAGES), HOW_TO_GET=get)


def known_backends() -> tuple[str, ...]:
    """Return the names of all runtimes: those that come along, then those of other packages."""
    return (*BACKENDS, *plugins())


def all_backends() -> Iterator[Backend]:
    """Yield every runtime that can be used; what is wrong with the others `edgeprune doctor` tells."""
    for name in known_backends():
        with contextlib.suppress(ConfigError):
            yield get_backend(name)


@functools.cache
def plugins() -> dict[str, EntryPoint]:
    """Return the entry points of runtimes that other packages bring, by name."""
    return {point.name: point for point in entry_points(group=GROUP) if point.name not in BACKENDS}


def modules_of(names: Iterable[str]) -> dict[str, str]:
    """Return the runtimes of those names by what Python imports for each, without those that need nothing."""
    return {module: name for name in names if (module := get_backend(name).MODULE)}


def known_schemes() -> tuple[str, ...]:
    """Return the int8 schemes that any runtime takes, each once."""
    return tuple(dict.fromkeys(scheme for backend in all_backends() for scheme in backend.SCHEMES))


def vendor_tools() -> dict[str, tuple[str, Tool]]:
    """Return the vendors' benchmarks by name, each with the name of the runtime that it measures."""
    return {backend.TOOL.name: (backend.name, backend.TOOL) for backend in all_backends() if backend.TOOL}


def backend_of(name: str, module: Any) -> Backend:
    """Return the runtime that a module tells of.

    Raises:
        ConfigError: it lacks what each runtime owes.
    """
    ending = Path(getattr(module, "ENGINE", "")).suffix
    told: dict[str, Any] = {
        "name": name,
        "input_shape": lambda engine: _untold(name, engine),
        "load_many": lambda *how: [module.load(*how[:-1]) for _ in range(how[-1])],
        "recognise": lambda path: _by_ending(path, ending),
    }
    told |= {one.name: getattr(module, one.name) for one in fields(Backend)[1:] if hasattr(module, one.name)}
    owed = [one.name for one in fields(Backend) if one.default is one.default_factory is MISSING]
    if missing := [fact for fact in owed if fact not in told]:
        raise ConfigError(f"runtime {name!r}: its module has no {' and no '.join(missing)}")
    return Backend(**told)


def _untold(name: str, engine: Path) -> list[int]:
    raise ModelError(f"{engine}: {name} does not tell the shape of its input")


def _by_ending(path: Path, ending: str) -> Recognised | None:
    return Recognised(path, None) if ending and path.suffix == ending and path.is_file() else None
