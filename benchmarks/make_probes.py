"""Make the model that `edgeprune doctor` runs, and its engines for runtimes whose converters may be missing.

The model is a 1x1 convolution (8, 3) with ReLU over images of
(1, 3, 32, 32).

    for name in litert executorch rknn; do edgeprune runtimes install $name; done
    pip install 'edgeprune[qnn]'
    python benchmarks/make_probes.py [NAME...]
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from onnx import TensorProto, checker, helper, save
from PIL import Image

from edgeprune.backends import get_backend, options_for
from edgeprune.config.targets import shipped_profiles
from edgeprune.converters.environments import SCRIPTS, convert_program
from edgeprune.core.artifact import Artifact
from edgeprune.export.onnx import export_program
from edgeprune.images.preprocess import Preprocess
from edgeprune.quantize import CalibrationSet, quantize
from edgeprune.verify.probe import MODEL

PROGRAMS, INT8 = ("litert", "executorch"), ("qnn", "rknn")


def weights() -> npt.NDArray[np.float32]:
    """Return the weights of the convolution, (8, 3, 1, 1)."""
    return np.random.default_rng(0).standard_normal((8, 3), dtype=np.float32).reshape(8, 3, 1, 1)


def write_model(path: Path) -> None:
    """Write a 1x1 convolution (8, 3) with ReLU over images of (1, 3, 32, 32) as ONNX, opset 17."""
    kernel = helper.make_tensor("weight", TensorProto.FLOAT, (8, 3, 1, 1), weights().tobytes(), raw=True)
    nodes = [
        helper.make_node("Conv", ["images", "weight"], ["hidden"]),
        helper.make_node("Relu", ["hidden"], ["output0"]),
    ]
    image = helper.make_tensor_value_info("images", TensorProto.FLOAT, (1, 3, 32, 32))
    output = helper.make_tensor_value_info("output0", TensorProto.FLOAT, (1, 8, 32, 32))
    graph = helper.make_graph(nodes, "probe", [image], [output], [kernel])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    checker.check_model(model)
    save(model, path)


def write_programs(folder: Path, names: Sequence[str]) -> None:
    """Convert the model by the converters of PyTorch's programs."""
    layer = torch.nn.Conv2d(3, 8, 1, bias=False)
    layer.weight = torch.nn.Parameter(torch.from_numpy(weights()), requires_grad=False)
    module = torch.nn.Sequential(layer, torch.nn.ReLU()).eval()
    program = export_program(module, Preprocess(32), folder)
    for name in names:
        convert_program(name, program, folder / "out" / get_backend(name).PROBE)


def write_int8(folder: Path, names: Sequence[str]) -> None:
    """Quantize the model and compile it for the NPUs, whose engines are int8."""
    images = np.random.default_rng(0).integers(0, 256, (8, 32, 32, 3), dtype=np.uint8)
    paths = tuple(folder / f"{index}.png" for index in range(len(images)))
    for path, pixels in zip(paths, images, strict=True):
        Image.fromarray(pixels).save(path)
    for name in names:
        backend = get_backend(name)
        (scheme, *_), place = backend.SCHEMES, folder / name
        (place / "int8").mkdir(parents=True)
        model = Artifact.of(MODEL, "onnx", "fp32")
        int8 = quantize(model, scheme, CalibrationSet(paths, Preprocess(32)), None, place / "int8")
        fit = next(profile for profile in shipped_profiles() if profile.backend == name)
        engine = backend.compile(int8, "int8", options_for(fit, "int8"), place / "engine").path
        copy = shutil.copytree if engine.is_dir() else shutil.copyfile
        copy(engine, folder / "out" / backend.PROBE)


def main() -> None:
    """Write the model, convert it, and put all where the probe finds it."""
    names = sys.argv[1:] or [*PROGRAMS, *INT8]
    write_model(MODEL)
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        (folder / "out").mkdir()
        write_programs(folder, [name for name in names if name in PROGRAMS])
        write_int8(folder, [name for name in names if name in INT8])
        shutil.copytree(folder / "out", SCRIPTS, dirs_exist_ok=True)


if __name__ == "__main__":
    main()
