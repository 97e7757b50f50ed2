"""int8 as ncnn's own tools make it (ncnn2table, ncnn2int8), which its wheels do not have.

Weights are S8, symmetric, per output channel; activations S8, symmetric, per tensor. Scheme ``ncnn-minmax``
lets them reach to the largest magnitude that was seen; ``ncnn-kl`` clips where the KL divergence between the
histogram and its 128-level form is least (Migacz, "8-bit Inference with TensorRT", GTC 2017, in ncnn2table's
variant). Only convolutions and linear layers take integers; ncnn computes all else,
the decode of a detector among it, in float.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgeprune.backends import ncnn as backend
from edgeprune.backends.ncnn_files import FLOAT_TAG, INT8_TAG, INT8_TERM, Layer, read, write
from edgeprune.core.artifact import Artifact
from edgeprune.core.errors import CompileError
from edgeprune.core.onnx_files import read_onnx
from edgeprune.images.preprocess import load_input
from edgeprune.quantize import CalibrationSet

PACKAGES = ("onnx", "ncnn", "pnnx")
BINS, LEVELS = 2048, 128
_EPSILON = 1e-4  # ncnn2table's: keeps the divergence finite where one of the two is empty
# ncnn reads one scale a group of a depthwise layer (term 1), one an output channel of the others (term 2).
_TERMS = {"Convolution": 2, "ConvolutionDepthWise": 1, "InnerProduct": 2}

Floats = npt.NDArray[np.float32]


def quantize(
    model: Artifact, scheme: str, calibration: CalibrationSet, float_nodes: Sequence[str], out: Path
) -> Artifact:
    """Write the folder `out/engine` with an int8 network of ncnn.

    Args:
        float_nodes: names of the ONNX nodes that stay in float. pnnx drops the names, so layers are known
            by their weights; a layer that cannot be traced back to an ONNX node stays in float as well.

    Raises:
        CompileError: pnnx or ncnn failed, or no layer is left to quantize.
        RuntimeMissingError: ncnn or pnnx is not installed.
    """
    engine = out / backend.ENGINE
    backend.convert(model.path, engine)
    layers = read(engine)
    allowed = _weights_of(model.path, float_nodes)
    chosen = [layer for layer in layers if layer.kind in _TERMS and _digest(layer.weights[0]) in allowed]
    if not chosen:
        raise CompileError(f"{scheme}: quantization failed: no convolution is left that may be int8")
    blobs = [layer.inputs[0] for layer in chosen]
    limits = (thresholds if scheme == "ncnn-kl" else largest_magnitudes)(engine, blobs, calibration)
    int8 = {layer.name: quantize_layer(layer, 127 / limits[layer.inputs[0]]) for layer in chosen}
    with tempfile.TemporaryDirectory(dir=out) as folder:
        write([int8.get(layer.name, layer) for layer in layers], Path(folder))
        for file in Path(folder).iterdir():
            file.replace(engine / file.name)
    return Artifact.of(engine, "onnx", "int8", model.sha256)


def quantize_layer(layer: Layer, input_scale: float) -> Layer:
    """Return a float layer with int8 weights and its scales.

    A 3x3 convolution of stride 1 gets 6-bit weights: ncnn computes it by Winograd's F(4, 3) in int16, which
    8 bits overflow (ncnn2table does the same).

    Args:
        input_scale: integers a unit of the input.
    """
    bits = 31 if _by_winograd(layer) else 127
    rows = layer.integer(7) if layer.kind == "ConvolutionDepthWise" else layer.integer(0)
    weights = np.frombuffer(layer.weights[0], "<f4", offset=len(FLOAT_TAG)).reshape(rows, -1)
    largest = np.abs(weights).max(axis=1)
    scales = np.where(largest > 0, bits / np.where(largest > 0, largest, 1), 1).astype("<f4")
    integers = round_half_away(weights * scales[:, None]).tobytes()
    padding = bytes(-len(integers) % 4)
    return replace(
        layer,
        params=layer.params | {INT8_TERM: str(_TERMS[layer.kind])},
        weights=(
            INT8_TAG + integers + padding,
            *layer.weights[1:],
            scales.tobytes(),
            np.array([input_scale], "<f4").tobytes(),
        ),
    )


def round_half_away(values: npt.NDArray[Any]) -> npt.NDArray[np.int8]:
    """Round half away from zero and clip to [-127, 127], as ncnn's `float2int8` does."""
    integers: npt.NDArray[np.int8] = np.clip(np.trunc(values + np.copysign(0.5, values)), -127, 127).astype(
        np.int8
    )
    return integers


def _by_winograd(layer: Layer) -> bool:
    n = layer.integer
    return (
        layer.kind == "Convolution"
        and (n(1), n(11, n(1))) == (3, 3)
        and (n(2, 1), n(12, n(2, 1))) == (1, 1)
        and (n(3, 1), n(13, n(3, 1))) == (1, 1)
    )


