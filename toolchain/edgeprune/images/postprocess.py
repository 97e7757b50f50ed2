"""Decoding as data: how a network's outputs become detections or classes, the twin of `images/preprocess.py`.

What each head means, and how outputs of two runs are compared, is in `images/heads/`. Which boxes count is
another matter for a validator, which needs the whole curve of mAP, than for an application: both are told,
each by its name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, ConfigDict, Field

from edgeprune.images.heads import HEADS

Boxes = Literal["xywh", "xyxy"]

DEPLOYED = 0.25
"""The confidence of a deployment: what ultralytics' `predict` asks for."""


def _require_head(name: str) -> str:
    if name not in HEADS:
        raise ValueError(f"{name!r} is not one of {', '.join(HEADS)}")
    return name


@dataclass(frozen=True)
class Selection:
    """Which of the boxes that a network gives are its detections.

    Attributes:
        confidence: detections of at most this score are dropped.
        iou: of two boxes of one class that overlap by more, the less confident one is dropped (greedy NMS);
            None where no NMS follows.
        max_detections: so many are kept of an image, the most confident ones.
        multi_label: whether a column counts once for each class above `confidence`, or for its best one only.
    """

    __pydantic_config__: ClassVar = ConfigDict(extra="forbid")

    confidence: Annotated[float, Field(ge=0, lt=1)]
    iou: Annotated[float, Field(gt=0, le=1)] | None = None
    max_detections: Annotated[int, Field(ge=1)] | None = None
    multi_label: bool = False


@dataclass(frozen=True)
class Postprocess:
    """How the outputs of a network are read.

    Boxes are in pixels of the network's input. Where the image lies in it follows from `Preprocess`; a
    coordinate of the image is ``(x - left) * image_width / width``, with the `Placement` of the letterbox.

    Attributes:
        task: what the network is for, in the word of its framework, such as ``detect``.
        head: ``raw`` is (1, 4 + classes, anchors), a box and a score for each class in a column; ``end2end``
            is (1, detections, 6) of box, score and class, free of duplicates; ``masks``, ``keypoints`` and
            ``rotated`` are raw heads whose columns go on behind the scores, with ``-end2end`` their rows
            behind the class; ``scores`` is (1, classes); ``values`` are read as they are.
        names: of the classes, in the order of the output.
        boxes: centre and size, or two corners; None where there are none.
        activated: whether the scores are probabilities already, so that no sigmoid or softmax follows.
        evaluation: what the accuracy is measured with, as ultralytics' validator does; None where there are
            no boxes.
        deployment: what an application goes by, as ultralytics' `predict` does; None with the other.
        keypoints: how many an object has, and how many numbers each: 2 are x and y, 3 are x, y and how surely
            it is seen; None without keypoints.
    """

    __pydantic_config__: ClassVar = ConfigDict(extra="forbid")

    task: str
    head: Annotated[str, AfterValidator(_require_head)]
    names: tuple[str, ...]
    boxes: Boxes | None = None
    activated: bool = True
    evaluation: Selection | None = None
    deployment: Selection | None = None
    keypoints: tuple[int, int] | None = None

    @property
    def end2end(self) -> bool:
        """Whether its detections are free of duplicates as they come."""
        return self.head.endswith("end2end")

    def told(self) -> dict[str, Any]:
        """Return it as JSON has it: the shape of keypoints only where there are any."""
        return {key: value for key, value in asdict(self).items() if key != "keypoints" or value is not None}


def detector(names: tuple[str, ...], end2end: bool) -> Postprocess:
    """Return the spec of a detector: boxes and scores of all anchors, or detections that need no NMS."""
    most = 300
    if end2end:
        validated, deployed = (Selection(least, max_detections=most) for least in (0.001, DEPLOYED))
        return Postprocess("detect", "end2end", names, "xyxy", True, validated, deployed)
    validated = Selection(0.001, 0.7, most, multi_label=True)
    return Postprocess("detect", "raw", names, "xywh", True, validated, Selection(DEPLOYED, 0.7, most))


def without_nms(post: Postprocess) -> Postprocess:
    """Return the spec of the same detections when NMS has been done: rows without duplicates, two corners."""
    head = "end2end" if post.head == "raw" else f"{post.head}-end2end"
    plain = detector(post.names, end2end=True)
    return replace(
        post, head=head, boxes=plain.boxes, evaluation=plain.evaluation, deployment=plain.deployment
    )


def segmenter(names: tuple[str, ...], end2end: bool) -> Postprocess:
    """Return the spec of instance segmentation: a detector's, with coefficients, and prototypes of masks."""
    return _of_task(detector(names, end2end), "segment", "masks")


def pose_estimator(names: tuple[str, ...], keypoints: tuple[int, int], end2end: bool) -> Postprocess:
    """Return the spec of pose estimation: a detector's, with the keypoints of each box."""
    return replace(_of_task(detector(names, end2end), "pose", "keypoints"), keypoints=keypoints)


def rotated_detector(names: tuple[str, ...], end2end: bool) -> Postprocess:
    """Return the spec of rotated boxes: centre and size, also without NMS, with an angle behind."""
    return replace(_of_task(detector(names, end2end), "obb", "rotated"), boxes="xywh")


def _of_task(plain: Postprocess, task: str, head: str) -> Postprocess:
    return replace(plain, task=task, head=f"{head}-end2end" if plain.end2end else head)


def classifier(names: tuple[str, ...], activated: bool = True) -> Postprocess:
    """Return the spec of a classifier that gives probabilities, or logits where it is not activated."""
    return Postprocess("classify", "scores", names, activated=activated)


def values(task: str, names: tuple[str, ...] = ()) -> Postprocess:
    """Return the spec of outputs that an application reads as they are."""
    return Postprocess(task, "values", names, activated=False)


def with_names(data: Mapping[str, Any]) -> dict[str, Any]:
    """Return a postprocess as JSON has it with both selections by their names.

    The first form held the evaluation's alone, its keys beside the others. A deployment of such a file takes
    the best class of a box, above `DEPLOYED`, and suppresses as the evaluation does.
    """
    keys = {field.name for field in fields(Selection)}
    flat = {key: value for key, value in data.items() if key in keys}
    rest = {key: value for key, value in data.items() if key not in keys}
    if not flat or "evaluation" in data or "deployment" in data:
        return dict(data)
    if flat.get("confidence") is None:  # of a classifier
        return rest
    return rest | {"evaluation": flat, "deployment": flat | {"confidence": DEPLOYED, "multi_label": False}}
