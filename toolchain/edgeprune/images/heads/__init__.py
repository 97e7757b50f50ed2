"""How each kind of output is read, by the name of its head in a spec: one module a kind, one line here.

numpy alone: these files travel to the device with the worker.
"""

from __future__ import annotations

from edgeprune.images.heads import classes, detections, keypoints, masks, rotated, values
from edgeprune.images.heads.kind import Difference, Head, Shared

__all__ = ["HEADS", "Difference", "Head", "Shared"]

HEADS: dict[str, Head] = {
    "raw": detections.RAW,
    "end2end": detections.END2END,
    "masks": masks.RAW,
    "masks-end2end": masks.END2END,
    "keypoints": keypoints.RAW,
    "keypoints-end2end": keypoints.END2END,
    "rotated": rotated.RAW,
    "rotated-end2end": rotated.END2END,
    "scores": classes.HEAD,
    "values": values.HEAD,
}
