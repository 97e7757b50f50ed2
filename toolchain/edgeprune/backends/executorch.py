"""ExecuTorch on the CPU by XNNPACK: the engine is a folder with `model.pte` and the facts of its conversion.

The converter runs in an isolated environment. The runtime is the Python binding of the package `executorch`
in this one: it takes and gives torch tensors, so torch is loaded with it, as in no other backend.
"""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeprune.backends.exported import exported_facts
from edgeprune.core.artifact import Artifact, lone
from edgeprune.core.backend_types import Converter, Recognised
from edgeprune.core.documents import read_json
from edgeprune.core.errors import CompileError, ModelError, RuntimeMissingError, shorten
from edgeprune.core.files import ENGINE_BYTES, read_bytes
from edgeprune.core.packages import UNKNOWN, module_version

if TYPE_CHECKING:
    import numpy as np

MODULE = "executorch"
PIP = ("executorch",)
PACKAGES = ("executorch",)
HOW_TO_GET = "pip install executorch; for its converter: edgeprune runtimes install executorch"
CONVERTER = Converter(
    ("executorch==1.5.1", "torchao==0.18.0", "torch==2.13.0"),
    "PyTorch to .pte for XNNPACK, float and int8",
    "executorch_convert.py",
)
PROBE = "probe-executorch"
SCHEMES = ("executorch-s8",)
PROVIDER = "XNNPACK"
SOURCE = "program"
END2END = False  # the operators that choose the best boxes have no kernels in XNNPACK
HALF_GRAPH = False
GRAPH_IN_FILE = True
ENGINE = "engine"
TAKES = "a .pte file"
PROGRAM, FACTS = "model.pte", "conversion.json"


class ExecuTorchSession:
    """A loaded `.pte` program.

    Attributes:
        actual: ``provider`` (XNNPACK, or CPU where nothing is delegated), ``precision`` of the input,
            ``threads``, ``streams``, ``version``, ``delegated`` (share of operators that XNNPACK runs, None
            where its converter left no facts) and ``left`` (how many of each kind it does not).
    """

    compile_ms: float | None = None

    def __init__(
        self, program: Any, method: Any, facts: Mapping[str, Any], threads: int, version: str
    ) -> None:
        import torch

        self._tensor = torch.from_numpy
        self._program = program  # it owns the memory that the method runs in
        self._method = method
        self.actual: dict[str, Any] = {
            "provider": facts["provider"],
            "precision": "fp32",
            "threads": threads,
            "streams": 1,
            "version": version,
            "delegated": facts["delegated"],
            "left": facts["left"],
        }

    def __call__(self, images: np.ndarray[Any, Any]) -> list[np.ndarray[Any, Any]]:
        """Run on float32 images of shape (n, 3, H, W) and return new arrays, one an output."""
        return [output.numpy() for output in self._method.execute([self._tensor(images)])]


def version() -> str | None:
    """Return the version of the ExecuTorch that is installed here, or None."""
    try:
        _import()
    except RuntimeMissingError:
        return None
    return module_version("executorch", "executorch") or UNKNOWN


def compile(model: Artifact, precision: str, options: Mapping[str, str], out: Path) -> Artifact:
    """Convert an exported program, or take over the folder of a quantizer, and prove that it loads.

    Returns:
        The folder ``out/engine``.

    Raises:
        CompileError: the converter failed (its log is named), or the runtime cannot load the program, as
            where it lacks an operator that XNNPACK did not take.
        RuntimeMissingError: the converter's environment or executorch is not installed.
    """
    from edgeprune.converters.environments import convert_program

    _import()  # before the time that a conversion takes
    out.mkdir(parents=True, exist_ok=True)
    engine = out / ENGINE
    if model.kind == "program":
        convert_program("executorch", model, engine)
    else:
        shutil.copytree(model.path, engine)
    load(engine, precision, 1, options)
    return Artifact.of(engine, "engine", precision, parent=model.sha256)


