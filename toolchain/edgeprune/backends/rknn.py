"""Rockchip's NPU by RKNN: the engine is a folder with `model.rknn` for one chip and the tail of the graph.

The NPU computes the body of the network in int8, the CPU its float end, the decode of a detector: see
`head_cut`. The converter lives in an environment of its own that the user asks for, under Rockchip's own
licence. Its simulator runs the same quantized network on x86-64: it gives outputs, and no times.

On a board the engine runs by rknn-toolkit-lite2. That part is written from Rockchip's documentation ("RKNN
Toolkit Lite2 API reference") and was never run: the project has no such board.
"""

from __future__ import annotations

import io
import shutil
import subprocess
import weakref
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from edgeprune.backends.chips import require_chip
from edgeprune.core.artifact import Artifact
from edgeprune.core.backend_types import Converter, Placement, Recognised
from edgeprune.core.documents import read_json
from edgeprune.core.errors import CompileError, RuntimeMissingError
from edgeprune.core.packages import UNKNOWN, module_version

if TYPE_CHECKING:
    import numpy as np

    Run = Callable[[np.ndarray[Any, Any]], Sequence[np.ndarray[Any, Any]]]

MODULE = "rknnlite"
PIP = ("onnxruntime", "rknn-toolkit-lite2")
PACKAGES = ("onnxruntime",)  # the tail's; the pins of the converter stand in the key
HOW_TO_GET = "edgeprune runtimes install rknn; it is Rockchip's, under its own licence"
CONVERTER = Converter(
    (
        "rknn-toolkit2==2.5.0",
        "torch==2.13.0",
        "numpy==1.26.4",
        "onnx==1.18.0",
        "onnxruntime==1.23.2",
        "protobuf==4.25.4",
        "opencv-python-headless==4.11.0.86",
        "fast-histogram==0.14",
        "psutil==7.2.2",
        "ruamel.yaml==0.19.1",
        "scipy==1.17.1",
        "setuptools==80.9.0",  # newer ones have no pkg_resources, which the converter imports
        "tqdm==4.70.1",
    ),
    "ONNX to .rknn for Rockchip's NPU, and its simulator",
    "rknn_convert.py",
    ("rknn-toolkit2==2.5.0",),  # it asks for an opencv with windows, and for a torch of 2024
    ("prove",),
)
PROBE = "probe-rknn"
PROVIDER = "RKNPU"
SOURCE = "onnx"
SCHEMES = ("rknn-s8",)
PRECISIONS = ("int8",)
END2END = True  # in the part that runs on the CPU
HALF_GRAPH = False
GRAPH_IN_FILE = True
ENGINE = "engine"
TAKES = "a folder with model.rknn"
ONE_IMAGE = "its input is the pixels of one image"
EMULATOR = "Rockchip's simulator"
CHIPS = ("rk3562", "rk3566", "rk3568", "rk3576", "rk3588")
_TOLD = ("chip", "image", "input", "mean", "std", "border", "outputs", "tail", "taken", "operators", "left")
"""What `facts.json` of an engine says."""
MODEL, TAIL, FACTS = "model.rknn", "tail.onnx", "facts.json"


