"""A bare ONNX file as a torch network: checked, its shapes fixed, read, held against ONNX Runtime."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import numpy_helper

from edgeprune.adapters.onnx.network import Network, Plan
from edgeprune.adapters.onnx.operators import OPERATORS
from edgeprune.adapters.onnx.reading import Reader, UnreadableError, read_nodes
from edgeprune.adapters.onnx.rewriting import rewrite
from edgeprune.backends import REFERENCE, get_backend
from edgeprune.core.errors import ConfigError, ModelError, shorten
from edgeprune.core.onnx_files import read_onnx
from edgeprune.images.size import ImageSize, sides, size_of

OLDEST = 7
"""Opset from which on operators broadcast as numpy does."""
CONTROL_FLOW = ("If", "Loop", "Scan")
_QUANTIZED = ("QuantizeLinear", "DequantizeLinear", "QLinearConv", "ConvInteger", "MatMulInteger")
NEAR = 1e-3
"""Largest difference of an output from ONNX Runtime's, relative L2."""


@dataclass(frozen=True)
class GivenInput:
    """The image that a network takes.

    Attributes:
        name: of the value.
        size: height and width in pixels; None where the file leaves it open.
        shape: as the file has it, 0 for a side that is open.
    """

    name: str
    size: ImageSize | None
    shape: tuple[int, ...]


def load_onnx(path: Path, imgsz: ImageSize | None) -> Network:
    """Read an ONNX file as a network in eval mode, gradients on.

    Args:
        imgsz: of the input where the file leaves it open, in pixels.

    Raises:
        ModelError: the file is damaged, holds what cannot be read, or computes something else as read.
        ConfigError: its size is open, and none is given; or another one than its own is.
    """
    model = read_onnx(path, weights=True)
    _require_opset(model, path)
    given = given_input(model, path)
    if given.shape[1] != 3 and given.shape[3] == 3:
        given = _channels_first(model, given, path)
    size = size_of_input(given, imgsz, path)
    model = _with_fixed_shapes(model, given, size, path)
    _require_operators(model, path)
    plan, state = _read(model, given, size, path)
    plan, state = rewrite(plan, state)
    outputs = [_exported(each.name) for each in model.graph.output]
    network = Network(plan, {"imgsz": list(sides(size)), "outputs": outputs})
    missing = network.load_state_dict(state, strict=False).missing_keys
    assert all(name.endswith("num_batches_tracked") for name in missing), missing
    network.eval().requires_grad_(True)
    _require_same(network, model, given, size, path)
    return network


def _exported(name: str) -> str:
    """Return an output's name as PyTorch's exporter takes it: it refuses a number."""
    return f"output_{name}" if name[:1].isdigit() else name


def given_input(model: onnx.ModelProto, path: Path) -> GivenInput:
    """Return the one image that a network takes.

    Raises:
        ModelError: it takes several inputs, or one that is no image of three colours.
    """
    weights = {each.name for each in model.graph.initializer}
    inputs = [each for each in model.graph.input if each.name not in weights]
    if len(inputs) != 1:
        names = ", ".join(each.name for each in inputs) or "none"
        raise ModelError(f"{path}: it takes {len(inputs)} inputs ({names}); one image is needed")
    tensor = inputs[0].type.tensor_type
    shape = tuple(int(each.dim_value) if each.HasField("dim_value") else 0 for each in tensor.shape.dim)
    what = f"its input {inputs[0].name} has shape {_shown(shape)}"
    if len(shape) != 4:
        raise ModelError(f"{path}: {what}; a batch of images (n, 3, height, width) is needed")
    if shape[0] > 1:
        raise ModelError(f"{path}: {what}: a batch of {shape[0]}; export it with a batch of 1 or an open one")
    is_last = shape[1] != 3 and shape[3] == 3
    if not is_last and shape[1] not in (0, 3):
        raise ModelError(f"{path}: {what}; images of 3 colours are needed")
    high, wide = shape[1:3] if is_last else shape[2:]
    size = size_of(high, wide) if high and wide else None
    return GivenInput(inputs[0].name, size, shape)


