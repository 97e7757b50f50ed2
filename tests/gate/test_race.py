"""A gain has to be proven: noise and equality are no gain."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from edgeprune.gate.race import race
from simulated import Machine, make_job


@pytest.mark.parametrize(
    ("after", "noise", "faster", "pairs"),
    [
        (9.0, 0.005, True, 6),
        (9.8, 0.005, True, 6),
        (10.0, 0.005, False, 10),
        (11.0, 0.005, False, 6),
        (9.5, 0.2, False, 10),  # drowned in noise: not proven, so not kept
    ],
)
def test_only_a_proven_gain_counts(make_block, after: float, noise: float, faster: bool, pairs: int) -> None:
    result = race(make_job("a"), make_job("b"), Machine(make_block, noise=noise, a=10.0, b=after))
    assert result.faster is faster
    assert result.pairs == pairs
    assert result.low <= result.high
    assert result.before_ms > 0


def test_a_machine_that_slows_down_meets_both_sides_alike(make_block) -> None:
    machine = Machine(make_block, noise=0.002, a=10.0, b=9.0)
    moods = iter(np.repeat([1.0, 1.4, 0.9, 1.3, 1.0, 1.5], 1))

    def moody(jobs: Sequence[Any], scenario: Any) -> list[Any]:
        mood = next(moods)
        machine.ms = {"a": 10.0 * mood, "b": 9.0 * mood}
        return machine(jobs, scenario)

    result = race(make_job("a"), make_job("b"), moody)
    assert result.faster
    assert result.change == pytest.approx(-0.1, abs=0.01)
