"""The interval of a difference: none between equals, and the truth inside in 95 of 100 cases."""

from __future__ import annotations

import numpy as np
import pytest

from edgeprune.records.resampling.draws import RESAMPLES
from edgeprune.records.resampling.evidence import Means
from edgeprune.records.resampling.interval import images_needed, paired_interval
from made_matches import detectors, resampled, whole

IMAGES = 25
DIGESTS = [f"{index:03}" for index in range(IMAGES)]


def test_identical_models_do_not_differ() -> None:
    scores = resampled(detectors(np.random.default_rng(0), IMAGES)[0], DIGESTS)
    assert paired_interval(scores, scores.copy(), IMAGES) == (0, 0)


def test_turned_round_it_changes_its_sign() -> None:
    one, other = (resampled(each, DIGESTS) for each in detectors(np.random.default_rng(0), IMAGES))
    low, high = paired_interval(one, other, IMAGES) or (1, 0)
    assert low < high
    assert paired_interval(other, one, IMAGES) == pytest.approx((-high, -low))


def test_the_true_drop_of_a_map_is_inside_in_95_of_100_cases() -> None:
    rng = np.random.default_rng(1)
    truth = np.subtract(*(whole(each, 8_000) for each in detectors(rng, 8_000)))
    inside = 0
    for _ in range(40):
        one, other = (resampled(each, DIGESTS) for each in detectors(rng, IMAGES))
        low, high = paired_interval(one, other, IMAGES) or (1, 0)
        inside += low <= truth <= high
    assert inside >= 36


@pytest.mark.parametrize("images", [20, 200])
def test_the_true_drop_of_a_share_is_inside_in_95_of_100_cases(images: int) -> None:
    rng = np.random.default_rng(2)
    digests, inside = [f"{index:03}" for index in range(images)], 0
    for _ in range(100):
        hard = rng.random(images)
        right = [rng.random(images) < share - hard / 3 for share in (0.9, 0.8)]
        one, other = (resampled(Means(each), digests) for each in right)
        low, high = paired_interval(one, other, images) or (1, 0)
        inside += low <= 0.1 <= high
    assert 89 <= inside <= 99


def test_one_image_and_resamples_without_anything_to_judge_tell_nothing() -> None:
    scores = np.linspace(0, 1, RESAMPLES)
    assert paired_interval(scores, scores / 2, 1) is None
    assert paired_interval(np.where(scores < 0.6, np.nan, scores), scores, IMAGES) is None
    few = np.where(scores < 0.1, np.nan, scores)
    assert paired_interval(few, scores - 0.5, IMAGES) == pytest.approx((0.5, 0.5))


def test_four_times_the_images_halve_the_reach() -> None:
    assert images_needed(73, 0.02, 0.01) == 300
    assert images_needed(100, 0.58 - 0.56, 0.57 - 0.56) == 400
    assert images_needed(5, 0.01, 0.01) == 5
