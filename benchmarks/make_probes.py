"""Make the model that `edgeprune doctor` runs, and its engines for LiteRT and ExecuTorch by their converters.

The model is a 1x1 convolution (8, 3) with ReLU over images of
(1, 3, 32, 32).

    edgeprune runtimes install litert && edgeprune runtimes install executorch
    python benchmarks/make_probes.py
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from onnx import TensorProto, checker, helper, save

from edgeprune.backends import get_backend
from edgeprune.converters.environments import SCRIPTS, convert_program
from edgeprune.export.onnx import export_program
from edgeprune.images.preprocess import Preprocess
from edgeprune.verify.probe import MODEL


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


def main() -> None:
    """Write the model, convert it, and put all where the probe finds it."""
    write_model(MODEL)
    layer = torch.nn.Conv2d(3, 8, 1, bias=False)
    layer.weight = torch.nn.Parameter(torch.from_numpy(weights()), requires_grad=False)
    module = torch.nn.Sequential(layer, torch.nn.ReLU()).eval()
    with tempfile.TemporaryDirectory() as folder:
        program = export_program(module, Preprocess(32), Path(folder))
        for name in ("litert", "executorch"):
            convert_program(name, program, Path(folder) / "out" / get_backend(name).PROBE)
        shutil.copytree(Path(folder) / "out", SCRIPTS, dirs_exist_ok=True)


if __name__ == "__main__":
    main()