def largest_magnitudes(engine: Path, blobs: Sequence[str], calibration: CalibrationSet) -> dict[str, float]:
    """Return the largest magnitude of each blob over the images, 1 where nothing but zeros was seen.

    Raises:
        CompileError: a blob holds NaN or infinite values.
    """
    largest = dict.fromkeys(blobs, 0.0)
    for name, values in _activations(engine, blobs, calibration):
        magnitude = float(values.max(initial=0))
        if not np.isfinite(magnitude):
            raise CompileError(f"{engine}: blob {name} holds NaN or infinite values")
        largest[name] = max(largest[name], magnitude)
    return {name: magnitude or 1.0 for name, magnitude in largest.items()}


def thresholds(engine: Path, blobs: Sequence[str], calibration: CalibrationSet) -> dict[str, float]:
    """Return the magnitude that each blob is clipped at, by KL divergence, in two passes over the images.

    One reads the largest magnitude, one fills a histogram of 2,048 bins, so memory does not grow with
    the images.

    Raises:
        CompileError: a blob holds NaN or infinite values.
    """
    largest = largest_magnitudes(engine, blobs, calibration)
    histograms = {name: np.zeros(BINS, np.int64) for name in blobs}
    for name, values in _activations(engine, blobs, calibration):
        histograms[name] += histogram(values, largest[name])
    return {name: threshold(histograms[name], largest[name]) for name in blobs}


def _activations(
    engine: Path, blobs: Sequence[str], calibration: CalibrationSet
) -> Iterator[tuple[str, Floats]]:
    """Yield name and magnitudes of every blob for every image; ncnn frees a blob once it is consumed."""
    net = backend.network(engine, "fp32", 1, {})
    mat = backend.import_ncnn().Mat
    for image in calibration.images:
        extractor = net.create_extractor()
        tensor, _ = load_input(image, calibration.spec)  # named: a Mat keeps no reference to its array
        extractor.input(net.input_names()[0], mat(tensor[0]).clone())
        for name in blobs:  # in the order of the graph, so that nothing is computed twice
            yield name, np.abs(np.array(extractor.extract(name)[1], dtype=np.float32)).ravel()


def histogram(magnitudes: Floats, largest: float) -> npt.NDArray[np.int64]:
    """Count magnitudes in 2,048 equal bins of [0, largest], zeros left out: they cost nothing."""
    if largest == 0:
        return np.zeros(BINS, np.int64)
    bins = np.minimum(magnitudes[magnitudes > 0] * (BINS / largest), BINS - 1).astype(np.int32)
    return np.bincount(bins, minlength=BINS)


def threshold(counts: npt.NDArray[np.int64], largest: float) -> float:
    """Return the magnitude to clip at: that with the least KL divergence from the histogram.

    For each candidate the histogram up to it, what lies above added to the last bin, is compared with its
    mean over 128 equal stretches.

    Args:
        counts: (2048,) as `histogram` makes them.
        largest: upper end of the last bin.

    Returns:
        A value in (0, largest]; 1 where nothing but zeros was seen.
    """
    total = int(counts.sum())
    if total == 0 or largest == 0:
        return 1.0
    share = counts / total
    cumulated = np.concatenate([[0.0], np.cumsum(share)])
    edges = np.arange(BINS + 1)
    best, least = BINS, np.inf
    for end in range(LEVELS, BINS):
        clipped = share[:end] + _EPSILON
        clipped[-1] += cumulated[-1] - cumulated[end]
        # Both the mean over a stretch that cuts a bin and its way back are straight lines through the
        # cumulated histogram.
        knots = np.linspace(0, end, LEVELS + 1)
        flat = np.diff(np.interp(edges[: end + 1], knots, np.interp(knots, edges, cumulated))) + _EPSILON
        divergence = float((clipped * np.log(clipped / flat)).sum())
        if divergence < least:
            best, least = end, divergence
    return float((min(best + 0.5, BINS)) * largest / BINS)


def _weights_of(onnx_file: Path, float_nodes: Sequence[str]) -> set[str]:
    """Return digests of the weights that may become int8; those that a float node shares may not."""
    from onnx import numpy_helper

    graph = read_onnx(onnx_file, weights=True).graph
    constants = {tensor.name: tensor for tensor in graph.initializer}
    free: set[str] = set()
    kept: set[str] = set()
    for node in graph.node:
        if node.op_type not in ("Conv", "Gemm", "MatMul") or len(node.input) < 2:
            continue
        if node.input[1] not in constants:
            continue
        weights = np.ascontiguousarray(numpy_helper.to_array(constants[node.input[1]]), "<f4")
        turned = weights.T if weights.ndim == 2 else weights  # a linear layer may lie either way
        digests = {_digest(FLOAT_TAG + array.tobytes()) for array in (weights, turned)}
        (kept if node.name in float_nodes else free).update(digests)
    return free - kept


def _digest(weights: bytes) -> str:
    return hashlib.sha256(weights).hexdigest()
