"""ncnn on the CPU, or a GPU by Vulkan where asked: the engine is a folder with graph, weights and shapes.

pnnx makes `model.ncnn.param` and `model.ncnn.bin` of the ONNX file; `model.json` says what the inputs and
outputs are called and what shapes they have, because ncnn's own files know no batch.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeprune.backends.exported import exported_facts
from edgeprune.backends.ncnn_files import INT8_TERM, MAGIC, PARAM, layers_of, param_of, stores_halves
from edgeprune.core.artifact import WEIGHTS, Artifact
from edgeprune.core.backend_types import Figures, Recognised, Tool
from edgeprune.core.documents import read_json
from edgeprune.core.errors import CompileError, RuntimeMissingError
from edgeprune.core.files import write_text_atomically
from edgeprune.core.onnx_files import read_onnx

if TYPE_CHECKING:
    import numpy as np

MODULE = "ncnn"
PIP = ("ncnn",)
PACKAGES = ("ncnn", "pnnx")
HOW_TO_GET = "pip install 'edgeprune[ncnn]'"
WHEELS = {
    "aarch64": {"ncnn==1.0.20261020": "0503da4f3960ee2e555feef55db13adffd6c62eb59a4bd22f8083b12d1757ad8"}
}
PROVIDER = "CPU"
VULKAN = "Vulkan"
ENGINE = "engine"
TAKES = "an ncnn .param with its .bin"
SHAPES = "model.json"
SOURCE = "onnx"
SCHEMES = ("ncnn-minmax", "ncnn-kl")
END2END = False  # it has neither GatherElements nor Mod, which choosing the best boxes takes
HALF_GRAPH = False  # it rounds the float graph by itself
GRAPH_IN_FILE = True
ONE_IMAGE = "its tensors have no dimension for a batch"

DIFFERENCE = 1e-3  # relative L2 from the ONNX file, in fp32: rounding leaves 1e-6, a wrong axis 1e-1
_HALVES = ("use_fp16_packed", "use_fp16_storage", "use_fp16_arithmetic")
_CONVOLUTIONS = ("Convolution", "ConvolutionDepthWise", "InnerProduct")


class NcnnSession:
    """A loaded network.

    Attributes:
        actual: ``provider``, ``precision`` of the floating-point kernels: fp16 or bf16 only if the option is
            set and the kernels that were made for this CPU support it; ``vulkan``, ``options`` that are on,
            ``threads``, ``streams`` and ``version``.
    """

    compile_ms: float | None = None

    def __init__(self, net: Any, shapes: dict[str, Any], version: str) -> None:
        self._net = net
        self._mat = import_ncnn().Mat
        self._input: str = shapes["inputs"][0]
        self._outputs = [(name, shape and tuple(shape)) for name, shape in shapes["outputs"].items()]
        opt = net.opt
        self.actual: dict[str, Any] = {
            "provider": VULKAN if opt.use_vulkan_compute else PROVIDER,
            "precision": _precision(net),
            "vulkan": bool(opt.use_vulkan_compute),
            "options": [name for name in dir(opt) if name.startswith("use_") and getattr(opt, name)],
            "threads": int(opt.num_threads),
            "streams": 1,
            "version": version,
        }

    def __call__(self, images: np.ndarray[Any, Any]) -> list[np.ndarray[Any, Any]]:
        """Run on float32 images of shape (1, 3, H, W) and return new arrays, one an output."""
        import numpy as np

        extractor = self._net.create_extractor()
        # A copy: layers that work in place would write into the caller's array.
        extractor.input(self._input, self._mat(images[0]).clone())
        results = []
        for name, shape in self._outputs:
            status, mat = extractor.extract(name)
            if status:
                raise CompileError(f"ncnn: the network failed at {name} with status {status}")
            output = np.array(mat, dtype=np.float32)
            results.append(output[np.newaxis] if shape is None else output.reshape(shape))
        return results


def version() -> str | None:
    """Return the version of the ncnn that is installed here, or None."""
    try:
        import ncnn
    except ImportError:
        return None
    return str(ncnn.__version__)


def devices() -> tuple[str, ...]:
    """Return what can execute here: the CPU, and Vulkan where ncnn finds a GPU.

    Raises:
        RuntimeMissingError: ncnn is not installed.
    """
    return (PROVIDER, VULKAN) if import_ncnn().get_gpu_count() > 0 else (PROVIDER,)


def compile(model: Artifact, precision: str, options: Mapping[str, str], out: Path) -> Artifact:
    """Convert an ONNX file by pnnx and prove the result, or take over the folder that `ncnn_int8` wrote.

    In fp16 the weights are stored so, too; whether kernels compute in it is told by `Session.actual`.

    Returns:
        The folder ``out/engine``, proven to load here and to compute what the ONNX file does.

    Raises:
        CompileError: pnnx failed, ncnn lacks an operator, or it computes something else.
        RuntimeMissingError: ncnn or pnnx is not installed.
    """
    engine = out / ENGINE
    if model.path.is_dir():
        shutil.copytree(model.path, engine)
        load(engine, precision, 1, options)
    else:
        convert(model.path, engine, half=precision == "fp16")
        load(engine, precision, 1, options)
    return Artifact.of(engine, "engine", precision, parent=model.sha256)


def convert(onnx_file: Path, engine: Path, half: bool = False) -> None:
    """Write the folder `engine` of an ONNX file and hold it against ONNX Runtime on one image of noise.

    Args:
        half: store the weights in fp16.

    Raises:
        CompileError: pnnx failed, ncnn lacks an operator, or it computes something else.
        RuntimeMissingError: ncnn or pnnx is not installed.
    """
    from edgeprune.backends.pnnx import convert as by_pnnx

    import_ncnn()
    engine.mkdir(parents=True, exist_ok=True)
    # The stage that `engine` lies in goes away when it fails; what it lies in stays.
    by_pnnx(onnx_file, engine, engine.parent.parent, half)
    _require_operators(onnx_file, engine)
    shapes = _shapes(onnx_file)
    write_text_atomically(engine / SHAPES, json.dumps(shapes))
    _require_equal(onnx_file, engine, shapes["inputs"][1], half)


def load(engine: Path, precision: str, threads: int, options: Mapping[str, str]) -> NcnnSession:
    """Load an engine folder for inference.

    Args:
        precision: ``fp16`` allows fp16 storage and arithmetic, other precisions forbid both.
        options: names of ncnn's `Option` that begin with ``use_``, with ``0`` or ``1``; ``provider`` is
            ``CPU`` or ``Vulkan``.

    Raises:
        CompileError: ncnn cannot load the network, or has no such option.
        RuntimeMissingError: ncnn is not installed, or Vulkan is asked for and there is no GPU.
    """
    shapes = _read_shapes(engine)
    return NcnnSession(network(engine, precision, threads, options), shapes, str(version()))


def recognise(path: Path) -> Recognised | None:
    """Return the network at a path: its ``.param``, its ``.bin``, or a folder with one such pair.

    What pnnx and Ultralytics write has no `model.json`: the graph then tells the inputs and outputs, and the
    ``metadata.yaml`` beside it the size of the image. Weights stored in fp16 make it fp16, which allows
    kernels in fp16 where the CPU has them.

    Raises:
        CompileError: the folder holds several, the ``.bin`` is missing, or the graph is damaged.
    """
    param = _param_at(path)
    if param is None:
        return None
    weights = param.with_suffix(WEIGHTS)
    if not weights.is_file():
        raise CompileError(f"{param}: {weights.name} is not beside it; an ncnn model is both files")
    alone = all(other in (param, weights) or _is_beside(other) for other in param.parent.iterdir())
    engine = param.parent if alone else param
    if _int8_layers(engine):
        return Recognised(engine, "int8")
    return Recognised(engine, "fp16" if stores_halves(engine) else "fp32")


def _param_at(path: Path) -> Path | None:
    if path.is_dir():
        found = [param for param in sorted(path.glob("*.param")) if _is_param(param)]
        if len(found) > 1 and path / PARAM not in found:
            names = ", ".join(param.name for param in found)
            raise CompileError(f"{path}: it holds {len(found)} ncnn models; name the one to run: {names}")
        return (path / PARAM if path / PARAM in found else found[0]) if found else None
    param = path.with_suffix(".param") if path.suffix == WEIGHTS else path
    return param if param.suffix == ".param" and _is_param(param) else None


def _is_param(path: Path) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as stream:
        return stream.read(len(MAGIC)) == MAGIC.encode()


def _is_beside(path: Path) -> bool:
    return path.is_file() and path.suffix in (".yaml", ".json", ".txt", ".py")


def input_shape(engine: Path) -> list[int]:
    """Return the shape of the input, batch first; 0 for a side that nothing tells.

    Raises:
        CompileError: the folder is no engine of ncnn.
    """
    return [int(side) for side in _read_shapes(engine)["inputs"][1] or _told_shape(engine)]


def _told_shape(engine: Path) -> list[int]:
    """Read the shape from the graph's input layer, else from `metadata.yaml`."""
    first = next(layer for layer in layers_of(engine) if layer.kind == "Input")
    width, height, channels = (first.integer(number) for number in (0, 1, 2))  # as ncnn's wiki numbers them
    if not (width and height and channels):
        facts = exported_facts(param_of(engine).parent)
        height, width = facts.imgsz
        channels = facts.channels
    return [1, channels, height, width]


