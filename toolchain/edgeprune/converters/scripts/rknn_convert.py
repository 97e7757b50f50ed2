"""An ONNX network to `model.rknn` for one Rockchip chip, and Rockchip's simulator of it as a process.

Runs in the isolated environment `rknn` and imports nothing of edgeprune. `build` quantizes and compiles, in
two steps of the vendor's hybrid quantization: what stays after the first is what the simulator is made from
again, without the images. `simulate` answers arrays on its standard input with arrays on its standard output.
`prove` converts and runs a tiny network.
"""

from __future__ import annotations

import argparse
import ctypes
import io
import json
import os
import re
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from rknn.api import RKNN
from ruamel.yaml import YAML

SIMULATOR, MODEL, FACTS = "simulator", "model.rknn", "facts.json"
_NAMES = ("body.model", "body.data", "body.quantization.cfg")
FUSES_ATTENTION = "fuse_exmatmul_add_mul_exsoftmax13_exmatmul_to_sdpa"
"""A rule of the vendor's optimiser that fails on the attention of YOLO11 and YOLO26 (2.5.0: IndexError)."""
NOTHING_CHOSEN = "custom_quantize_layers: {}"
"""The line of the first step's configuration that names the layers of another type."""
# A line of the compiler's table: number, operator, data type, processor.
_PLACED = re.compile(r"D RKNN: \[[\d:.]+\]\s+\d+\s+(\w+)\s+\w+\s+(NPU|CPU|GPU)\s")
_NO_OPERATORS = ("InputOperator", "OutputOperator")


def main() -> None:
    """Do what the command line asks for."""
    parser = argparse.ArgumentParser()
    parser.add_argument("do", choices=["build", "simulate", "prove"])
    parser.add_argument("engine", type=Path, nargs="?", help="folder with the engine's files")
    parser.add_argument("--source", type=Path, help="folder with body.onnx, images and settings.json")
    parser.add_argument("--chip")
    args = parser.parse_args()
    if args.do == "prove":
        prove()
    elif args.do == "build":
        build(args.source.resolve(), args.engine.resolve(), args.chip)
    else:
        simulate(args.engine.resolve())


def build(source: Path, engine: Path, chip: str) -> None:
    """Write `model.rknn`, `facts.json` of where its operators run, and what the simulator needs."""
    settings = json.loads((source / "settings.json").read_text(encoding="utf-8"))
    place = engine / SIMULATOR
    place.mkdir(parents=True, exist_ok=True)
    os.chdir(place)
    listed = place / "images.txt"
    listed.write_text("".join(f"{file}\n" for file in sorted((source / "images").iterdir())))
    first = RKNN(verbose=False)
    scale = {"mean_values": [settings["mean"]], "std_values": [settings["std"]]}
    require(first.config(target_platform=chip, disable_rules=[FUSES_ATTENTION], **scale), "config")
    require(first.load_onnx(model=str(source / "body.onnx")), "load_onnx")
    require(first.hybrid_quantization_step1(dataset=str(listed), proposal=False), "quantization")
    first.release()
    listed.unlink()
    keep_in_float(place / _NAMES[2], settings["floats"])
    second = RKNN(verbose=True)
    with printed_to(place / "compile.log") as log:
        require(compose(second, place), "compilation")
        require(second.export_rknn(str(engine / MODEL)), "export")
    second.release()
    told = log.read_text(encoding="utf-8", errors="replace")
    print(told)
    log.unlink()
    (engine / FACTS).write_text(json.dumps(settings["facts"] | {"chip": chip} | placed(told)) + "\n")


@contextmanager
def printed_to(path: Path) -> Iterator[Path]:
    """Send what is printed, by the compiler's own C++ too, to a file."""
    sys.stdout.flush()
    kept = os.dup(1)
    with path.open("wb") as file:
        os.dup2(file.fileno(), 1)
    try:
        yield path
    finally:
        sys.stdout.flush()
        ctypes.CDLL(None).fflush(None)
        os.dup2(kept, 1)
        os.close(kept)


