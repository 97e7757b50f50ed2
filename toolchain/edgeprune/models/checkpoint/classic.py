"""What a checkpoint of the classic YOLOv5 repository tells of its network, in the places that ours has it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgeprune.models.anchor_loss import usual_gains
from edgeprune.models.checkpoint.fields import ANCHORED

_USUAL_LEVELS, _USUAL_SIZE = 3, 640
_AS_GIVEN = (
    "hsv_h", "hsv_s", "hsv_v", "degrees", "translate", "scale", "shear", "perspective", "flipud", "fliplr",
    "mixup", "copy_paste",
)  # fmt: skip
"""Augmentations whose names and numbers ultralytics took over."""


def is_by_yolov5(root: Any, network: str) -> bool:
    """Tell whether a checkpoint was written by that repository: ours has the arguments of its training."""
    return network == ANCHORED and isinstance(root, Mapping) and root.get("train_args") is None


def told_by_yolov5(state: Mapping[str, Any], root: Mapping[Any, Any]) -> dict[str, Any]:
    """Gather what `NetworkRecord` checks from the network's own attributes and the options of its training.

    The gains of the loss are in the network's `hyp`, scaled already. A network without them has the usual
    ones.
    """
    options, hyp = _mapping(root.get("opt")), _mapping(state.get("hyp"))
    config = dict(_mapping(state.get("yaml")))
    name = state.get("yaml_file")
    if isinstance(name, str):
        config["yaml_file"] = name
    imgsz = options.get("imgsz", options.get("img_size"))
    args = {key: hyp[key] for key in _AS_GIVEN if key in hyp}
    return {
        "names": state.get("names"),
        "config": config,
        "args": args | {"task": "detect", "imgsz": imgsz},
        "gains": hyp or _usual(config, imgsz),
    }


def _usual(config: Mapping[str, Any], imgsz: Any) -> dict[str, float]:
    classes = config.get("nc")
    size = imgsz if type(imgsz) is int else _USUAL_SIZE
    return usual_gains(classes if type(classes) is int else 1, _USUAL_LEVELS, size).model_dump()


def _mapping(value: Any) -> Mapping[Any, Any]:
    return value if isinstance(value, Mapping) else {}