def load_many(
    engine: Path, precision: str, threads: int, options: Mapping[str, str], count: int
) -> Sequence[NcnnSession]:
    """Load once: each call has an extractor of its own, which may run beside others on one network.

    Arguments and errors are those of `load`.
    """
    return [load(engine, precision, threads, options)] * count


def quantized_ops(engine: Path) -> int | None:
    """Count the layers with int8 weights of a network that loads.

    ncnn has no float kernel for them, so what is loaded runs in integers (see `network`).
    """
    network(engine, "int8", 1, {})
    return _int8_layers(engine)


def network(engine: Path, precision: str, threads: int, options: Mapping[str, str]) -> Any:
    """Return an engine folder as `ncnn.Net`; arguments and errors are those of `load`."""
    net = import_ncnn().Net()
    net.opt.num_threads = threads
    for name in _HALVES:
        setattr(net.opt, name, precision == "fp16")
    for name, value in options.items():
        _set(net.opt, name, value)
    if not net.opt.use_int8_inference and _int8_layers(engine):
        # ncnn would read the bytes as floats, beyond their end, and give garbage without a word.
        raise CompileError(
            f"{engine}: use_int8_inference=0: ncnn runs int8 weights in integers or not at all"
        )
    # The status is 0 or negative; what went wrong ncnn only prints.
    param = param_of(engine)
    if net.load_param(str(param)) or net.load_model(str(param.with_suffix(WEIGHTS))):
        raise CompileError(f"{engine}: ncnn {version()} cannot load this network")
    return net


