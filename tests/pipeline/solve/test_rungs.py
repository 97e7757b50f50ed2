"""One size of the search: which of its networks is taken, what an epoch takes."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeprune.core.artifact import Artifact
from edgeprune.pipeline.solve.moves import Tried
from edgeprune.pipeline.solve.rungs import Entry, pace_from
from edgeprune.records.scores import Accuracy
from made_matches import paired_accuracies

SHORT, LONG = (Artifact(Path(name), "torch", "fp32", name, None) for name in ("short.pt", "long.pt"))


@pytest.mark.parametrize(("long", "best"), [(0.004, LONG), (0.02, SHORT), (0.03, SHORT)])
def test_the_more_accurate_of_two_networks_is_taken(long: float, best: Artifact) -> None:
    entry = Entry(Tried(0.5, 0.02 if long != 0.02 else 0.01, long), SHORT, 64, LONG)
    assert entry.best == best
    assert Entry(Tried(0.5, 0.02), SHORT, 64).best == SHORT


def test_where_the_budget_has_to_be_sure_the_upper_end_of_the_interval_counts() -> None:
    original, after = paired_accuracies(0.6, 0.595, noise=0.005)
    assert after.dropped_from(original).counted_drop(sure=False) == pytest.approx(0.005)
    assert after.dropped_from(original).counted_drop(sure=True) > 0.01
    plain = Accuracy(metric="my own", split="val", images=90, score=0.5)
    assert plain.dropped_from(original).counted_drop(sure=True) == pytest.approx(0.1)  # no interval is known


def test_an_epoch_is_timed_from_its_first_batch_to_the_next_ones() -> None:
    """Four batches an epoch, one a second; 5 s until the first one ends, 3 s of evaluation an epoch."""
    seen = [(5.0 + i, (i + 1) / 8) for i in range(4)] + [(12.0 + i, (i + 5) / 8) for i in range(4)]
    pace = pace_from(seen, 18.0)
    assert (pace.epoch_s, pace.start_s) == (7.0, 4.0)
    assert pace.seconds(10) == 74.0
    assert pace_from([], 18.0).epoch_s == 9.0  # a trainer that tells nothing of its batches


def test_a_training_that_was_left_early_tells_the_pace_by_its_batches() -> None:
    """Ten batches an epoch, two seconds each, 5 s until the first one ends; left in the first epoch."""
    seen = [(5.0 + 2 * i, (i + 1) / 20) for i in range(4)]
    pace = pace_from(seen, 12.0)
    assert (pace.epoch_s, pace.start_s) == pytest.approx((20.0, 5.0))
