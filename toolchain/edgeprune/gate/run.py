"""The regression gate: is the candidate worse than the baseline, on this device, in this session?

Section 4 of `docs/measurement.md`. Both sides run in fresh-process pairs that take turns, in balanced
order, until the sequential test of `gate/decision.py` has a verdict. A pair that the machine disturbed is
run again.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgeprune.bench.flags import fallback
from edgeprune.bench.protocol import Progress, backend_evidence
from edgeprune.core.errors import InconclusiveError, NotComparableError
from edgeprune.gate.budgets import TIMED, Budget, check_measurable
from edgeprune.gate.decision import FAIL_ALPHA, LOOKS, PASS_BELOW, Decision, decide
from edgeprune.gate.judged import accuracy_metrics, advice, medians, memory_metrics
from edgeprune.gate.min_effect import default_tau, earn_tau
from edgeprune.gate.pairs import (
    Measure,
    add_pairs,
    check_comparable,
    identity,
    run_pair,
    select_undisturbed,
)
from edgeprune.gate.result import AccuracyPair, GateResult, MetricVerdict, Pair, overall
from edgeprune.records.bench_result import Job


@dataclass(frozen=True)
class Rules:
    """How one target is judged.

    Attributes:
        tau: smallest relative slow-down that counts; None for 5 %, or 3 % where the clocks are locked. Below
            5 %, which the protocol's simulations stand for, it has to be earned by an A/A run.
        budgets: absolute limits of the candidate.
        targets: how many targets of this check share the error rate (`family.share_error_rate`).
        force: compare although the sides differ in precision, input shape or the like.
        aa_folder: where A/A runs are kept; None neither reads nor keeps any.
        memory_runs: processes of each side that peak memory is read of.
    """

    tau: float | None = None
    budgets: tuple[Budget, ...] = ()
    targets: int = 1
    force: bool = False
    aa_folder: Path | None = None
    memory_runs: int = 3


@dataclass(frozen=True)
class _Question:
    """What the pairs are asked: a log ratio that is positive when worse, and what counts as too much."""

    name: str
    log_ratio: Callable[[Pair], float]
    tau: float
    pass_below: float = PASS_BELOW
    budget: Budget | None = None


@dataclass(frozen=True)
class _Answer:
    """What `pairs` pairs said; `why` tells that they were disturbed and yet say enough."""

    decision: Decision
    pairs: int
    p_value: float
    why: str = ""


def run_gate(
    baseline: Job,
    candidate: Job,
    rules: Rules,
    measure: Measure,
    *,
    accuracy: AccuracyPair | None = None,
    on_progress: Progress | None = None,
) -> GateResult:
    """Compare two engines until there is a verdict or 20 pairs are spent.

    Args:
        measure: runs a fresh process of each job, see `pairs.on_runner`.
        accuracy: of both sides, when it is known.
        on_progress: called with (pairs finished, most pairs, what comes next).

    Raises:
        NotComparableError: the sides differ, or a runtime fell back to something else than was asked.
        CompileError: an engine's outputs are not those of its reference.
        ConfigError: tau is finer than the device can tell, or a budget's number is not measured.
        InconclusiveError: the machine disturbed too many pairs of an A/A run that was needed.
        DeviceError: a worker crashed, hung, or answered with garbage.
    """
    check_measurable(rules.budgets, accuracy)
    say = on_progress or (lambda done, total, text: None)
    say(0, LOOKS[-1], "peak memory")
    sides = (baseline, candidate)
    memory = [[measure([job], "memory")[0] for _ in range(rules.memory_runs)] for job in sides]
    identities = [identity(job, runs[0]) for job, runs in zip(sides, memory, strict=True)]
    for job, runs in zip(sides, memory, strict=True):
        for flag in fallback(backend_evidence(job, runs[0], runs[0].quantized_ops)):
            raise NotComparableError(f"{job.name}: {flag.evidence}")
    notes = _differences(identities, rules.force)
    tau = rules.tau
    if tau is None:
        tau = default_tau(memory[0][0].env_before, identities[0]["provider"])
    notes += earn_tau(tau, baseline, identities[0], rules.aa_folder, measure, say)
    pairs, timing = _time_until_decided(
        _questions(tau, rules.budgets),
        lambda index: run_pair(baseline, candidate, index, measure),
        FAIL_ALPHA / rules.targets,
        say,
    )
    metrics = (
        *timing,
        *memory_metrics(memory[0], memory[1], rules.budgets),
        *accuracy_metrics(accuracy, rules.budgets),
    )
    described = [
        {"name": job.name, "engine": job.engine, "sha256": job.engine_sha256} | same
        for job, same in zip(sides, identities, strict=True)
    ]
    return GateResult(
        verdict=overall(metrics),
        tau=tau,
        metrics=metrics,
        pairs=tuple(pairs),
        baseline=described[0],
        candidate=described[1],
        notes=notes,
    )


def _differences(identities: Sequence[Mapping[str, Any]], force: bool) -> tuple[str, ...]:
    """Refuse sides that differ; where they are compared by force, return what the reader should know."""
    try:
        check_comparable(*identities)
    except NotComparableError as exc:
        if not force:
            raise
        return (f"{exc}; compared all the same, as asked for",)
    return ()


def _questions(tau: float, budgets: Sequence[Budget]) -> list[_Question]:
    def of_budget(budget: Budget) -> _Question:
        # Not a change that may be small, but a limit: outside it by nothing is outside, inside is inside.
        return _Question(
            budget.name,
            lambda pair: budget.log_ratio(budget.value_of(pair)),
            tau=0.0,
            pass_below=0.0,
            budget=budget,
        )

    return [
        _Question("p50 latency", lambda pair: pair.latency_log_ratio, tau),
        _Question("fps", lambda pair: pair.fps_log_ratio, tau),
        *(of_budget(budget) for budget in budgets if budget.metric in TIMED),
    ]


def _time_until_decided(
    questions: Sequence[_Question], next_pair: Callable[[int], Pair], fail_alpha: float, say: Progress
) -> tuple[list[Pair], list[MetricVerdict]]:
    """Run pairs until a regression is proven or every question is decided; an answer once given stands."""
    pairs: list[Pair] = []
    answers: dict[str, _Answer] = {}
    disturbed = ""
    for look in LOOKS:
        try:
            add_pairs(
                pairs, look, next_pair, lambda counted, index: say(counted, LOOKS[-1], f"pair {index + 1}")
            )
        except InconclusiveError as exc:
            disturbed = str(exc)
            break
        for question in questions:
            before = answers.get(question.name)
            if before is not None and before.decision.verdict:
                continue
            ratios = [question.log_ratio(pair) for pair in select_undisturbed(pairs)]
            decision = decide(ratios, question.tau, fail_alpha, question.pass_below)
            p_value = min(decision.p_value, before.p_value if before else 1.0)
            answers[question.name] = _Answer(decision, look, p_value)
        failed = [q for q in questions if q.budget is None and answers[q.name].decision.verdict == "fail"]
        if failed or all(answer.decision.verdict for answer in answers.values()):
            break
    say(LOOKS[-1], LOOKS[-1], "done")
    counted = select_undisturbed(pairs)
    metrics: list[MetricVerdict] = []
    for question in questions:
        answer = answers.get(question.name)
        if answer and (answer.decision.verdict or not disturbed):
            metrics.append(_timing_metric(question, answer, counted[: answer.pairs]))
        elif kept := _kept_under_load(question, pairs):
            metrics.append(_timing_metric(question, kept, pairs[: kept.pairs]))
        else:
            metrics.append(_undecided(question, disturbed))
    return pairs, [*metrics, *advice(counted)]


def _kept_under_load(question: _Question, pairs: Sequence[Pair]) -> _Answer | None:
    """Judge a budget by the disturbed pairs too; None unless the candidate keeps to it even there.

    Heat, swapping and other work only slow a process down, and every budget of time is a limit on slowness:
    what is inside it under load is inside it at rest. What is outside under load is still open.
    """
    count = max((look for look in LOOKS if look <= len(pairs)), default=0)
    if question.budget is None or not count:
        return None
    judged = pairs[:count]
    ratios = [question.log_ratio(pair) for pair in judged]
    decision = decide(ratios, question.tau, pass_below=question.pass_below)
    if decision.verdict != "pass":
        return None
    spoilt = count - len(select_undisturbed(judged))
    why = f", {spoilt} of them disturbed: kept even under load"
    return _Answer(decision, count, decision.p_value, why)


def _timing_metric(question: _Question, answer: _Answer, pairs: Sequence[Pair]) -> MetricVerdict:
    decision, budget = answer.decision, question.budget
    change, low, high = (math.expm1(value) for value in (decision.median, decision.lower, decision.upper))
    before: float | None = None
    if budget is not None:
        unit = budget.unit
        now = float(np.median([budget.value_of(pair) for pair in pairs]))
        words = f"{now:.4g} {unit} over {answer.pairs} pairs{answer.why}"
    else:
        unit, field = ("FPS", "fps") if question.name == "fps" else ("ms", "ms")
        before, now = medians(pairs, field)
        words = f"{change:+.1%} time over {answer.pairs} pairs (bounds {low:+.1%} to {high:+.1%})"
    return MetricVerdict(
        name=question.name,
        # A regression was proven first: this one had neither passed nor spent its pairs.
        verdict=decision.verdict or "inconclusive",
        evidence=words,
        budget=budget is not None,
        baseline=before,
        candidate=now,
        unit=unit,
        p_value=answer.p_value,
    )


def _undecided(question: _Question, why: str) -> MetricVerdict:
    return MetricVerdict(
        name=question.name, verdict="inconclusive", evidence=why, budget=question.budget is not None
    )
