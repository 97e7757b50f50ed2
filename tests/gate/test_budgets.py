"""Absolute budgets: how they are written, what they are judged on, and what cannot be judged."""

from __future__ import annotations

from typing import Any

import pytest

from edgeprune.core.errors import ConfigError
from edgeprune.gate.budgets import Budget, parse_budget
from edgeprune.gate.result import AccuracyPair, GateResult
from edgeprune.gate.run import Rules, run_gate
from simulated import Machine, make_job


def _gate(machine: Machine, *budgets: str, accuracy: AccuracyPair | None = None) -> GateResult:
    rules = Rules(budgets=tuple(map(parse_budget, budgets)))
    return run_gate(make_job("a"), make_job("b"), rules, machine, accuracy=accuracy)


def _verdicts(result: GateResult) -> dict[str, str]:
    return {metric.name: metric.verdict for metric in result.metrics if metric.budget}


@pytest.mark.parametrize(
    ("text", "budget"),
    [
        ("fps>=30", Budget("fps", 30)),
        (" p90_ms <= 12.5 ", Budget("p90_ms", 12.5)),
        ("peak_mb<=1e2", Budget("peak_mb", 100)),
        ("map50_95>=.4", Budget("map50_95", 0.4)),
        ("top-1>=0.7", Budget("top1", 0.7)),
        ("score>=0.7", Budget("score", 0.7)),
    ],
)
def test_budgets_are_read(text: str, budget: Budget) -> None:
    assert parse_budget(text) == budget
    assert parse_budget(budget.name) == budget


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("fps", "not a metric, <= or >=, and a number"),
        ("fps>30", "not a metric, <= or >=, and a number"),
        ("fsp>=30", "did you mean 'fps'?"),
        ("fps>=fast", "'fast' is not a number"),
        ("fps>=nan", "a number from 0.001 to 1e+06"),
        ("p50_ms<=-1", "a number from 0.001 to 1e+06"),
        ("fps<=30", "is written fps>=30"),
        ("", "not a metric"),
        ("fps>=30\nfps>=1", "not a metric"),
    ],
)
def test_a_budget_that_cannot_be_read_is_one_line_with_what_to_write(text: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_budget(text)
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_budgets_are_judged_on_the_candidate(make_block: Any) -> None:
    machine = Machine(make_block, a=10.0, b=9.0)
    machine.peak_mb = {"a": 100.0, "b": 90.0}
    met = ("fps>=100", "p50_ms<=9.9", "p90_ms<=9.9", "peak_mb<=90")
    assert set(_verdicts(_gate(machine, *met)).values()) == {"pass"}
    missed = ("fps>=130", "p50_ms<=8", "p90_ms<=8", "peak_mb<=89.9")
    result = _gate(machine, *missed)
    assert _verdicts(result) == dict.fromkeys(missed, "fail")
    assert result.verdict == "fail" and not result.regressed


def test_a_candidate_at_its_limit_is_not_decided_by_the_toss_of_a_coin(make_block: Any) -> None:
    result = _gate(Machine(make_block, noise=0.05, a=10.0, b=10.1), "p50_ms<=10")
    assert _verdicts(result) == {"p50_ms<=10": "inconclusive"}
    assert len(result.pairs) == 20


def test_more_pairs_are_run_until_a_budget_is_decided_too(make_block: Any) -> None:
    near = _gate(Machine(make_block, noise=0.02, a=10.0, b=10.0), "p50_ms<=10.08")
    assert _verdicts(near) == {"p50_ms<=10.08": "pass"}
    assert len(near.pairs) > 6
    assert {m.name: m.verdict for m in near.metrics}["p50 latency"] == "pass"


def test_accuracy_is_held_to_what_the_build_recorded(make_block: Any) -> None:
    machine = Machine(make_block, a=10.0, b=10.0)
    alone = AccuracyPair(metric="mAP50-95", baseline=None, candidate=0.5, max_drop=0.01)
    result = _gate(machine, "map50_95>=0.4", accuracy=alone)
    assert _verdicts(result) == {"map50_95>=0.4": "pass"}
    (shown,) = (metric for metric in result.metrics if metric.name == "accuracy")
    assert (shown.verdict, shown.candidate) == ("advisory", 0.5)  # nothing to compare with
    assert _verdicts(_gate(machine, "map50_95>=0.51", accuracy=alone)) == {"map50_95>=0.51": "fail"}


def test_a_budget_on_the_score_takes_whatever_metric_the_model_has(make_block: Any) -> None:
    machine = Machine(make_block, a=10.0, b=10.0)
    depth = AccuracyPair(metric="delta1", baseline=None, candidate=0.5, max_drop=0.01)
    result = _gate(machine, "score>=0.4", accuracy=depth)
    assert _verdicts(result) == {"score>=0.4": "pass"}
    assert {metric.unit for metric in result.metrics if metric.budget} == {"delta1"}
    with pytest.raises(
        ConfigError, match=r"score>=0.4: the accuracy of the candidate was not measured, no ac"
    ):
        _gate(machine, "score>=0.4", accuracy=None)


@pytest.mark.parametrize(
    "accuracy", [None, AccuracyPair(metric="mAP50-95", baseline=0.5, candidate=0.5, max_drop=0.01)]
)
def test_an_accuracy_that_was_not_measured_is_refused_before_anything_runs(
    make_block: Any, accuracy: AccuracyPair | None
) -> None:
    machine = Machine(make_block, a=10.0, b=10.0)
    with pytest.raises(ConfigError, match=r"--budget top1>=0.7: top-1 of the candidate was not measured"):
        _gate(machine, "top1>=0.7", accuracy=accuracy)
    assert machine.calls == []
