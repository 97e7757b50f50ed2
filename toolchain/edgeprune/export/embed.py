"""Preprocessing and NMS inside the ONNX graph, as a file of its own beside the one that was measured.

``scale`` takes letterboxed images as they lie in memory: uint8 (n, height, width, 3), BGR as OpenCV has them.
``nms`` gives detections (n, 6) of x1, y1, x2, y2 in pixels of the input, score and class, most confident
first, by the spec's selection for deployment: ONNX's NonMaxSuppression suppresses within a class. Keypoints
and coefficients of masks follow in the same row; the prototypes of masks stay an output of their own.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edgeprune.backends import REFERENCE, get_backend
from edgeprune.config.recipe import EmbedPart
from edgeprune.config.targets import DeviceProfile
from edgeprune.core.errors import ConfigError
from edgeprune.core.onnx_files import read_onnx
from edgeprune.images.batches import in_batches
from edgeprune.images.pixels import by_plane
from edgeprune.images.postprocess import Postprocess, without_nms
from edgeprune.images.preprocess import Preprocess
from edgeprune.images.size import sides
from edgeprune.images.spec import Spec
from edgeprune.models import Predict

IMAGE, DETECTIONS = "image", "detections"
_NAME = "/edgeprune/"
_SUPPRESSED = ("raw", "masks", "keypoints")
"""Heads whose duplicates ONNX's NonMaxSuppression finds."""


def check(
    parts: Sequence[EmbedPart], post: Postprocess, profiles: Sequence[DeviceProfile], batch: int = 1
) -> None:
    """Refuse early what could not be embedded at the end of a build.

    Raises:
        ConfigError: ``nms`` for a head that needs none or whose boxes are rotated, or for several images; a
            target that does not get an ONNX file.
    """
    if "nms" in parts and batch > 1:
        raise ConfigError(
            f"export.embed: nms is for one image and the batch is {batch}: leave one of the two out"
        )
    if "nms" in parts and post.head == "rotated":
        raise ConfigError(
            "export.embed: ONNX's NonMaxSuppression knows no rotated boxes; leave nms out, and suppress in "
            "the application as docs/tasks.md shows"
        )
    if "nms" in parts and post.head not in _SUPPRESSED:
        raise ConfigError(f"export.embed: head {post.head!r} has no duplicates to suppress; leave nms out")
    others = [found.name for found in profiles if (found.backend, found.format) != (REFERENCE, "onnx")]
    if parts and others:
        raise ConfigError(f"export.embed: only ONNX Runtime takes such a file; leave out {', '.join(others)}")


def embed(model: Path, spec: Spec, parts: Sequence[EmbedPart], out: Path) -> Path:
    """Write `out`, the ONNX file `model` with the parts of its spec inside; it has to pass `check`."""
    network = read_onnx(model, weights=True)
    if "scale" in parts:
        _scale(network.graph, spec.preprocess)
    if "nms" in parts:
        _nms(network.graph, spec.postprocess)
    # The spec of the plain file would be wrong for this one.
    kept = {
        entry.key: entry.value for entry in network.metadata_props if not entry.key.startswith("edgeprune.")
    }
    helper.set_model_props(network, kept | {"edgeprune.embedded": ",".join(parts)})
    onnx.checker.check_model(network)
    onnx.save(network, out)
    return out


def predictor(embedded: Path, spec: Spec, parts: Sequence[EmbedPart]) -> tuple[Predict, Postprocess]:
    """Return an embedded file as a predictor on the plain file's inputs, and how its outputs are read."""
    session = in_batches(get_backend(REFERENCE).load(embedded, "fp32", 1, {}), spec.preprocess.batch)

    def predict(images: np.ndarray[Any, np.dtype[np.float32]]) -> list[np.ndarray[Any, Any]]:
        if "scale" in parts:
            images = _pixels(images, spec.preprocess)
        outputs = session(images)
        return [outputs[0][None], *outputs[1:]] if "nms" in parts else list(outputs)

    post = spec.postprocess
    return predict, without_nms(post) if "nms" in parts else post


def _pixels(tensor: np.ndarray[Any, np.dtype[np.float32]], spec: Preprocess) -> np.ndarray[Any, Any]:
    """Return the pictures that a tensor was made of: uint8 (n, height, width, 3), BGR."""
    if spec.std is not None:
        tensor = tensor * by_plane(spec.std)
    if spec.mean is not None:
        tensor = tensor + by_plane(spec.mean)
    planes = np.rint(tensor / np.float32(spec.scale)).astype(np.uint8)
    pixels = planes.transpose(0, 2, 3, 1)
    return np.ascontiguousarray(pixels[..., ::-1] if spec.colour == "RGB" else pixels)


def as_deployed(post: Postprocess) -> Postprocess:
    """Return a spec whose accuracy is that of a deployment: of the boxes that an application sees."""
    return replace(post, evaluation=post.deployment)