def load(engine: Path, precision: str, threads: int, options: Mapping[str, str]) -> ExecuTorchSession:
    """Load a program for inference on the CPU.

    Args:
        precision: what the row is called; the program itself holds its precision.
        threads: of the pool that all programs of this process share.
        options: none is known.

    Raises:
        CompileError: the runtime cannot load the program, or an option is given.
        RuntimeMissingError: executorch is not installed.
    """
    if options:
        raise CompileError(f"{engine}: ExecuTorch takes no options, {', '.join(options)} is given")
    library = _import()
    library._unsafe_reset_threadpool(threads)
    try:
        facts = _facts(engine)
        program = _runtime().load_program(program_of(engine))
        method = program.load_method("forward")
    except (RuntimeError, OSError, ValueError) as exc:
        raise CompileError(f"{engine}: ExecuTorch cannot load this program: {shorten(exc)}") from exc
    used = int(library._threadpool_get_thread_count())
    return ExecuTorchSession(program, method, facts, used, str(version()))


def load_many(
    engine: Path, precision: str, threads: int, options: Mapping[str, str], count: int
) -> Sequence[ExecuTorchSession]:
    """Load the program so many times; all of them share the process's one pool of threads.

    Arguments and errors are those of `load`.
    """
    return [load(engine, precision, threads, options) for _ in range(count)]


def recognise(path: Path) -> Recognised | None:
    """Return the program at a path: a ``.pte`` file, or a folder with one such file under any name.

    What Ultralytics writes has no facts of its conversion; it is never quantized, so it counts as fp32.

    Raises:
        ModelError: the folder holds several.
    """
    if path.is_dir():
        found = sorted(file.name for file in path.glob("*.pte") if file.is_file())
        if len(found) > 1 and PROGRAM not in found:
            raise ModelError(
                f"{path}: it holds {len(found)} programs; name the one to run: {', '.join(found)}"
            )
        return Recognised(path, _precision(path)) if found else None
    if path.suffix != ".pte" or not path.is_file():
        return None
    engine = path.parent if path.name == PROGRAM and (path.parent / FACTS).is_file() else path
    return Recognised(engine, _precision(engine))


def _precision(engine: Path) -> str:
    return "int8" if (engine / FACTS).is_file() and quantized_ops(engine) else "fp32"


def program_of(engine: Path) -> Path:
    """Return the ``.pte`` of an engine: the file itself, or the one in its folder."""
    return (lone(engine, PROGRAM) or engine / PROGRAM) if engine.is_dir() else engine


def quantized_ops(engine: Path) -> int | None:
    """Return how many convolutions XNNPACK took with quantized input, as counted when it was converted.

    None where another tool converted it, which leaves no facts.
    """
    return int(_facts(engine)["integer_convolutions"]) if (engine / FACTS).is_file() else None


def input_shape(engine: Path) -> list[int]:
    """Return the shape of the one input, (n, 3, H, W), as the converter noted it.

    Raises:
        ModelError: nothing beside the program tells it.
    """
    if (engine / FACTS).is_file():
        return [int(side) for side in _facts(engine)["input"]]
    facts = exported_facts(program_of(engine).parent)
    return [facts.batch, facts.channels, *facts.imgsz]


def _facts(engine: Path) -> dict[str, Any]:
    """Read the facts of the conversion; where there are none, only whether the program names XNNPACK."""
    if not (engine / FACTS).is_file():
        taken = b"XnnpackBackend" in read_bytes(program_of(engine), CompileError, ENGINE_BYTES)
        return {"delegated": None, "operators": None, "left": {}, "provider": PROVIDER if taken else "CPU"}
    try:
        facts = read_json(engine / FACTS, CompileError)
        share = int(facts["delegated"]) / max(int(facts["operators"]), 1)
        [*map(int, facts["input"]), int(facts["integer_convolutions"])]
        return {
            **facts,
            "delegated": share,
            "left": dict(facts["left"]),
            "provider": PROVIDER if share else "CPU",
        }
    except (ValueError, KeyError, TypeError) as exc:
        raise CompileError(f"{engine / FACTS}: not the facts of a conversion: {exc}") from exc


def _import() -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it calls its whole interface experimental
            from executorch.extension.pybindings import portable_lib
    except ImportError as exc:
        raise RuntimeMissingError("executorch is not installed here: pip install executorch") from exc
    return portable_lib


def _runtime() -> Any:
    from executorch.runtime import Runtime

    return Runtime.get()
