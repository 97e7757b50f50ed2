"""What a score is made of, image by image, so that any resample of the images can be scored again."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.integer]
Flags = npt.NDArray[np.bool_]
Tail = Literal["none", "to_one"]

AT_ONCE = 2_000_000
"""Numbers in the largest array that a step makes."""
COUNT = np.int32
"""Of counts while they are added up: half the memory to go through, and far more than images are drawn."""
RECALLS = np.linspace(0, 1, 101)
"""Where the curve of precision is sampled."""


class Evidence(Protocol):
    """What is kept of an evaluation while its resamples are scored."""

    def score(self, weights: Ints) -> Floats:
        """Return the score of each resample, float64 (resamples,); nan where it has nothing to judge.

        Args:
            weights: int64 (resamples, images), how often each image is taken.
        """
        ...


@dataclass(frozen=True, eq=False)
class Means:
    """A score that is the mean of what its images get, such as top-1.

    Attributes:
        values: (images,), what each image adds.
    """

    values: npt.NDArray[Any]

    def score(self, weights: Ints) -> Floats:
        """Return the weighted mean of each resample."""
        return np.asarray(weights @ self.values.astype(np.float64) / weights.sum(1), dtype=np.float64)


@dataclass(frozen=True, eq=False)
class Matches:
    """A mean average precision: detections that were matched with targets inside their images.

    A resample takes an image with all its detections and targets, as often as it was drawn. Everingham et al.
    compare detectors by resamples of this kind ("Assessing the significance of performance differences on the
    PASCAL VOC challenges via bootstrapping", 2013). Matching does not cross images, so that the curve of a
    resample is a weighted cumulative sum over the same detections.

    Attributes:
        right: bool (n, thresholds), the detections, the most confident first.
        predicted: (n,), their classes.
        image: (n,), the place of each one's image.
        classes: (m,), those of the targets.
        target_image: (m,), the place of each target's image.
        tail: what follows the last recall: no precision, as ultralytics has it, or a line to precision 0 at
            recall 1, as YOLOv5 has it.
    """

    right: Flags
    predicted: npt.NDArray[Any]
    image: npt.NDArray[Any]
    classes: npt.NDArray[Any]
    target_image: npt.NDArray[Any]
    tail: Tail = "none"

    def score(self, weights: Ints) -> Floats:
        """Return the mAP of each resample: the mean over the classes that have targets in it."""
        if not len(self.classes):
            return np.full(len(weights), np.nan)
        widest = max(len(self._curves.image), len(self.classes), 1)
        step = max(1, AT_ONCE // widest)
        weights = weights.astype(COUNT)
        parts = [self._score(weights[start : start + step]) for start in range(0, len(weights), step)]
        return np.concatenate(parts)

    def _score(self, weights: Ints) -> Floats:
        curves = self._curves
        targets = _sums(weights.take(curves.target_image, axis=1), curves.target_starts)
        present = (targets > 0).sum(1)
        total = np.zeros(len(weights))
        if len(curves.image):
            found = _running(_sums(weights.take(curves.image, axis=1), curves.starts), curves.of_segment)
            for threshold in curves.thresholds:
                total += threshold.areas(weights, found, targets, self.tail).sum(1)
        with np.errstate(invalid="ignore"):
            return np.where(present > 0, total / self.right.shape[1] / present, np.nan)

    @cached_property
    def _curves(self) -> _Curves:
        return _lay_out(self)


@dataclass(frozen=True)
class _Threshold:
    """The right detections at one threshold of overlap, by class, the most confident first.

    Attributes:
        image: (k,), the place of each one's image; `segment` (k,) where its place on the curve is counted.
        of: the runs of equal classes; `label` (runs,) and `last` (runs,) are the class and the last segment
            of each.
    """

    image: Ints
    segment: Ints
    of: _Runs
    label: Ints
    last: Ints

    def areas(self, weights: Ints, found: Ints, targets: Ints, tail: Tail) -> Floats:
        """Return the areas under the falling envelope of precision, float64 (resamples, runs).

        Precision rises only where a detection is right, so the envelope between two of them is that of the
        second, and a right one stands for the samples of recall from the one before it to its own.

        Args:
            weights: (resamples, images).
            found: (resamples, segments), detections so far in their class.
            targets: (resamples, classes).
        """
        hits = _running(weights.take(self.image, axis=1), self.of)
        wanted = np.maximum(targets[:, self.label], 1)
        precision = hits / np.maximum(found.take(self.segment, axis=1), 1)
        recall = hits / wanted.take(self.of.which, axis=1)
        lifted = precision + self.of.lift
        envelope = np.maximum.accumulate(lifted[:, ::-1], axis=1)[:, ::-1] - self.of.lift
        below = samples_below(recall)
        mass = below - 0.5 * (below > 0)  # by the rule of trapezoids the first sample counts half
        share = np.diff(mass, axis=1, prepend=0.0)
        share[:, self.of.starts] = mass[:, self.of.starts]
        areas = np.add.reduceat(envelope * share, self.of.starts, axis=1)
        if tail == "to_one":
            areas += self._tail(hits, found, wanted, below)
        return np.asarray(areas / (len(RECALLS) - 1), dtype=np.float64)

    def _tail(self, hits: Ints, found: Ints, wanted: Ints, below: Ints) -> Floats:
        """Return the sums over the samples behind the last recall, (resamples, runs)."""
        ends = self.of.ends
        precision = hits[:, ends] / np.maximum(found[:, self.last], 1)
        missed = 1 - hits[:, ends] / wanted
        left = len(RECALLS) - 1 - below[:, ends]
        sums = left * (left + 1) / 2 / (len(RECALLS) - 1)
        return np.where(missed > 0, precision * sums / np.where(missed > 0, missed, 1), 0.0)


def samples_below(recall: Floats) -> Ints:
    """Count the samples of `RECALLS` below each recall, a share of two whole numbers in [0, 1]."""
    whole = (recall * (len(RECALLS) - 1)).astype(np.int64)
    return np.asarray(whole + (RECALLS[whole] < recall))


@dataclass(frozen=True)
class _Runs:
    """Entries that lie together by class.

    Attributes:
        starts, ends: (runs,), the first and last place of each run.
        which: (k,), the run of each entry.
    """

    starts: Ints
    ends: Ints
    which: Ints

    @property
    def lift(self) -> Ints:
        """What raises each run above all that follow it, where no entry is above 1."""
        return 2 * (len(self.starts) - 1 - self.which)


@dataclass(frozen=True)
class _Curves:
    """Detections that can change an area, by class, the most confident first, cut into segments.

    A segment ends with a detection that is right at some threshold, or with the last one of its class.

    Attributes:
        image: (d,), the place of each one's image.
        starts: (segments,), the first detection of each; `of_segment` their classes.
        target_image: (m,), by class; `target_starts` (classes,) where each begins.
    """

    image: Ints
    starts: Ints
    of_segment: _Runs
    thresholds: tuple[_Threshold, ...]
    target_image: Ints
    target_starts: Ints


def _lay_out(matches: Matches) -> _Curves:
    known, target_starts = np.unique(np.sort(matches.classes), return_index=True)
    by_class = np.argsort(matches.classes, kind="stable")
    label, right, image = _that_count(matches, known)
    closes = right.any(1) | (np.append(label[1:], -1) != label)
    segment = np.cumsum(closes) - closes
    of_segment = _runs(label[closes])
    thresholds = []
    for column in filter(np.any, right.T):
        of = _runs(label[column])
        labels = label[column][of.starts]
        runs = np.searchsorted(label[closes][of_segment.starts], labels)
        thresholds.append(_Threshold(image[column], segment[column], of, labels, of_segment.ends[runs]))
    return _Curves(
        image=image,
        starts=np.append(0, np.flatnonzero(closes)[:-1] + 1),
        of_segment=of_segment,
        thresholds=tuple(thresholds),
        target_image=matches.target_image[by_class],
        target_starts=target_starts,
    )


def _that_count(matches: Matches, known: npt.NDArray[Any]) -> tuple[Ints, Flags, Ints]:
    """Return class, flags and image of the detections that can change an area, by class.

    Those of a class without targets cannot, nor, without a tail, those behind the last right one.

    Args:
        known: (classes,), those of the targets, sorted.
    """
    label = np.searchsorted(known, matches.predicted)
    label = np.where(label == len(known), 0, label)
    order = np.flatnonzero(np.equal(known[label], matches.predicted))
    order = order[np.argsort(label[order], kind="stable")]
    label, right, image = label[order], matches.right[order], matches.image[order]
    places, counts = np.arange(len(label)), right.any(1)
    last = np.full(len(known), -1)
    np.maximum.at(last, label[counts], places[counts])
    kept = places <= last[label] if matches.tail == "none" else last[label] >= 0
    return label[kept], right[kept], image[kept]


def _runs(label: Ints) -> _Runs:
    changes = np.flatnonzero(np.diff(label)) + 1
    starts = np.append(0, changes)
    which = np.repeat(np.arange(len(starts)), np.diff(np.append(starts, len(label))))
    return _Runs(starts, np.append(changes, len(label)) - 1, which)


def _sums(values: Ints, starts: Ints) -> Ints:
    """Return the sum of each stretch of columns, (resamples, stretches)."""
    return np.asarray(np.add.reduceat(values, starts, axis=1, dtype=COUNT))


def _running(values: Ints, runs: _Runs) -> Ints:
    """Return the sums so far inside each run, (resamples, k)."""
    total = values.cumsum(1, dtype=COUNT)
    before = np.where(runs.starts > 0, total[:, runs.starts - 1], 0)
    return np.asarray(total - before.take(runs.which, axis=1))
