"""Detections that were matched, made up: of images that are easy or hard for both of two detectors."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgeprune.records.resampling.draws import draw
from edgeprune.records.resampling.evidence import Evidence, Matches, Tail

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
