"""Several targets in one check: they share the error rate, and no more of them fail by chance."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeprune.gate.decision import FAIL_ALPHA, LOOKS, decide, holm
from edgeprune.gate.holm import share_error_rate
from edgeprune.gate.result import GateResult, MetricVerdict
from edgeprune.gate.run import Rules, run_gate
from simulated import Machine, make_job


def test_holm_is_as_in_the_paper() -> None:
    # .001 <= .01 / 3; .004 <= .01 / 2; .02 > .01: the third is not rejected.
    assert holm({"a": 0.02, "b": 0.001, "c": 0.004}, 0.01) == {"b", "c"}
    # The smallest is above .01 / 2: none is rejected, though the second would be alone.
    assert holm({"a": 0.006, "b": 0.007}, 0.01) == frozenset()
    assert holm({}) == frozenset()


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8), st.floats(0.001, 0.1))
def test_holm_rejects_what_bonferroni_does_and_nothing_above_alpha(values: list[float], alpha: float) -> None:
    p_values = {str(index): value for index, value in enumerate(values)}
    rejected = holm(p_values, alpha)
    assert {name for name, p in p_values.items() if p <= alpha / len(values)} <= rejected
    assert all(p_values[name] <= alpha for name in rejected)


def _undecided(p_value: float | None, verdict: str = "inconclusive") -> GateResult:
    metric = MetricVerdict(name="p50 latency", verdict=verdict, evidence="e", p_value=p_value)  # type: ignore[arg-type]
    return GateResult(
        verdict=verdict,  # type: ignore[arg-type]
        tau=0.05,
        metrics=(metric,),
        pairs=(),
        baseline={},
        candidate={},
    )


def test_an_undecided_target_fails_beside_one_that_failed() -> None:
    results = share_error_rate({"a": _undecided(1e-9, "fail"), "b": _undecided(0.009)})
    assert {name: result.verdict for name, result in results.items()} == {"a": "fail", "b": "fail"}
    assert results["b"].reasons == ("p50 latency: e, by Holm's rule",)


@pytest.mark.parametrize("p_value", [0.009, None])
def test_it_stays_undecided_beside_one_that_did_not(p_value: float | None) -> None:
    results = {"a": _undecided(1.0, "pass"), "b": _undecided(p_value)}
    assert share_error_rate(results) == results


def test_a_pass_stands_and_one_target_alone_is_as_it_was() -> None:
    passed = {"a": _undecided(1e-9, "fail"), "b": _undecided(0.009, "pass")}
    assert share_error_rate(passed) == passed
    alone = {"a": _undecided(0.02)}
    assert share_error_rate(alone) == alone


def test_a_share_of_the_error_rate_asks_for_more_evidence(make_block: Any) -> None:
    def pairs(targets: int) -> int:
        machine = Machine(make_block, noise=0.045, a=10.0, b=11.2)
        return len(run_gate(make_job("a"), make_job("b"), Rules(targets=targets), machine).pairs)

    assert pairs(1) < pairs(50)


def _judged(random: np.random.Generator, fail_alpha: float) -> tuple[str, float]:
    """Return the verdict and the p-value of one target whose sides are equal, at a tau of 0."""
    ratios, p_value = random.normal(0, 0.05, LOOKS[-1]), 1.0
    for look in LOOKS:
        decision = decide(ratios[:look].tolist(), 0.0, fail_alpha)
        p_value = min(p_value, decision.p_value)
        if decision.verdict:
            return decision.verdict, p_value
    raise AssertionError("the last look has to decide")


@pytest.mark.parametrize("targets", [1, 4, 16])
def test_more_targets_do_not_raise_the_false_alarm_rate(targets: int) -> None:
    """With tau at 0 every rejection of "not slower" is a false alarm: the test's own level, not tau's."""
    random = np.random.default_rng(5)
    runs, alarms = 400, 0
    for _ in range(runs):
        family = [_judged(random, FAIL_ALPHA / targets) for _ in range(targets)]
        undecided = {str(i): _undecided(p, verdict) for i, (verdict, p) in enumerate(family)}
        alarms += any(result.verdict == "fail" for result in share_error_rate(undecided).values())
    # At a rate of .01 more than 10 of 400 have a probability of 0.3 %; unshared, 16 targets gave 40 and more.
    assert alarms <= 10
    assert math.isclose(FAIL_ALPHA, 0.01)