class RknnSession:
    """A loaded engine.

    Attributes:
        actual: ``provider``, ``precision`` of the input, ``threads``, ``streams``, ``version``, ``chip`` that
            the engine is for, ``delegated`` (share of the operators that the NPU runs) and ``left`` (how many
            of each kind it does not).
    """

    compile_ms: float | None = None

    def __init__(self, engine: Path, run: Run, threads: int, version: str) -> None:
        import numpy as np

        facts = _facts(engine)
        self._run = run
        self._mean, self._std = (np.array(facts[key], np.float32).reshape(3, 1, 1) for key in ("mean", "std"))
        self._image, self._border, self._outputs = (facts[key] for key in ("image", "border", "outputs"))
        self._tail = _open_tail(engine / TAIL, threads)
        placed = _placed(facts)
        self.actual: dict[str, Any] = {
            "provider": PROVIDER,
            "precision": "fp32",
            "threads": threads,
            "streams": 1,
            "version": version,
            "chip": facts["chip"],
            "delegated": placed.taken / max(placed.operators, 1),
            "left": dict(placed.left),
        }

    def __call__(self, images: np.ndarray[Any, Any]) -> list[np.ndarray[Any, Any]]:
        """Run on a float32 image of shape (1, 3, H, W) and return new arrays, one an output."""
        import numpy as np

        pixels = np.clip(np.rint(images * self._std + self._mean), 0, 255).astype(np.uint8)
        answered = self._run(np.ascontiguousarray(pixels.transpose(0, 2, 3, 1)))
        values = {self._image: images, **dict(zip(self._border, answered, strict=True))}
        if self._tail:
            given = {value.name: values[value.name] for value in self._tail.get_inputs()}
            names = [value.name for value in self._tail.get_outputs()]
            values |= dict(zip(names, self._tail.run(names, given), strict=True))
        return [values[name] for name in self._outputs]


def version() -> str | None:
    """Return the version of the runtime on a board, else of the converter; None without both."""
    if _lite():
        return module_version("rknnlite", "rknn-toolkit-lite2") or UNKNOWN
    try:
        from edgeprune.converters.environments import is_installed
    except ImportError:  # a device, which the converters do not travel to
        return None
    return CONVERTER.pins[0].partition("==")[2] if is_installed("rknn") else None


def require_options(options: Mapping[str, str], precision: str = "int8") -> None:
    """Check the options of a profile: ``chip`` names it, and there is no other.

    Args:
        precision: of no effect.

    Raises:
        ConfigError: an unknown chip or option, or no chip.
    """
    require_chip(options, "chip", CHIPS, "rknn")


def compile(model: Artifact, precision: str, options: Mapping[str, str], out: Path) -> Artifact:
    """Quantize and compile what `quantize/rknn_hybrid.py` wrote for one chip, and prove that it runs.

    Returns:
        The folder ``out/engine``.

    Raises:
        CompileError: the converter failed; the message names its log.
        ConfigError: see `require_options`.
        RuntimeMissingError: its environment is not installed.
    """
    from edgeprune.converters.environments import run_converter

    chip = require_chip(options, "chip", CHIPS, "rknn")
    if not (model.path / "body.onnx").is_file():
        raise CompileError(f"{model.path}: RKNN compiles int8 networks only; take precision int8")
    engine = out / ENGINE
    engine.mkdir(parents=True, exist_ok=True)
    args = ["build", str(engine), "--source", str(model.path), "--chip", chip]
    run_converter("rknn", CONVERTER.script, args, out.parent / "rknn-convert.log")
    if (model.path / TAIL).is_file():
        shutil.copyfile(model.path / TAIL, engine / TAIL)
    load(engine, precision, 1, options)
    return Artifact.of(engine, "engine", precision, parent=model.sha256)


def load(engine: Path, precision: str, threads: int, options: Mapping[str, str]) -> RknnSession:
    """Load an engine: on its board, or in the simulator on x86-64.

    Args:
        precision: what the row is called; the engine itself holds its precision.
        threads: of the operators that stay on the CPU.
        options: ``chip`` that the engine has to be for; the engine's own by default.

    Raises:
        CompileError: it is for another chip, or cannot be loaded.
        ConfigError: see `require_options`.
        RuntimeMissingError: neither the board's runtime nor the converter's environment is there.
    """
    built = str(_facts(engine)["chip"])
    asked = require_chip(options, "chip", CHIPS, "rknn") if options else built
    if built != asked:
        raise CompileError(f"{engine}: it is for {built}, not for {asked}; build it for this target")
    run = _on_board(engine) if _lite() else _Simulator(engine)
    return RknnSession(engine, run, threads, str(version()))


def recognise(path: Path) -> Recognised | None:
    """Return the folder of an engine."""
    return Recognised(path, "int8") if all((path / name).is_file() for name in (MODEL, FACTS)) else None


