"""Decoding as data: how a network's outputs become detections or classes, the twin of `preprocess.py`.

The arithmetic is that of ultralytics' `non_max_suppression`, and the thresholds are those of its validator. A
deployment raises `confidence`; all else should stay as the accuracy was measured.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from pydantic import ConfigDict, Field

Head = Literal["raw", "end2end", "scores"]
Boxes = Literal["xywh", "xyxy"]


@dataclass(frozen=True)
class Postprocess:
    """How the first output of a network is read.

    Boxes are in pixels of the network's input. Where the image lies in it follows from `Preprocess`; a
    coordinate of the image is ``(x - left) * image_width / width``, with the `Placement` of the letterbox.

    Attributes:
        task: ``detect`` or ``classify``.
        head: ``raw`` is (1, 4 + classes, anchors), a box and a score for each class in a column; ``end2end``
            is (1, detections, 6) of box, score and class, free of duplicates; ``scores`` is (1, classes).
        names: of the classes, in the order of the output.
        boxes: centre and size, or two corners; None where there are none.
        activated: whether the scores are probabilities already, so that no sigmoid or softmax follows.
        confidence: detections of at most this score are dropped.
        iou: of two boxes of one class that overlap by more, the less confident one is dropped (greedy NMS);
            None where no NMS follows.
        max_detections: so many are kept of an image, the most confident ones.
        multi_label: whether a column counts once for each class above `confidence`, or for its best one only.
    """

    __pydantic_config__: ClassVar = ConfigDict(extra="forbid")

    task: Literal["detect", "classify"]
    head: Head
    names: tuple[str, ...]
    boxes: Boxes | None = None
    activated: bool = True
    confidence: Annotated[float, Field(ge=0, lt=1)] | None = None
    iou: Annotated[float, Field(gt=0, le=1)] | None = None
    max_detections: Annotated[int, Field(ge=1)] | None = None
    multi_label: bool = False


def detector(names: tuple[str, ...], end2end: bool) -> Postprocess:
    """Return the spec of a detector: boxes and scores of all anchors, or detections that need no NMS."""
    if end2end:
        return Postprocess("detect", "end2end", names, "xyxy", confidence=0.001, max_detections=300)
    return Postprocess(
        "detect", "raw", names, "xywh", confidence=0.001, iou=0.7, max_detections=300, multi_label=True
    )


def classifier(names: tuple[str, ...]) -> Postprocess:
    """Return the spec of a classifier that gives probabilities."""
    return Postprocess("classify", "scores", names)