def keep_in_float(config: Path, tensors: list[str]) -> None:
    """Let the layers that write some tensors compute in fp16, as far as the vendor's optimiser kept them."""
    text = config.read_text(encoding="utf-8")
    if text.count(NOTHING_CHOSEN) != 1:
        raise SystemExit(f"RKNN: no line {NOTHING_CHOSEN!r} is in {config.name}")
    known = YAML(typ="safe").load(text)["quantize_parameters"]
    chosen = {name: "float16" for name in tensors if name in known}
    # The rest stays byte for byte: step two refuses a number whose last digit is another.
    line = f"{NOTHING_CHOSEN.removesuffix('{}')}{json.dumps(chosen)}"
    config.write_text(text.replace(NOTHING_CHOSEN, line), encoding="utf-8")


def compose(rknn: Any, place: Path) -> Any:
    """Make the quantized network from the files of the first step."""
    model, data, config = (str(place / name) for name in _NAMES)
    return rknn.hybrid_quantization_step2(model_input=model, data_input=data, model_quantization_cfg=config)


def placed(log: str) -> dict[str, Any]:
    """Count the operators on the NPU, and those on another processor by kind."""
    found = [pair for pair in _PLACED.findall(log) if pair[0] not in _NO_OPERATORS]
    left = Counter(kind for kind, processor in found if processor != "NPU")
    return {"taken": len(found) - left.total(), "operators": len(found), "left": dict(left)}


def simulate(engine: Path) -> None:
    """Answer each image (1, H, W, 3), uint8, with the outputs of the network, until the input ends."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # the vendor's library prints
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        rknn = RKNN(verbose=False)
        require(compose(rknn, engine / SIMULATOR), "compilation")
        require(rknn.init_runtime(), "simulator")
        write(answers, [])  # it is there
        while (images := read(sys.stdin.buffer)) is not None:
            write(answers, rknn.inference(inputs=images, data_format=["nhwc"]))


def prove() -> None:
    """Convert a network of one convolution and run it in the simulator: the vendor's imports come late."""
    names = {"inputs": ["images", "weight"], "outputs": ["found"]}
    graph = helper.make_graph(
        [helper.make_node("Conv", **names)],
        "proof",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, 8, 8])],
        [helper.make_tensor_value_info("found", TensorProto.FLOAT, [1, 8, 8, 8])],
        [numpy_helper.from_array(np.ones((8, 3, 1, 1), np.float32), "weight")],
    )
    opset = [helper.make_opsetid("", 17)]
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), "proof.onnx")
        rknn = RKNN(verbose=False)
        require(rknn.config(target_platform="rk3588"), "config")
        require(rknn.load_onnx(model="proof.onnx"), "load_onnx")
        require(rknn.build(do_quantization=False), "compilation")
        require(rknn.init_runtime(), "simulator")
        (found,) = rknn.inference(inputs=[np.ones((1, 8, 8, 3), np.float32)], data_format=["nhwc"])
        if not np.allclose(found, 3, atol=0.01):
            raise SystemExit("RKNN: the simulator computes a convolution wrongly")


def read(stream: BinaryIO) -> list[Any] | None:
    """Read arrays: the number of bytes in eight, then a `.npz`; None at the end of the stream."""
    size = stream.read(8)
    if len(size) < 8:
        return None
    with np.load(io.BytesIO(stream.read(int.from_bytes(size, "little")))) as stored:
        return [stored[name] for name in stored.files]


def write(stream: BinaryIO, arrays: list[Any]) -> None:
    """Write arrays as `read` reads them."""
    packed = io.BytesIO()
    np.savez(packed, *arrays)
    stream.write(packed.getbuffer().nbytes.to_bytes(8, "little") + packed.getvalue())
    stream.flush()


def require(code: Any, what: str) -> None:
    """End with a message where the vendor's library returned a failure."""
    if code != 0:
        raise SystemExit(f"RKNN: {what} failed with code {code}")


if __name__ == "__main__":
    main()
