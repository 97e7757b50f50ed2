"""int8 for LiteRT and ExecuTorch: their own quantizers, run by their converters in isolated environments."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from edgeprune.backends import all_backends
from edgeprune.converters.environments import convert_program
from edgeprune.core.artifact import Artifact
from edgeprune.core.documents import read_record
from edgeprune.core.errors import OutputError
from edgeprune.images.answers import load_batches
from edgeprune.quantize import CalibrationSet

PACKAGES: tuple[str, ...] = ()  # the pins of its environment stand in the key
NODES = "nodes.json"


def node_names(program: Artifact) -> dict[str, str]:
    """Return the nodes of an exported program by the names that they would have in an ONNX file."""
    return read_record(dict[str, str], program.path / NODES, OutputError)


def quantize(
    model: Artifact, scheme: str, calibration: CalibrationSet, float_nodes: Sequence[str], out: Path
) -> Artifact:
    """Write the int8 engine of an exported program into `out`, by its runtime's own quantizer.

    Activations become S8 per tensor, weights S8 per channel.

    Args:
        float_nodes: names of nodes that stay in float, of those that `node_names` gives.

    Raises:
        CompileError: the converter failed; the message names its log.
        RuntimeMissingError: its environment is not installed.
    """
    backend = next(one for one in all_backends() if scheme in one.SCHEMES)
    names = node_names(model)
    engine = out / backend.ENGINE
    with tempfile.TemporaryDirectory(dir=out) as folder:
        keep, inputs = Path(folder) / "keep.json", Path(folder) / "inputs"
        keep.write_text(json.dumps([names[node] for node in float_nodes if node in names]), encoding="utf-8")
        inputs.mkdir()
        # One file an input: the converter reads one at a time, so memory does not grow with their number.
        for index, tensor in enumerate(load_batches(calibration.images, calibration.spec)):
            np.save(inputs / f"{index:06}.npy", tensor)
        convert_program(backend.name, model, engine, ["--inputs", str(inputs), "--keep", str(keep)])
    return Artifact.of(engine, "engine", "int8", model.sha256)
