"""What is claimed of a speed-up in words."""

from __future__ import annotations

import pytest

from edgeprune.records.speedup import Speedup


@pytest.mark.parametrize(
    ("low", "disturbed", "words"),
    [
        (1.8, False, "2.00 times as fast"),
        (None, False, "2.00 times as fast"),
        (1.8, True, "at least 1.80 times as fast"),
        (0.9, True, ""),
        (None, True, ""),
    ],
)
def test_of_a_disturbed_run_the_lower_end_is_said(low: float | None, disturbed: bool, words: str) -> None:
    gain = Speedup(times=2.0, low=low, high=None if low is None else 2.3, turns=96, disturbed=disturbed)
    assert gain.words == words
