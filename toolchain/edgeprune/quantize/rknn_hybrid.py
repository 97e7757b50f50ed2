"""int8 for Rockchip's NPU: what its converter needs of a float network, cut where the decode begins.

The converter quantizes for one chip when the engine is compiled: activations S8 per tensor, weights S8 per
channel. A layer that the accuracy guard keeps computes in fp16, the vendor's hybrid quantization.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgeprune.backends.head_cut import split, tail_of
from edgeprune.core.artifact import Artifact
from edgeprune.core.errors import CompileError
from edgeprune.core.onnx_files import read_onnx
from edgeprune.images.preprocess import Preprocess, load_input
from edgeprune.quantize import CalibrationSet

PACKAGES: tuple[str, ...] = ()  # the pins of its environment stand in the key
FOLDER = "source"


def quantize(
    model: Artifact, scheme: str, calibration: CalibrationSet, float_nodes: Sequence[str], out: Path
) -> Artifact:
    """Write the folder `out/source`: `body.onnx`, `tail.onnx`, calibration images and `settings.json`.

    Args:
        float_nodes: names of nodes that stay in float. Those at the end of the graph are cut off, the others
            compute in fp16.

    Raises:
        CompileError: nothing would be left to quantize.
        DataError: an image cannot be read.
    """
    import onnx
    from PIL import Image

    network, floats = read_onnx(model.path, CompileError, weights=True), frozenset(float_nodes)
    body, tail = split(network, tail_of(network, lambda node: node.name in floats))
    if all(node.name in floats for node in body.graph.node):
        raise CompileError(f"{scheme}: quantization failed: no layer is left that may be int8")
    place = out / FOLDER
    (place / "images").mkdir(parents=True)
    onnx.save(body, place / "body.onnx")
    if tail:
        onnx.save(tail, place / "tail.onnx")
    for index, image in enumerate(calibration.images):
        pixels = to_pixels(load_input(image, calibration.spec)[0], calibration.spec)
        Image.fromarray(pixels[0]).save(place / "images" / f"{index:06}.png")
    mean, std = pixel_scale(calibration.spec)
    settings = {
        "mean": mean,
        "std": std,
        "floats": [name for node in body.graph.node if node.name in floats for name in node.output],
        "facts": {
            "image": network.graph.input[0].name,
            "input": [dim.dim_value for dim in network.graph.input[0].type.tensor_type.shape.dim],
            "mean": mean,
            "std": std,
            "border": [value.name for value in body.graph.output],
            "outputs": [value.name for value in network.graph.output],
            "tail": sorted(node.op_type for node in tail.graph.node if node.op_type != "Constant")
            if tail
            else [],
        },
    }
    (place / "settings.json").write_text(json.dumps(settings, indent=1) + "\n", encoding="utf-8")
    return Artifact.of(place, "onnx", "int8", model.sha256)


def pixel_scale(spec: Preprocess) -> tuple[list[float], list[float]]:
    """Return mean and deviation of each plane on the scale of pixels, 0 to 255."""
    mean, std = spec.mean or (0.0, 0.0, 0.0), spec.std or (1.0, 1.0, 1.0)
    return [value / spec.scale for value in mean], [value / spec.scale for value in std]


def to_pixels(tensor: npt.NDArray[np.float32], spec: Preprocess) -> npt.NDArray[np.uint8]:
    """Return the pixels, uint8 (n, H, W, 3), that an input (n, 3, H, W) was made from."""
    mean, std = (np.array(values, np.float32).reshape(3, 1, 1) for values in pixel_scale(spec))
    pixels = np.clip(np.rint(tensor * std + mean), 0, 255).astype(np.uint8)
    return np.ascontiguousarray(pixels.transpose(0, 2, 3, 1))
