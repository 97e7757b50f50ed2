"""LiteRT on the CPU by XNNPACK: the engine is one portable `.tflite` file, for this machine as for a phone.

litert-torch converts it from the exported program, in an isolated environment. Inside, the network runs in
NHWC; its input keeps the layout of PyTorch, (n, 3, H, W), and is transposed by the first operator. A file of
another converter may take (1, H, W, 3): it is loaded as well, and transposed here on the host.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeprune.core.artifact import Artifact
from edgeprune.core.backend_types import Converter, Recognised
from edgeprune.core.errors import CompileError, RuntimeMissingError, shorten
from edgeprune.core.packages import UNKNOWN, module_version

if TYPE_CHECKING:
    import numpy as np

    Operators = Sequence[Mapping[str, Any]]

MODULE = "ai_edge_litert"
PIP = ("ai-edge-litert",)
PACKAGES = ("ai-edge-litert",)
HOW_TO_GET = "pip install ai-edge-litert; for its converter: edgeprune runtimes install litert"
CONVERTER = Converter(
    ("litert-torch==0.10.0", "ai-edge-quantizer==0.10.0", "ai-edge-litert==2.3.0", "torch==2.13.0"),
    "PyTorch to .tflite, float and int8",
    "litert_convert.py",
)
PROBE = "probe.tflite"
SCHEMES = ("litert-s8",)
PROVIDER = "XNNPACK"
SOURCE = "program"
END2END = False  # the operators that choose the best boxes have no kernels in XNNPACK
HALF_GRAPH = False
GRAPH_IN_FILE = True
ENGINE = "model.tflite"
TAKES = "a .tflite file"
_DELEGATE = "DELEGATE"
_CONVOLUTIONS = ("CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV")


class LiteRtSession:
    """A loaded `.tflite` file.

    Attributes:
        actual: ``provider`` (XNNPACK, or CPU where it took nothing), ``precision`` of the input, ``threads``,
            ``streams``, ``version``, ``delegated`` (share of operators that XNNPACK runs) and ``left`` (how
            many of each kind it does not).
    """

    compile_ms: float | None = None

    def __init__(self, interpreter: Any, threads: int, version: str) -> None:
        self._interpreter = interpreter
        (taken,) = interpreter.get_input_details()
        self._input: int = taken["index"]
        self._channels_last = _is_channels_last(taken)
        self._outputs = [found["index"] for found in interpreter.get_output_details()]
        share, left = count_delegated(interpreter._get_ops_details())
        self.actual: dict[str, Any] = {
            "provider": PROVIDER if share else "CPU",
            "precision": {"float32": "fp32"}.get(taken["dtype"].__name__, taken["dtype"].__name__),
            "threads": threads,
            "streams": 1,
            "version": version,
            "delegated": share,
            "left": left,
        }

    def __call__(self, images: np.ndarray[Any, Any]) -> list[np.ndarray[Any, Any]]:
        """Run on float32 images of shape (n, 3, H, W) and return new arrays, one an output."""
        if self._channels_last:
            images = images.transpose(0, 2, 3, 1)
        self._interpreter.set_tensor(self._input, images)
        self._interpreter.invoke()
        return [self._interpreter.get_tensor(index) for index in self._outputs]  # copies


def version() -> str | None:
    """Return the version of the LiteRT runtime that is installed here, or None."""
    try:
        import ai_edge_litert.interpreter  # noqa: F401
    except ImportError:
        return None
    return module_version("ai_edge_litert", "ai-edge-litert") or UNKNOWN


def compile(model: Artifact, precision: str, options: Mapping[str, str], out: Path) -> Artifact:
    """Convert an exported program, or take over the `.tflite` file of a quantizer, and prove that it loads.

    Raises:
        CompileError: the converter failed (its log is named), or the runtime cannot load the file.
        RuntimeMissingError: the converter's environment or ai-edge-litert is not installed.
    """
    from edgeprune.converters.environments import convert_program

    _import()  # before the minute that a conversion takes
    out.mkdir(parents=True, exist_ok=True)
    engine = out / ENGINE
    if model.kind == "program":
        convert_program("litert", model, engine)
    else:
        shutil.copyfile(model.path, engine)
    load(engine, precision, 1, options)
    return Artifact.of(engine, "engine", precision, parent=model.sha256)


def load(engine: Path, precision: str, threads: int, options: Mapping[str, str]) -> LiteRtSession:
    """Load a `.tflite` file for inference on the CPU.

    Args:
        precision: what the row is called; the file itself holds its precision.
        options: none is known.

    Raises:
        CompileError: the runtime cannot load the file, or an option is given.
        RuntimeMissingError: ai-edge-litert is not installed.
    """
    if options:
        raise CompileError(f"{engine}: LiteRT takes no options, {', '.join(options)} is given")
    interpreter = _interpreter(engine, threads)
    kind = interpreter.get_input_details()[0]["dtype"].__name__
    if kind != "float32":
        raise CompileError(f"{engine}: it takes {kind} images; export it with float32 input and output")
    return LiteRtSession(interpreter, threads, str(version()))


def load_many(
    engine: Path, precision: str, threads: int, options: Mapping[str, str], count: int
) -> Sequence[LiteRtSession]:
    """Load so many interpreters, since each has only one set of tensors.

    Arguments and errors are those of `load`.
    """
    return [load(engine, precision, threads, options) for _ in range(count)]


def quantized_ops(engine: Path) -> int | None:
    """Count the convolutions whose input and output are S8: those that run in integers."""
    interpreter = _interpreter(engine, 1)
    types = {found["index"]: found["dtype"].__name__ for found in interpreter.get_tensor_details()}
    counted = (
        operator["op_name"] in _CONVOLUTIONS
        and types.get(int(operator["inputs"][0])) == types.get(int(operator["outputs"][0])) == "int8"
        for operator in interpreter._get_ops_details()
    )
    return sum(bool(integer) for integer in counted)


def recognise(path: Path) -> Recognised | None:
    """Return a `.tflite` file; what it runs in only the runtime tells."""
    return Recognised(path, None) if path.suffix == ".tflite" and path.is_file() else None


def input_shape(engine: Path) -> list[int]:
    """Return the shape of the one input, as a session takes it: (n, 3, H, W).

    Raises:
        CompileError: the runtime cannot load the file.
        RuntimeMissingError: ai-edge-litert is not installed.
    """
    (taken,) = _interpreter(engine, 1).get_input_details()
    batch, *rest = (int(side) for side in taken["shape"])
    return [batch, rest[-1], *rest[:-1]] if _is_channels_last(taken) else [batch, *rest]


def count_delegated(operators: Operators) -> tuple[float, dict[str, int]]:
    """Return the share of operators that a delegate took, in [0, 1], and how many of each kind it left.

    The runtime lists the network's operators and, behind them, a DELEGATE with the tensors at the border of
    each part that was taken: what lies between its outputs and its inputs is in it.

    Args:
        operators: ``op_name``, ``inputs`` and ``outputs`` (indices of tensors) of each.
    """
    own = [operator for operator in operators if operator["op_name"] != _DELEGATE]
    producer = {int(tensor): index for index, found in enumerate(own) for tensor in found["outputs"]}
    taken: set[int] = set()
    for part in (operator for operator in operators if operator["op_name"] == _DELEGATE):
        border = {int(tensor) for tensor in part["inputs"]}
        open_ends = [int(tensor) for tensor in part["outputs"]]
        while open_ends:
            tensor = open_ends.pop()
            index = producer.get(tensor)
            if index is not None and tensor not in border and index not in taken:
                taken.add(index)
                open_ends += [int(found) for found in own[index]["inputs"]]
    left = Counter(found["op_name"] for index, found in enumerate(own) if index not in taken)
    return (len(taken) / len(own) if own else 0.0), dict(left)


def _is_channels_last(taken: Mapping[str, Any]) -> bool:
    return int(taken["shape"][-1]) == 3 and int(taken["shape"][1]) != 3


def _import() -> Any:
    try:
        from ai_edge_litert import interpreter
    except ImportError as exc:
        raise RuntimeMissingError("ai-edge-litert is not installed here: pip install ai-edge-litert") from exc
    return interpreter


def _interpreter(engine: Path, threads: int) -> Any:
    module = _import()
    try:
        interpreter = module.Interpreter(model_path=str(engine), num_threads=threads)
        interpreter.allocate_tensors()
        inputs = [found["shape"].tolist() for found in interpreter.get_input_details()]
    except (RuntimeError, ValueError) as exc:
        raise CompileError(f"{engine}: LiteRT cannot load this file: {shorten(exc)}") from exc
    if len(inputs) != 1 or len(inputs[0]) != 4:
        raise CompileError(f"{engine}: one input of images is needed, this file takes {inputs}")
    return interpreter