def _shown(shape: tuple[int, ...]) -> str:
    return "(" + ", ".join(str(side or "open") for side in shape) + ")"


def size_of_input(given: GivenInput, imgsz: ImageSize | None, path: Path) -> ImageSize:
    """Return the size that a network is read for: the file's own, or the one that is asked for.

    Raises:
        ConfigError: its size is open, and none is given; or another one than its own is.
    """
    if given.size is None and imgsz is None:
        raise ConfigError(f"{path}: its input {_shown(given.shape)} has no size of its own; give --imgsz")
    if given.size is not None and imgsz is not None and size_of(*sides(imgsz)) != given.size:
        own = "x".join(map(str, sides(given.size)))
        raise ConfigError(
            f"--imgsz: {path} is fixed at {own} pixels; leave it out, or export the file with open sides"
        )
    size = given.size if given.size is not None else imgsz
    assert size is not None
    return size


def _require_opset(model: onnx.ModelProto, path: Path) -> None:
    opset = opset_of(model)
    newest = onnx.defs.onnx_opset_version()
    if opset < OLDEST:
        raise ModelError(
            f"{path}: opset {opset} is older than {OLDEST}, the oldest that is read; export it again, or "
            "convert it with onnx.version_converter"
        )
    if opset > newest:
        raise ModelError(
            f"{path}: opset {opset} is newer than {newest}, the newest that the installed onnx knows; export "
            "it with an older one, or upgrade onnx"
        )


def opset_of(model: onnx.ModelProto) -> int:
    """Return the opset of ONNX's own operators, 0 where the file names none."""
    return max((each.version for each in model.opset_import if each.domain in ("", "ai.onnx")), default=0)


def _with_fixed_shapes(
    model: onnx.ModelProto, given: GivenInput, size: ImageSize, path: Path
) -> onnx.ModelProto:
    """Return the model simplified for one image of a size, its batch norms left as they are."""
    import onnxsim

    height, width = sides(size)
    shape = [1, 3, height, width]
    try:
        simplified, is_same = onnxsim.simplify(
            model,
            check_n=0,
            overwrite_input_shapes={given.name: shape},
            skipped_optimizers=["fuse_bn_into_conv"],
        )
    except Exception:  # onnxsim raises whatever its C++ side does; what cannot be read is told below
        return model
    return simplified if is_same else model


def _require_operators(model: onnx.ModelProto, path: Path) -> None:
    """Refuse a graph with operators that are not read, all of them named.

    Raises:
        ModelError: there is at least one.
    """
    found = sorted({_full_name(node) for node in model.graph.node} - set(OPERATORS) - _foldable(model))
    quantized = [name for name in found if name in _QUANTIZED]
    if quantized:
        raise ModelError(
            f"{path}: it is quantized already ({', '.join(quantized)}); give the float file it was made of"
        )
    flow = [name for name in found if name in CONTROL_FLOW]
    if flow:
        others = f", and operators that are not read: {', '.join(sorted(set(found) - set(flow)))}"
        raise ModelError(
            f"{path}: it has control flow ({', '.join(flow)}), which cannot be pruned"
            f"{others if len(found) > len(flow) else ''}; export the network alone, without it"
        )
    if found:
        raise ModelError(
            f"{path}: operators that cannot be pruned: {', '.join(found)}; export the network without them, "
            "such as without NMS at its end"
        )


def _full_name(node: onnx.NodeProto) -> str:
    return f"{node.domain}.{node.op_type}" if node.domain not in ("", "ai.onnx") else str(node.op_type)


def _foldable(model: onnx.ModelProto) -> set[str]:
    """Name operators of which every node depends on constants alone, or on shapes."""
    known = {each.name for each in model.graph.initializer}
    free: dict[str, bool] = {}
    for node in model.graph.node:
        is_free = node.op_type == "Shape" or all(name in known for name in node.input if name)
        is_free = is_free and node.op_type not in CONTROL_FLOW and node.domain in ("", "ai.onnx")
        if is_free:
            known.update(node.output)
        free[node.op_type] = free.get(node.op_type, True) and is_free
    return {name for name, is_free in free.items() if is_free}


