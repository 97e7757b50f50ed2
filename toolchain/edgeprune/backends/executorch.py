"""ExecuTorch on the CPU by XNNPACK: the engine is a folder with `model.pte` and the facts of its conversion.

The converter runs in an isolated environment. The runtime is the Python binding of the package `executorch`
in this one: it takes and gives torch tensors, so torch is loaded with it, as in no other backend.
"""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeprune.artifact import Artifact
from edgeprune.backends import options_for
from edgeprune.errors import CompileError, RuntimeMissingError
from edgeprune.packages import UNKNOWN, module_version

if TYPE_CHECKING:
    import numpy as np

    from edgeprune.device import DeviceProfile

PROVIDER = "XNNPACK"
SOURCE = "program"
END2END = False  # the operators that choose the best boxes have no kernels in XNNPACK
HALF_GRAPH = False
ENGINE = "engine"
PROGRAM, FACTS = "model.pte", "conversion.json"


class ExecuTorchSession:
    """A loaded `.pte` program.

    Attributes:
        actual: ``provider`` (XNNPACK, or CPU where nothing is delegated), ``precision`` of the input,
            ``threads``, ``streams``, ``version``, ``delegated`` (share of operators that XNNPACK runs) and
            ``left`` (how many of each kind it does not).
    """

    compile_ms: float | None = None

    def __init__(
        self, program: Any, method: Any, facts: Mapping[str, Any], threads: int, version: str
    ) -> None:
        import torch

        self._tensor = torch.from_numpy
        self._program = program  # it owns the memory that the method runs in
        self._method = method
        share = facts["delegated"] / max(facts["operators"], 1)
        self.actual: dict[str, Any] = {
            "provider": PROVIDER if share else "CPU",
            "precision": "fp32",
            "threads": threads,
            "streams": 1,
            "version": version,
            "delegated": share,
            "left": facts["left"],
        }

    def __call__(self, images: np.ndarray[Any, Any]) -> list[np.ndarray[Any, Any]]:
        """Run on float32 images of shape (1, 3, H, W) and return new arrays, one an output."""
        return [output.numpy() for output in self._method.execute([self._tensor(images)])]


def version() -> str | None:
    """Return the version of the ExecuTorch that is installed here, or None."""
    try:
        _import()
    except RuntimeMissingError:
        return None
    return module_version("executorch", "executorch") or UNKNOWN


def compile(model: Artifact, profile: DeviceProfile, precision: str, out: Path) -> Artifact:
    """Convert an exported program, or take over the folder of a quantiser, and prove that it loads.

    Returns:
        The folder ``out/engine``.

    Raises:
        CompileError: the converter failed (its log is named), or the runtime cannot load the program, as
            where it lacks an operator that XNNPACK did not take.
        RuntimeMissingError: the converter's environment or executorch is not installed.
    """
    from edgeprune.isolated import convert_program

    _import()  # before the time that a conversion takes
    out.mkdir(parents=True, exist_ok=True)
    engine = out / ENGINE
    if model.kind == "program":
        convert_program("executorch", model, engine)
    else:
        shutil.copytree(model.path, engine)
    load(engine, precision, 1, options_for(profile, precision))
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
        facts = json.loads((engine / FACTS).read_text(encoding="utf-8"))
        program = _runtime().load_program(engine / PROGRAM)
        method = program.load_method("forward")
    except (RuntimeError, OSError, ValueError, KeyError) as exc:
        reason = " ".join(str(exc).split())[:300]
        raise CompileError(f"{engine}: ExecuTorch cannot load this program: {reason}") from exc
    used = int(library._threadpool_get_thread_count())
    return ExecuTorchSession(program, method, facts, used, str(version()))


def load_many(
    engine: Path, precision: str, threads: int, options: Mapping[str, str], count: int
) -> Sequence[ExecuTorchSession]:
    """Load the program so many times; all of them share the process's one pool of threads.

    Arguments and errors are those of `load`.
    """
    return [load(engine, precision, threads, options) for _ in range(count)]


def quantized_ops(engine: Path) -> int | None:
    """Return how many convolutions XNNPACK took with quantised input, as counted when it was converted."""
    facts = json.loads((engine / FACTS).read_text(encoding="utf-8"))
    return int(facts["integer_convolutions"])


def input_shape(engine: Path) -> list[int]:
    """Return the shape of the one input, (1, 3, H, W), as the converter noted it."""
    facts = json.loads((engine / FACTS).read_text(encoding="utf-8"))
    return [int(side) for side in facts["input"]]


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