def _int8_layers(engine: Path) -> int:
    return sum(layer.integer(INT8_TERM) > 0 for layer in layers_of(engine))


def _set(opt: Any, name: str, value: str) -> None:
    if name == "provider":
        if value not in (PROVIDER, VULKAN):
            raise CompileError(f"provider: ncnn has {PROVIDER} and {VULKAN}, not {value!r}")
        if value == VULKAN and VULKAN not in devices():
            raise RuntimeMissingError(
                "ncnn finds no GPU here: Vulkan needs one and its driver (libvulkan.so.1)"
            )
        opt.use_vulkan_compute = value == VULKAN
        return
    if not name.startswith("use_") or not hasattr(opt, name) or value not in ("0", "1"):
        raise CompileError(f"{name}={value}: ncnn has no such option; they are named use_... and are 0 or 1")
    setattr(opt, name, value == "1")


def _precision(net: Any) -> str:
    """Return what the convolutions compute in: each layer says what the kernels for this CPU support."""
    layers = [layer for layer in net.layers() if layer.type in _CONVOLUTIONS]
    for name, option in (("fp16", "use_fp16_storage"), ("bf16", "use_bf16_storage")):
        supported = all(getattr(layer, f"support_{name}_storage") for layer in layers)
        if layers and supported and getattr(net.opt, option):
            return name
    return "fp32"


def import_ncnn() -> Any:
    """Return the module `ncnn`.

    Raises:
        RuntimeMissingError: it is not installed.
    """
    try:
        import ncnn
    except ImportError as exc:
        raise RuntimeMissingError("ncnn is not installed here: pip install ncnn pnnx") from exc
    return ncnn


def _require_operators(onnx_file: Path, engine: Path) -> None:
    index = import_ncnn().layer_to_index
    unknown = {layer.kind: layer.name for layer in layers_of(engine) if index(layer.kind) < 0}
    if unknown:
        named = ", ".join(f"{kind} ({name})" for kind, name in unknown.items())
        raise CompileError(f"{onnx_file}: ncnn {version()} has no operator {named}")