def _read(
    model: onnx.ModelProto, given: GivenInput, size: ImageSize, path: Path
) -> tuple[Plan, dict[str, torch.Tensor]]:
    image = torch.rand((1, 3, *sides(size)), generator=torch.Generator().manual_seed(0))
    constants = {each.name: _plain(numpy_helper.to_array(each)) for each in model.graph.initializer}
    graph = model.graph
    reader = Reader(constants, {given.name: image})
    try:
        read_nodes(graph, reader, opset_of(model), OPERATORS)
    except UnreadableError as exc:
        raise ModelError(f"{path}: {exc}: this cannot be read as a layer") from exc
    for output in graph.output:
        if output.name in constants:
            raise ModelError(f"{path}: its output {output.name} does not depend on the image")
    outputs = tuple(reader.called(output.name) for output in graph.output)
    return Plan(input=given.name, outputs=outputs, steps=tuple(reader.steps)), reader.state


def _plain(array: Any) -> Any:
    """Return a weight of halves or doubles as float32."""
    return array.astype(np.float32) if array.dtype in (np.float16, np.float64) else array


def _channels_first(model: onnx.ModelProto, given: GivenInput, path: Path) -> GivenInput:
    """Take out the transposition that follows an NHWC input, in place, and return the input in NCHW.

    Raises:
        ModelError: something else reads the input.
    """
    readers = [node for node in model.graph.node if given.name in node.input]
    perms = [onnx.helper.get_node_attr_value(node, "perm") if node.op_type == "Transpose" else None
             for node in readers]  # fmt: skip
    if len(readers) != 1 or list(perms[0] or ()) != [0, 3, 1, 2]:
        raise ModelError(
            f"{path}: its input {_shown(given.shape)} has the colours last (NHWC); export it with them first "
            "(NCHW), as tf2onnx does by --inputs-as-nchw"
        )
    name = str(readers[0].output[0])
    model.graph.node.remove(readers[0])
    entry = next(each for each in model.graph.input if each.name == given.name)
    batch, height, width, colours = given.shape
    shape = [side or None for side in (batch, colours, height, width)]
    kind = entry.type.tensor_type.elem_type
    entry.CopyFrom(onnx.helper.make_tensor_value_info(name, kind, shape))
    return GivenInput(name, given.size, (batch, colours, height, width))


def _require_same(
    network: Network, model: onnx.ModelProto, given: GivenInput, size: ImageSize, path: Path
) -> None:
    """Hold the network against the file as ONNX Runtime computes it.

    Raises:
        ModelError: it computes something else, or ONNX Runtime cannot run the file.
    """
    entry = next(each for each in model.graph.input if each.name == given.name)
    kind = onnx.helper.tensor_dtype_to_np_dtype(entry.type.tensor_type.elem_type)
    image = np.random.default_rng(0).random((1, 3, *sides(size)), dtype=np.float32)
    image = np.round(image * 255) if kind == np.uint8 else image
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.onnx"
        onnx.save(model, file)
        try:
            expected = get_backend(REFERENCE).load(file, "fp32", 1, {})(image.astype(kind))
        except Exception as exc:  # onnxruntime raises classes of its C++ side
            raise ModelError(f"{path}: ONNX Runtime cannot run it: {shorten(exc)}") from exc
    with torch.no_grad():
        got = [output.numpy() for output in network(torch.from_numpy(image))]
    allowed = NEAR if kind != np.float16 else 20 * NEAR
    for name, one, other in zip(network.told["outputs"], got, expected, strict=True):
        wanted = np.asarray(other, dtype=np.float64)
        distance = float(np.linalg.norm(one - wanted)) / max(float(np.linalg.norm(wanted)), 1e-12)
        if not distance <= allowed:
            raise ModelError(
                f"{path}: read as layers it computes another {name} than ONNX Runtime does ({distance:.1e} "
                "off): please report this file"
            )
