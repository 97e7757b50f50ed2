"""The sequential test: its error rates under simulated noise, and its rule."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeprune.gate.decision import LOOKS, Decision, decide


def _decided(ratios: np.ndarray, tau: float = 0.05) -> Decision:
    for look in LOOKS:
        decision = decide(ratios[:look].tolist(), tau)
        if decision.verdict:
            return decision
    raise AssertionError("the last look has to decide")


@pytest.mark.parametrize("noise", ["normal", "heavy tails", "slow process", "drift"])
def test_error_rates_on_simulated_noise(noise: str) -> None:
    random = np.random.default_rng(11)

    def pairs(effect: float) -> np.ndarray:
        base = random.normal(0, 0.02, 20)
        if noise == "heavy tails":
            base = 0.012 * random.standard_t(3, 20)
        elif noise == "slow process":  # now and then a process is 20 % slow, on either side
            base += 0.2 * (random.integers(-1, 2, 20) * (random.random(20) < 0.1))
        elif noise == "drift":  # balanced order turns a steady drift into an alternating error
            base += 0.02 * np.tile([1, -1], 10)
        return base + math.log1p(effect)

    runs = 1000
    same = [_decided(pairs(0.0)).verdict for _ in range(runs)]
    worse = [_decided(pairs(0.10)).verdict for _ in range(runs)]
    assert same.count("fail") / runs <= 0.005
    assert worse.count("pass") / runs <= 0.005
    assert worse.count("fail") / runs >= 0.95


@given(st.lists(st.floats(-0.5, 0.5), min_size=20, max_size=20), st.floats(0.01, 0.2))
@settings(max_examples=50)
def test_a_decision_keeps_to_its_rule(ratios: list[float], tau: float) -> None:
    for look in LOOKS:
        decision = decide(ratios[:look], tau)
        assert decision.lower <= float(np.mean(ratios[:look])) + 1e-12
        assert decision.upper >= float(np.mean(ratios[:look])) - 1e-12
        fails = decision.median >= math.log1p(tau) and decision.lower > 0
        assert (decision.verdict == "fail") == fails
        assert (decision.verdict == "pass") == (not fails and decision.upper < math.log(1.05))
        if look == LOOKS[-1]:
            assert decision.verdict is not None


def test_there_is_no_look_between_the_looks() -> None:
    with pytest.raises(ValueError, match="not 7"):
        decide([0.0] * 7, 0.05)