def _shapes(onnx_file: Path) -> dict[str, Any]:
    """Return name and shape of the input, and shapes of the outputs by the names that pnnx gives them."""

    graph = read_onnx(onnx_file, CompileError).graph
    image, *more = [_dims(value) for value in graph.input]
    if more:
        raise CompileError(f"{onnx_file}: one input is expected, this network has {1 + len(more)}")
    outputs = {f"out{index}": _dims(value) for index, value in enumerate(graph.output)}
    return {"inputs": ["in0", image], "outputs": outputs}


def _dims(value: Any) -> list[int]:
    return [dim.dim_value for dim in value.type.tensor_type.shape.dim]


def _read_shapes(engine: Path) -> dict[str, Any]:
    """Return what `model.json` says; where there is none, the names in the graph, and None for each shape."""
    if not (engine / SHAPES).is_file():
        layers = layers_of(engine)
        used = {name for layer in layers for name in layer.inputs}
        inputs = [name for layer in layers if layer.kind == "Input" for name in layer.outputs]
        if len(inputs) != 1:
            raise CompileError(f"{engine}: one input is expected, this network has {len(inputs)}")
        left = [name for layer in layers for name in layer.outputs if name not in used]
        return {"inputs": [inputs[0], None], "outputs": dict.fromkeys(left)}
    shapes: Any = read_json(engine / SHAPES, CompileError)
    try:
        (name, sides), outputs = shapes["inputs"], shapes["outputs"]
        whole = isinstance(name, str) and len(sides) == 4 and all(map(_is_shape, (sides, *outputs.values())))
    except (LookupError, ValueError, TypeError, AttributeError):
        whole = False
    if not whole:
        raise CompileError(f"{engine / SHAPES}: this is no engine of ncnn: names and shapes are expected")
    return dict(shapes)


def _is_shape(told: Any) -> bool:
    return isinstance(told, list) and all(isinstance(side, int) and 0 < side < 1 << 31 for side in told)


def _require_equal(onnx_file: Path, engine: Path, shape: list[int], half: bool) -> None:
    """Compare with ONNX Runtime: pnnx drops what it does not understand without a word."""
    import numpy as np

    from edgeprune.backends import onnxruntime

    noise = np.random.default_rng(0).random(shape, dtype=np.float32)
    expected = onnxruntime.load(onnx_file, "fp32", 1, {})(noise)
    tolerance = DIFFERENCE * 20 if half else DIFFERENCE  # fp16 keeps 11 bits of each weight
    try:
        got = load(engine, "fp32", 1, {})(noise)
    except ValueError as exc:  # of another size
        raise CompileError(f"{onnx_file}: pnnx's network has outputs of another shape: {exc}") from exc
    for index, (wanted, output) in enumerate(zip(expected, got, strict=True)):
        error = float(np.linalg.norm(output - wanted) / max(float(np.linalg.norm(wanted)), 1e-12))
        if not error < tolerance:
            raise CompileError(
                f"{onnx_file}: pnnx's network differs from ONNX Runtime by {error:.2g} (relative L2) in "
                f"output {index}; allowed is {tolerance:g}"
            )


def _benchncnn(engine: Path, options: Mapping[str, str], threads: int, seconds: float) -> list[str]:
    _, channels, height, width = input_shape(engine)
    model = [f"param={param_of(engine)}", f"shape=[{width},{height},{channels}]"]
    return ["128", str(threads), "0", "-1", "0", *model]


def _read_benchncnn(text: str) -> Figures:
    """Read the line of the network that was named, which ends in `.param`.

    One of before ncnn#4782 leaves `param=` unread and times networks of its own. Of a network that it cannot
    load it says 0.00 ms, and exits with 0.
    """
    said = re.search(r"\.param\s+min =\s*([\d.]+)\s+max =\s*([\d.]+)\s+avg =\s*([\d.]+)", text)
    if said is None or not float(said[3]):
        return Figures()
    return Figures(min=float(said[1]), max=float(said[2]), mean=float(said[3]))


TOOL = Tool(
    "benchncnn",
    "build it with ncnn of June 2023 or newer (-DNCNN_BUILD_BENCHMARK=ON), and put it on the PATH",
    _benchncnn,
    _read_benchncnn,
    "it has only a mean, of 128 queries, which compares with our mean. Its weights are zero and its "
    "input is constant, so int8 and denormals cost other than in earnest; it allows fp16 in any row",
)
