"""Make the engines that `edgeprune doctor` runs in LiteRT and ExecuTorch, with their real converters.

The model is that of `edgeprune.verify.probe`: a 1x1 convolution (8, 3) with ReLU over images of
(1, 3, 32, 32).

    edgeprune runtimes install litert && edgeprune runtimes install executorch
    python benchmarks/make_probes.py
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import numpy as np
import torch

from edgeprune.backends import executorch, litert
from edgeprune.converters.environments import SCRIPTS
from edgeprune.export.onnx import export_program
from edgeprune.images.preprocess import Preprocess
from edgeprune.verify.probe import MADE


def main() -> None:
    """Convert the model and put the engines where the probe finds them."""
    weight = np.random.default_rng(0).standard_normal((8, 3), dtype=np.float32)
    layer = torch.nn.Conv2d(3, 8, 1, bias=False)
    layer.weight = torch.nn.Parameter(torch.from_numpy(weight.reshape(8, 3, 1, 1)), requires_grad=False)
    module = torch.nn.Sequential(layer, torch.nn.ReLU()).eval()
    with tempfile.TemporaryDirectory() as folder:
        program = export_program(module, Preprocess(32), Path(folder))
        litert.convert(program, Path(folder) / "out" / MADE["litert"])
        executorch.convert(program, Path(folder) / "out" / MADE["executorch"])
        shutil.copytree(Path(folder) / "out", SCRIPTS, dirs_exist_ok=True)


if __name__ == "__main__":
    main()
