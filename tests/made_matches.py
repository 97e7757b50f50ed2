"""Made up: the matched detections of two detectors, and two accuracies, on the same images."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgeprune.records.resampling.draws import draw
from edgeprune.records.resampling.evidence import Evidence, Matches, Tail
from edgeprune.records.scores import Accuracy, Resampled

CLASSES = 3


def detectors(rng: np.random.Generator, images: int, tail: Tail = "none") -> tuple[Matches, Matches]:
    """Make the matches of a detector and of a weaker one on the same images; class 0 is the commonest."""
    hard = rng.normal(size=images)
    place = np.repeat(np.arange(images), rng.poisson(4, images))
    classes = rng.choice(CLASSES, len(place), p=[0.7, 0.2, 0.1])
    found = hard[place] + rng.normal(size=len(place))

    def one(strength: float) -> Matches:
        seen = found + strength + rng.normal(size=len(place)) / 2
        hit = seen > -0.5
        level = np.clip(5 + 2 * seen[hit], 1, 10).astype(int)
        wrong = np.repeat(np.arange(images), rng.poisson(3, images))
        right = np.zeros((hit.sum() + len(wrong), 10), dtype=bool)
        right[: hit.sum()] = np.arange(10) < level[:, None]
        scores = np.concatenate([seen[hit], rng.normal(-1, 1, len(wrong))])
        order = np.argsort(-scores)
        image = np.concatenate([place[hit], wrong])
        predicted = np.concatenate([classes[hit], rng.integers(0, CLASSES + 1, len(wrong))])
        return Matches(right[order], predicted[order], image[order], classes, place, tail)

    return one(1.0), one(0.8)


def whole(evidence: Evidence | None, images: int) -> float:
    """Return the score of all images, each taken once."""
    assert evidence is not None
    return float(evidence.score(np.ones((1, images), dtype=np.int64))[0])


def resampled(evidence: Evidence, images: Sequence[str]) -> np.ndarray:
    """Return the scores of all resamples."""
    return np.concatenate([evidence.score(weights) for weights in draw(images)])


def paired_accuracies(first: float, second: float, noise: float) -> tuple[Accuracy, Accuracy]:
    """Return two accuracies on the same resamples of 90 images.

    Args:
        noise: standard deviation of what each has to itself; 0.02 is what they have in common.
    """
    rng = np.random.default_rng(0)
    common = rng.normal(0.6, 0.02, 1000)

    def accuracy(score: float) -> Accuracy:
        scores = tuple(common + score - 0.6 + rng.normal(0, noise, 1000))
        found = Accuracy(metric="mAP50-95", split="val", images=90, score=score)
        return found.with_resampled(Resampled(key="a", images=90, scores=scores))

    return accuracy(first), accuracy(second)