def _scale(graph: onnx.GraphProto, spec: Preprocess) -> None:
    """Put what turns a picture into an input before the network.

    Every step is done in float32, as `to_tensor` does it, so that the network sees the same bits.
    """
    steps: list[tuple[str, np.ndarray[Any, Any] | np.generic | None, str, dict[str, Any]]] = [
        ("Cast", None, "float", {"to": TensorProto.FLOAT}),
        ("Transpose", None, "planes", {"perm": [0, 3, 1, 2]}),
    ]
    if spec.colour == "RGB":
        steps.append(("Gather", np.array([2, 1, 0]), "coloured", {"axis": 1}))
    steps.append(("Div", np.float32(1 / spec.scale), "scaled", {}))
    if spec.mean is not None:
        steps.append(("Sub", by_plane(spec.mean), "centred", {}))
    if spec.std is not None:
        steps.append(("Div", by_plane(spec.std), "normalised", {}))
    tensor, nodes = IMAGE, []
    for kind, value, name, attributes in steps:
        inputs = [tensor] if value is None else [tensor, _constant(graph, f"{name}_by", value)]
        nodes.append(_node(kind, inputs, name, **attributes))
        tensor = f"{_NAME}{name}"
    nodes[-1].output[0] = graph.input[0].name
    for place, node in enumerate(nodes):
        graph.node.insert(place, node)
    del graph.input[0]
    shape = [spec.batch, *sides(spec.imgsz), 3]
    graph.input.insert(0, helper.make_tensor_value_info(IMAGE, TensorProto.UINT8, shape))


def _nms(graph: onnx.GraphProto, post: Postprocess) -> None:
    """Put NonMaxSuppression behind the network, and gather what it selects."""

    def constant(name: str, value: Any) -> str:
        return _constant(graph, name, np.asarray(value))

    def add(kind: str, inputs: Sequence[str], name: str, outputs: int = 1, **attributes: Any) -> str:
        graph.node.append(_node(kind, inputs, name, outputs, **attributes))
        return f"{_NAME}{name}"

    chosen_by = post.deployment
    assert chosen_by is not None
    limit = constant("limit", np.array([chosen_by.max_detections], np.int64))
    columns, *others = copy.deepcopy(list(graph.output))
    parts = [4, len(post.names), columns.type.tensor_type.shape.dim[1].dim_value - 4 - len(post.names)]
    parts = parts if parts[2] else parts[:2]
    add("Split", [columns.name, constant("sizes", np.array(parts, np.int64))], "boxes", len(parts), axis=1)
    scores = f"{_NAME}boxes1"
    if not chosen_by.multi_label:  # of a box only the score of its best class is left
        best = add("ArgMax", [scores], "class", axis=1, keepdims=1)
        classes = constant("classes", np.arange(len(post.names), dtype=np.int64)[None, :, None])
        is_best = add("Equal", [best, classes], "is_best")
        scores = add("Where", [is_best, scores, constant("none", np.float32(0))], "best_score")

    def rows(columns: str, name: str) -> str:
        """Turn (1, n, anchors) into (1, anchors, n)."""
        return add("Transpose", [columns], name, perm=[0, 2, 1])

    def taken(rows: str, name: str) -> str:
        """Take the rows of what NMS has selected, (selected, n)."""
        return add("Gather", [add("Squeeze", [rows, batch], f"{name}_flat"), anchor], name, axis=0)

    boxes, batch = rows(f"{_NAME}boxes", "rows"), constant("batch", np.array([0], np.int64))
    chosen = add(
        "NonMaxSuppression",
        [boxes, scores, limit, constant("iou", np.array([chosen_by.iou], np.float32)),
         constant("confidence", np.array([chosen_by.confidence], np.float32))],
        "selected",
        center_point_box=1,
    )  # fmt: skip
    score = add("GatherND", [scores, chosen], "score")
    add("Split", [chosen, constant("three", np.array([1, 1, 1], np.int64))], "index", 3, axis=1)
    label = add("Cast", [f"{_NAME}index1"], "label", to=TensorProto.FLOAT)
    anchor = add("Squeeze", [f"{_NAME}index2", constant("last", np.array([1], np.int64))], "anchor")
    add("Split", [taken(boxes, "kept"), constant("pair", np.array([2, 2], np.int64))], "centre", 2, axis=1)
    half = add("Div", [f"{_NAME}centre1", constant("two", np.float32(2))], "half")
    low = add("Sub", [f"{_NAME}centre", half], "low")
    high = add("Add", [f"{_NAME}centre", half], "high")
    column = add("Unsqueeze", [score, constant("tail", np.array([1], np.int64))], "column")
    behind = [taken(rows(f"{_NAME}boxes2", "extra_rows"), "extra")] if len(parts) > 2 else []
    every = add("Concat", [low, high, column, label, *behind], "every", axis=1)
    count = add("Min", [add("Shape", [score], "found"), limit], "count")
    add("TopK", [score, count], "best", 2, axis=0)
    graph.node.append(
        helper.make_node(
            "Gather", [every, f"{_NAME}best1"], [DETECTIONS], name=f"{_NAME}{DETECTIONS}", axis=0
        )
    )
    del graph.output[:]
    shape = ["n", 2 + sum(parts) - len(post.names)]
    graph.output.append(helper.make_tensor_value_info(DETECTIONS, TensorProto.FLOAT, shape))
    graph.output.extend(others)


def _node(kind: str, inputs: Sequence[str], name: str, outputs: int = 1, **attributes: Any) -> onnx.NodeProto:
    """Make a node whose outputs have its name, from the second on with their number."""
    made = [f"{_NAME}{name}{index or ''}" for index in range(outputs)]
    return helper.make_node(kind, list(inputs), made, name=f"{_NAME}{name}", **attributes)


def _constant(graph: onnx.GraphProto, name: str, value: np.ndarray[Any, Any] | np.generic) -> str:
    graph.initializer.append(numpy_helper.from_array(np.asarray(value), f"{_NAME}{name}/value"))
    return f"{_NAME}{name}/value"