def input_shape(engine: Path) -> list[int]:
    """Return the shape of the input as a session takes it, (1, 3, H, W).

    Raises:
        CompileError: the engine's facts are damaged.
    """
    return [int(side) for side in _facts(engine)["input"]]


def placement(engine: Path) -> Placement:
    """Return which operators the NPU took when the engine was compiled; the tail is the CPU's.

    Raises:
        CompileError: the engine's facts are damaged.
    """
    return _placed(_facts(engine))


def _placed(facts: Mapping[str, Any]) -> Placement:
    left = Counter(facts["left"]) + Counter(facts["tail"])
    operators = int(facts["operators"]) + len(facts["tail"])
    return Placement("NPU", int(facts["taken"]), operators, dict(sorted(left.items())))


def _facts(engine: Path) -> dict[str, Any]:
    facts = read_json(engine / FACTS, CompileError)
    if not isinstance(facts, dict) or any(key not in facts for key in _TOLD):
        raise CompileError(f"{engine / FACTS}: not what edgeprune writes beside an engine of RKNN")
    return facts


def _open_tail(path: Path, threads: int) -> Any:
    if not path.is_file():
        return None
    import onnxruntime

    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = threads
    settings.log_severity_level = 3  # errors come as exceptions
    return onnxruntime.InferenceSession(str(path), settings, providers=["CPUExecutionProvider"])


def _lite() -> Any:
    """Return Rockchip's runtime for boards, None where it is not installed."""
    try:
        from rknnlite.api import RKNNLite
    except ImportError:
        return None
    return RKNNLite


def _on_board(engine: Path) -> Run:
    rknn = _lite()()
    for code in (rknn.load_rknn(str(engine / MODEL)), rknn.init_runtime()):
        if code != 0:
            raise CompileError(f"{engine}: RKNN cannot load this engine here: code {code}")

    def run(pixels: np.ndarray[Any, Any]) -> Sequence[np.ndarray[Any, Any]]:
        answered: Sequence[np.ndarray[Any, Any]] = rknn.inference(inputs=[pixels], data_format=["nhwc"])
        return answered

    return run


class _Simulator:
    """Rockchip's simulator of an engine, in a process of its environment that ends with this object."""

    def __init__(self, engine: Path) -> None:
        from edgeprune.converters.environments import SCRIPTS, python_of

        place = engine.resolve()
        args = [str(python_of("rknn")), "-I", str(SCRIPTS / CONVERTER.script), "simulate", str(place)]
        self._engine = engine
        self._process = subprocess.Popen(
            args,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        weakref.finalize(self, _end, self._process)
        self._answer()

    def __call__(self, pixels: np.ndarray[Any, Any]) -> Sequence[np.ndarray[Any, Any]]:
        """Run on pixels of shape (1, H, W, 3), uint8."""
        import numpy as np

        packed = io.BytesIO()
        np.savez(packed, pixels)
        stream = self._stream(self._process.stdin)
        try:
            stream.write(packed.getbuffer().nbytes.to_bytes(8, "little") + packed.getvalue())
            stream.flush()
        except OSError as exc:
            raise CompileError(f"{self._engine}: Rockchip's simulator ended") from exc
        return self._answer()

    def _answer(self) -> Sequence[np.ndarray[Any, Any]]:
        import numpy as np

        stream = self._stream(self._process.stdout)
        size = stream.read(8)
        if len(size) < 8:
            code = self._process.wait()
            raise CompileError(f"{self._engine}: Rockchip's simulator ended with code {code}")
        with np.load(io.BytesIO(stream.read(int.from_bytes(size, "little")))) as stored:
            return [stored[name] for name in stored.files]

    def _stream(self, stream: IO[bytes] | None) -> IO[bytes]:
        if stream is None:
            raise RuntimeMissingError(f"{self._engine}: Rockchip's simulator was not started")
        return stream


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()
    for stream in (process.stdin, process.stdout):
        if stream:
            stream.close()
