"""int8 post-training quantisation, in the scheme that each runtime runs fast: one literal table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Protocol, cast

from edgeprune.artifact import Artifact
from edgeprune.models import ModelAdapter
from edgeprune.preprocess import Preprocess

SCHEMES: dict[str, str] = {
    "ort-u8s8": "edgeprune.quantize.qdq",
    "ort-s8s8": "edgeprune.quantize.qdq",
    "trt-s8s8": "edgeprune.quantize.qdq",
    "nncf": "edgeprune.quantize.nncf_openvino",
    "ncnn-minmax": "edgeprune.quantize.ncnn_int8",
    "ncnn-kl": "edgeprune.quantize.ncnn_int8",
}
"""The module of each scheme; what the schemes of one module differ in stands in its own table."""


@dataclass(frozen=True)
class CalibrationSet:
    """The images that activation ranges are read from, and how they become inputs."""

    images: tuple[Path, ...]
    spec: Preprocess


class Quantizer(Protocol):
    """What each module of this package offers."""

    def quantize(
        self, model: Artifact, scheme: str, calibration: CalibrationSet, float_nodes: Sequence[str], out: Path
    ) -> Artifact:
        """Write the int8 twin of a float32 ONNX artifact into the folder `out`."""
        ...


def quantize(
    model: Artifact,
    scheme: str,
    calibration: CalibrationSet,
    adapter: ModelAdapter,
    out: Path,
    keep: Sequence[str] = (),
) -> Artifact:
    """Quantise a float32 ONNX artifact in a scheme.

    Args:
        keep: names of nodes that stay in float beside those that the adapter names.
    """
    import onnx

    names = [node.name for node in onnx.load(model.path, load_external_data=False).graph.node]
    module = cast(Quantizer, import_module(SCHEMES[scheme]))
    float_nodes = list(dict.fromkeys([*adapter.float_nodes(names), *keep]))
    return module.quantize(model, scheme, calibration, float_nodes, out)
