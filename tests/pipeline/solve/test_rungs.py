"""One size of the search: which of its networks is taken, what an epoch takes."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeprune.core.artifact import Artifact
from edgeprune.pipeline.solve.moves import Tried
from edgeprune.pipeline.solve.rungs import Entry, pace_from

SHORT, LONG = (Artifact(Path(name), "torch", "fp32", name, None) for name in ("short.pt", "long.pt"))


@pytest.mark.parametrize(("long", "best"), [(0.004, LONG), (0.02, SHORT), (0.03, SHORT)])
def test_the_more_accurate_of_two_networks_is_taken(long: float, best: Artifact) -> None:
    entry = Entry(Tried(0.5, 0.02 if long != 0.02 else 0.01, long), SHORT, LONG)
    assert entry.best == best
    assert Entry(Tried(0.5, 0.02), SHORT).best == SHORT


def test_an_epoch_is_timed_from_its_first_batch_to_the_next_ones() -> None:
    """Four batches an epoch, one a second; 5 s until the first one ends, 3 s of evaluation an epoch."""
    seen = [(5.0 + i, (i + 1) / 8) for i in range(4)] + [(12.0 + i, (i + 5) / 8) for i in range(4)]
    pace = pace_from(seen, 18.0)
    assert (pace.epoch_s, pace.start_s) == (7.0, 4.0)
    assert pace.seconds(10) == 74.0
    assert pace_from([], 18.0).epoch_s == 9.0  # a trainer that tells nothing of its batches
