"""What an evaluation keeps of its images, and the mAP of it.

Detections are matched as soon as an image was seen. Then some 20 bytes a detection stay, and of the image no
pixel, box or mask.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from ultralytics.utils.metrics import compute_ap

from edgeprune.records.resampling.evidence import Matches

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]


@dataclass
class Tally:
    """The matched detections of the images so far."""

    _right: list[Flags] = field(default_factory=list)
    _scores: list[npt.NDArray[np.float32]] = field(default_factory=list)
    _predicted: list[npt.NDArray[np.float32]] = field(default_factory=list)
    _classes: list[npt.NDArray[np.float32]] = field(default_factory=list)

    def add(self, right: Flags, scores: Any, predicted: Any, classes: Any) -> None:
        """Take in an image.

        Args:
            right: bool (n, 10), whether its detections are right at each threshold of overlap.
            scores, predicted: (n,), those of the same; they are copied, so that what they are a part of can
                go.
            classes: (m,), those of its targets.
        """
        self._right.append(right)
        kept = (self._scores, scores), (self._predicted, predicted), (self._classes, classes)
        for all_images, own in kept:
            all_images.append(np.array(own, dtype=np.float32))

    def matches(self) -> Matches:
        """Return what a mAP is made of, in the order that ultralytics' `ap_per_class` sorts detections to."""
        order = np.argsort(-np.concatenate(self._scores))
        image, target_image = (
            np.repeat(np.arange(len(each), dtype=np.int32), [len(own) for own in each])
            for each in (self._scores, self._classes)
        )
        return Matches(
            np.concatenate(self._right)[order],
            np.concatenate(self._predicted)[order],
            image[order],
            np.concatenate(self._classes),
            target_image,
        )


def average_precisions(matches: Matches) -> dict[int, Floats]:
    """Return the AP of each class that has targets, float64 (10,), one a threshold.

    It is what ultralytics' `ap_per_class` gives. That makes all curves of a class at once, which takes 400
    bytes a detection; here it is one curve at a time.
    """
    known, counts = np.unique(matches.classes, return_counts=True)
    found: dict[int, Floats] = {}
    for index, count in zip(known, counts, strict=True):
        own = matches.right[matches.predicted == index]
        found[int(index)] = np.array([_area(column, int(count)) for column in own.T])
    return found


def _area(right: Flags, targets: int) -> float:
    """Return the area under the curve of a class at one threshold; detections are sorted by confidence."""
    if not right.any():
        return 0.0
    hits = right.cumsum()
    return float(compute_ap(hits / targets, hits / np.arange(1, len(hits) + 1))[0])
