"""ONNX to ncnn by pnnx, ncnn's own converter, in a process of its own: it can die by a segmentation fault."""

from __future__ import annotations

import shutil
import signal
import subprocess
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from edgeprune.backends.ncnn_files import BIN, PARAM
from edgeprune.core.errors import CompileError, RuntimeMissingError
from edgeprune.core.onnx_files import read_onnx

TIMEOUT_S = 900.0
_SUM_AXES_ARE_AN_INPUT = 13  # since this opset; those of ReduceMean are attributes until 18


def convert(onnx_file: Path, out: Path, logs: Path, half: bool = False) -> None:
    """Write ncnn's `.param` and `.bin` of an ONNX file with static shapes into the folder `out`.

    Args:
        logs: folder where what pnnx printed is kept if it crashed, failed or took too long.
        half: store the weights in fp16.

    Raises:
        CompileError: pnnx crashed, failed or took too long; the message names the log.
        RuntimeMissingError: pnnx is not installed.
    """
    out.mkdir(parents=True, exist_ok=True)
    program = program_of_pnnx()
    with tempfile.TemporaryDirectory(dir=out) as folder:
        place = Path(folder)
        _prepare(onnx_file, place / "model.onnx")
        args = [str(program), "model.onnx", f"fp16={int(half)}"]
        with (place / "log").open("wb") as log:
            trouble = _trouble(args, place, log)
        if trouble is None and not ((place / PARAM).is_file() and (place / BIN).is_file()):
            trouble = "wrote no model"
        if trouble:
            kept = logs / f"pnnx-{onnx_file.parent.name}.log"
            shutil.copyfile(place / "log", kept)
            raise CompileError(f"{onnx_file}: pnnx {trouble}; what it printed is in {kept}")
        for name in (PARAM, BIN):
            (place / name).replace(out / name)


def program_of_pnnx() -> Path:
    """Return the converter that the package `pnnx` brings.

    Raises:
        RuntimeMissingError: it is not installed.
    """
    spec = find_spec("pnnx")  # imports nothing: the package itself would load torch
    places = (spec.submodule_search_locations if spec else None) or ()
    program = next((path for place in places if (path := Path(place) / "pnnx").is_file()), None)
    if program is None:
        raise RuntimeMissingError("pnnx, ncnn's converter, is not installed here: pip install pnnx")
    return program


def _trouble(args: list[str], folder: Path, log: Any) -> str | None:
    """Run the converter; return what went wrong, None if nothing did."""
    try:
        done = subprocess.run(
            args, cwd=folder, stdout=log, stderr=subprocess.STDOUT, timeout=TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired:
        return f"gave no answer in {TIMEOUT_S:.0f} s"
    except OSError as exc:
        return f"could not be started ({exc.strerror})"
    if done.returncode < 0:
        return f"crashed ({signal.Signals(-done.returncode).name})"
    return f"failed with exit status {done.returncode}" if done.returncode else None


def _prepare(source: Path, target: Path) -> None:
    """Write a copy in which each sum over axes is a mean times their size.

    pnnx 20261020 reads axes from attributes only: a ReduceSum, whose axes are an input, becomes one over no
    axis, without a word.
    """
    import onnx

    model = read_onnx(source, CompileError, weights=True)
    opset = next((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), 0)
    if _SUM_AXES_ARE_AN_INPUT <= opset < 18:
        _means_for_sums(model)
    onnx.save(model, target)


def _means_for_sums(model: Any) -> None:
    from onnx import TensorProto, helper, numpy_helper, shape_inference

    graph = model.graph
    constants = {tensor.name: tensor for tensor in graph.initializer}
    shapes = {
        value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in (*shape_inference.infer_shapes(model).graph.value_info, *graph.input)
    }
    for index, node in reversed(list(enumerate(graph.node))):
        if node.op_type != "ReduceSum" or len(node.input) < 2 or node.input[1] not in constants:
            continue
        axes = numpy_helper.to_array(constants[node.input[1]]).tolist()
        shape = shapes.get(node.input[0], [])
        if not shape or not all(shape[axis] for axis in axes):
            continue
        count = 1
        for axis in axes:
            count *= shape[axis]
        keep = next((entry.i for entry in node.attribute if entry.name == "keepdims"), 1)
        result, mean, factor = node.output[0], f"{node.output[0]}_mean", f"{node.output[0]}_count"
        graph.initializer.append(helper.make_tensor(factor, TensorProto.FLOAT, [1], [float(count)]))
        times = helper.make_node("Mul", [mean, factor], [result], name=f"{node.name}_times")
        averaged = helper.make_node(
            "ReduceMean", [node.input[0]], [mean], name=node.name, axes=axes, keepdims=keep
        )
        graph.node.remove(node)
        graph.node.insert(index, times)
        graph.node.insert(index, averaged)
