"""ncnn's two files: the graph as text (`.param`) and the weights as one run of bytes (`.bin`).

Format: https://github.com/Tencent/ncnn/wiki/param-and-model-file-structure and `load_model` of each layer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import prod
from pathlib import Path

from edgeprune.core.artifact import lone
from edgeprune.core.errors import CompileError
from edgeprune.core.files import ENGINE_BYTES, open_regular, read_bytes, read_text

MAGIC = "7767517"
PARAM, BIN = "model.ncnn.param", "model.ncnn.bin"
FLOAT_TAG, HALF_TAG, INT8_TAG = (tag.to_bytes(4, "little") for tag in (0, 0x01306B47, 0x000D4B38))
_BYTES = {FLOAT_TAG: 4, HALF_TAG: 2, INT8_TAG: 1}
INT8_TERM = 8  # the parameter that says with how many scales a layer is quantized


@dataclass(frozen=True)
class Layer:
    """One line of a `.param` file, with its part of the `.bin` file.

    Attributes:
        kind: ncnn's name of the operator, such as ``Convolution``.
        inputs, outputs: names of blobs.
        params: values by number, as text; ncnn's wiki says what each number means for each operator.
        weights: the arrays that the layer reads, as they lie in the file, tags and padding included.
    """

    kind: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    params: dict[int, str]
    weights: tuple[bytes, ...] = field(default=(), repr=False)

    def integer(self, number: int, default: int = 0) -> int:
        """Return one parameter as an integer."""
        return int(self.params.get(number, default))


def read(folder: Path) -> list[Layer]:
    """Read the layers of a model and their weights.

    Raises:
        CompileError: the files are not a model of ncnn, or hold weights of an operator not known here.
    """
    try:
        layers = _read_param(folder / PARAM)
        rest = memoryview(read_bytes(folder / BIN, CompileError, ENGINE_BYTES))
        read_layers = []
        for layer in layers:
            arrays, rest = _take(layer, rest)
            read_layers.append(Layer(**{**vars(layer), "weights": arrays}))
    except (ValueError, LookupError) as exc:
        raise CompileError(f"{folder}: not a model of ncnn: {exc}") from exc
    if len(rest):
        raise CompileError(
            f"{folder}: {len(rest)} bytes of weights are left over: there is an operator whose "
            "weights are not known here"
        )
    return read_layers


def write(layers: Sequence[Layer], folder: Path) -> None:
    """Write `.param` and `.bin` into a folder."""
    lines = [
        " ".join(
            [
                f"{layer.kind:<24} {layer.name:<24} {len(layer.inputs)} {len(layer.outputs)}",
                *layer.inputs,
                *layer.outputs,
                *(f"{number}={value}" for number, value in layer.params.items()),
            ]
        )
        for layer in layers
    ]
    blobs = sum(len(layer.outputs) for layer in layers)
    (folder / PARAM).write_text("\n".join([MAGIC, f"{len(layers)} {blobs}", *lines, ""]), encoding="utf-8")
    (folder / BIN).write_bytes(b"".join(part for layer in layers for part in layer.weights))


def param_of(engine: Path) -> Path:
    """Return the ``.param`` of an engine: the file itself, or the one in its folder."""
    return (lone(engine, PARAM) or engine / PARAM) if engine.is_dir() else engine


def layers_of(engine: Path) -> list[Layer]:
    """Read the graph alone, without weights.

    Raises:
        CompileError: the file is not a graph of ncnn.
    """
    try:
        return _read_param(param_of(engine))
    except (ValueError, LookupError) as exc:
        raise CompileError(f"{engine}: not a model of ncnn: {exc}") from exc


def stores_halves(engine: Path) -> bool:
    """Tell whether the first array of weights is stored in fp16."""
    try:
        with open_regular(param_of(engine).with_suffix(".bin"), CompileError) as stream:
            return stream.read(4) == HALF_TAG
    except CompileError:
        return False


def _read_param(path: Path) -> list[Layer]:
    magic, counts, *lines = read_text(path, CompileError).splitlines()
    layers = [_parse(line.split()) for line in lines if line.strip()]
    if magic.strip() != MAGIC or len(layers) != int(counts.split()[0]):
        raise ValueError(f"{path.name} has another format or is cut off")
    return layers


def _parse(words: list[str]) -> Layer:
    kind, name, ins, outs = words[0], words[1], int(words[2]), int(words[3])
    blobs, params = words[4 : 4 + ins + outs], words[4 + ins + outs :]
    pairs = (text.split("=", 1) for text in params)
    return Layer(
        kind, name, tuple(blobs[:ins]), tuple(blobs[ins:]), {int(number): value for number, value in pairs}
    )


def _take(layer: Layer, rest: memoryview) -> tuple[tuple[bytes, ...], memoryview]:
    arrays = []
    for count, tagged in _arrays(layer):
        size = count * 4
        if tagged:
            size = (
                4 + -(-count * _BYTES[bytes(rest[:4])] // 4) * 4
            )  # each array ends on a multiple of 4 bytes
        if not 0 <= size <= len(rest):
            raise ValueError(f"the weights of {layer.name} are cut off")
        arrays.append(bytes(rest[:size]))
        rest = rest[size:]
    return tuple(arrays), rest


def _arrays(layer: Layer) -> list[tuple[int, bool]]:
    """Return the number of values of each array that a layer reads, and whether a tag names its type."""
    n = layer.integer
    match layer.kind:
        case "Convolution" | "ConvolutionDepthWise" | "Deconvolution" | "DeconvolutionDepthWise":
            groups = n(7) if layer.kind == "ConvolutionDepthWise" else n(0)
            scales = [(groups, False), (1, False)] if n(INT8_TERM) else []
            return [(n(6), True), *([(n(0), False)] if n(5) else []), *scales]
        case "InnerProduct":
            scales = [(n(0), False), (1, False)] if n(INT8_TERM) else []
            return [(n(2), True), *([(n(0), False)] if n(1) else []), *scales]
        case "MemoryData":
            return [(prod(n(number) or 1 for number in (0, 1, 11, 2)), n(21, 1) == 0)]
        case "PReLU":
            return [(n(0), False)]
        case "BatchNorm":
            return [(n(0), False)] * 4
        case _:
            return []
