"""The regression gate: is the candidate worse than the baseline, on this device, in this session?

Section 4 of `docs/measurement.md`. Both sides run in fresh-process pairs that take turns, in balanced
order, until the sequential test of `bench/decision.py` has a verdict. A pair that the machine disturbed is
run again.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict

from edgeprune.bench.decision import LOOKS, Decision, Verdict, decide
from edgeprune.bench.flags import disturbances, fallback, output_mismatch
from edgeprune.bench.protocol import (
    BenchProfile,
    Progress,
    Scenario,
    backend_evidence,
    blocks_of,
    run_workers,
)
from edgeprune.bench.result import Flag, Job, WorkerReport
from edgeprune.bench.statistics import achieved_fps, median_ms
from edgeprune.errors import CompileError, ConfigError, NotComparableError
from edgeprune.runners import Runner

DEFAULT_TAU = 0.05
GATE_BLOCK = BenchProfile(blocks=1, min_queries=64, min_seconds=2.0)
AA_PAIRS = 10
MOST_DISTURBED = 10
MEMORY_RUNS = 3
MEMORY_RATIO, MEMORY_MB = 1.02, 2 * 1.048576  # 2 % and 2 MiB

Measure = Callable[[Sequence[Job], Scenario], Sequence[WorkerReport]]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Pair(_Record):
    """One fresh process of each side. A pair that the machine disturbed is kept, but not counted."""

    order: Literal["AB", "BA"]
    baseline_ms: float
    candidate_ms: float
    baseline_fps: float
    candidate_fps: float
    disturbed_by: tuple[Flag, ...] = ()

    @property
    def latency_log_ratio(self) -> float:
        """log(p50 of the candidate / p50 of the baseline): positive when the candidate is slower."""
        return math.log(self.candidate_ms / self.baseline_ms)

    @property
    def fps_log_ratio(self) -> float:
        """log(FPS of the baseline / FPS of the candidate): positive when the candidate is slower."""
        return math.log(self.baseline_fps / self.candidate_fps)


class AccuracyPair(_Record):
    """Scores of both sides on the same images, and the largest drop allowed, absolute."""

    baseline: float
    candidate: float
    max_drop: float
    metric: str = "mAP50-95"


class Metric(_Record):
    """The verdict on one gated metric, with the sentence that supports it."""

    name: Literal["p50 latency", "fps", "peak memory", "accuracy"]
    verdict: Verdict
    evidence: str


class GateResult(_Record):
    """Everything the verdict stands on.

    Attributes:
        verdict: ``fail`` when any metric fails, ``pass`` when all pass, else ``inconclusive``.
        pairs: in the order they were run, disturbed ones included.
        baseline, candidate: name, digest and identity of each side.
    """

    verdict: Verdict
    tau: float
    metrics: tuple[Metric, ...]
    pairs: tuple[Pair, ...]
    baseline: dict[str, Any]
    candidate: dict[str, Any]

    @property
    def reasons(self) -> tuple[str, ...]:
        """The evidence of the metrics that decided the verdict."""
        return tuple(f"{m.name}: {m.evidence}" for m in self.metrics if m.verdict == self.verdict)


def check_comparable(baseline: Mapping[str, Any], candidate: Mapping[str, Any]) -> None:
    """Refuse two sides that differ in device, runtime, its version, threads, precision or input shape.

    Args:
        baseline, candidate: identities with the same keys, such as those of `identity`.

    Raises:
        NotComparableError: naming the first difference, with both values.
    """
    for key, value in baseline.items():
        if candidate.get(key) != value:
            raise NotComparableError(
                f"the baseline and the candidate differ in {key}: {value} and {candidate.get(key)}"
            )


def identity(job: Job, report: WorkerReport) -> dict[str, Any]:
    """Return what has to be equal on both sides for a comparison to mean anything."""
    return {
        "device": f"{report.env_before.get('cpu')} ({report.env_before.get('machine')})",
        "runtime": job.backend,
        "runtime version": report.version,
        "threads": job.threads,
        "precision": backend_evidence(job, report, report.quantized_ops)["precision_actual"],
        "input shape": report.inputs["shape"],
    }


def on_runner(runner: Runner, plan: BenchProfile = GATE_BLOCK) -> Measure:
    """Return the measuring function of the gate: fresh workers on that device, side by side."""
    return lambda jobs, scenario: run_workers(jobs, scenario, plan, runner)


def run_gate(
    baseline: Job,
    candidate: Job,
    tau: float,
    measure: Measure,
    *,
    accuracy: AccuracyPair | None = None,
    force: bool = False,
    on_progress: Progress | None = None,
) -> GateResult:
    """Compare two engines until there is a verdict or 20 pairs are spent.

    Args:
        tau: smallest relative slow-down that counts. Below 5 %, which the protocol's simulations stand for,
            it has to be earned by an A/A run of the baseline first.
        measure: runs a fresh process of each job, see `on_runner`.
        accuracy: of both sides, when it is known.
        force: compare although the sides differ in precision, input shape or the like.
        on_progress: called with (pairs finished, most pairs, what comes next).

    Raises:
        NotComparableError: the sides differ, or a runtime fell back to something else than was asked.
        CompileError: an engine's outputs are not those of its reference.
        ConfigError: tau is finer than this machine can tell.
        DeviceError: a worker crashed, hung, or answered with garbage.
    """
    say = on_progress or (lambda done, total, text: None)
    say(0, LOOKS[-1], "peak memory")
    sides = (baseline, candidate)
    memory = [[measure([job], "memory")[0] for _ in range(MEMORY_RUNS)] for job in sides]
    identities = [identity(job, runs[0]) for job, runs in zip(sides, memory, strict=True)]
    if not force:
        check_comparable(*identities)
    for job, runs in zip(sides, memory, strict=True):
        for flag in fallback(backend_evidence(job, runs[0], runs[0].quantized_ops)):
            raise NotComparableError(f"{job.name}: {flag.evidence}")
    if tau < DEFAULT_TAU:
        say(0, LOOKS[-1], f"{AA_PAIRS} pairs of the baseline with itself")
        check_tau(tau, [run_pair(baseline, baseline, index, measure) for index in range(AA_PAIRS)])
    pairs, timing = _time_until_decided(baseline, candidate, tau, measure, say)
    metrics = [*timing, _memory_metric(*memory)]
    if accuracy:
        metrics.append(_accuracy_metric(accuracy))
    described = [
        {"name": job.name, "engine": job.engine, "sha256": job.engine_sha256} | same
        for job, same in zip(sides, identities, strict=True)
    ]
    return GateResult(
        verdict=_overall(metrics),
        tau=tau,
        metrics=tuple(metrics),
        pairs=tuple(pairs),
        baseline=described[0],
        candidate=described[1],
    )


def check_tau(tau: float, pairs: Sequence[Pair]) -> None:
    """Refuse a tau below twice the 95th percentile of |d| of an A/A run.

    Raises:
        ConfigError: naming the smallest tau that this machine allows.
    """
    least = 2 * float(np.percentile([abs(pair.latency_log_ratio) for pair in pairs], 95))
    if tau < least:
        raise ConfigError(
            f"tau {tau:.1%} is finer than this machine can tell: the baseline against itself asks for "
            f"{least:.1%}; lock the clocks, or give a larger tau"
        )


def _time_until_decided(
    baseline: Job, candidate: Job, tau: float, measure: Measure, say: Progress
) -> tuple[list[Pair], list[Metric]]:
    pairs: list[Pair] = []
    for look in LOOKS:
        while len(counted := [pair for pair in pairs if not pair.disturbed_by]) < look:
            if len(pairs) - len(counted) > MOST_DISTURBED:
                return pairs, _disturbed(pairs)
            say(len(counted), LOOKS[-1], f"pair {len(pairs) + 1}")
            pairs.append(run_pair(baseline, candidate, len(pairs), measure))
        latency = decide([pair.latency_log_ratio for pair in counted], tau)
        fps = decide([pair.fps_log_ratio for pair in counted], tau)
        if "fail" in (latency.verdict, fps.verdict) or None not in (latency.verdict, fps.verdict):
            break
    say(LOOKS[-1], LOOKS[-1], "done")
    return pairs, [_timing_metric("p50 latency", latency, look), _timing_metric("fps", fps, look)]


def run_pair(baseline: Job, candidate: Job, index: int, measure: Measure) -> Pair:
    """Run one process of each side in turns, the baseline first in even pairs: neither always comes first."""
    sides = [("A", baseline), ("B", candidate)]
    order = sides if index % 2 == 0 else sides[::-1]
    answers = measure([job for _, job in order], "single_stream")
    reports = {side: report for (side, _), report in zip(order, answers, strict=True)}
    for side, job in sides:
        for flag in output_mismatch(blocks_of([reports[side]])):
            raise CompileError(f"{job.name}: {flag.evidence}")
    (a,), (b,) = (blocks_of([reports[side]]) for side in "AB")
    return Pair(
        order="AB" if index % 2 == 0 else "BA",
        baseline_ms=median_ms(a),
        candidate_ms=median_ms(b),
        baseline_fps=achieved_fps([a]),
        candidate_fps=achieved_fps([b]),
        disturbed_by=tuple(
            flag
            for report in reports.values()
            for flag in disturbances(blocks_of([report]), report.env_before, report.env_after)
        ),
    )


def _timing_metric(name: Literal["p50 latency", "fps"], decision: Decision, pairs: int) -> Metric:
    change, low, high = (math.expm1(value) for value in (decision.median, decision.lower, decision.upper))
    return Metric(
        name=name,
        # The other metric failed first: this one had neither passed nor spent its pairs.
        verdict=decision.verdict or "inconclusive",
        evidence=f"{change:+.1%} time over {pairs} pairs (bounds {low:+.1%} to {high:+.1%})",
    )


def _disturbed(pairs: Sequence[Pair]) -> list[Metric]:
    causes = sorted({flag.code for pair in pairs for flag in pair.disturbed_by})
    spoilt = sum(bool(pair.disturbed_by) for pair in pairs)
    evidence = f"{spoilt} of {len(pairs)} pairs were disturbed ({', '.join(causes)}); try a quieter machine"
    return [
        Metric(name="p50 latency", verdict="inconclusive", evidence=evidence),
        Metric(name="fps", verdict="inconclusive", evidence=evidence),
    ]


def _memory_metric(baseline: Sequence[WorkerReport], candidate: Sequence[WorkerReport]) -> Metric:
    """Fail on a median peak that is more than 2 % and more than 2 MiB higher."""
    a, b = (
        float(np.median([run.memory.peak_hwm for run in runs if run.memory]))
        for runs in (baseline, candidate)
    )
    worse = b > a * MEMORY_RATIO and b - a > MEMORY_MB
    return Metric(
        name="peak memory", verdict="fail" if worse else "pass", evidence=f"{a:.1f} MB before, {b:.1f} MB now"
    )


def _accuracy_metric(pair: AccuracyPair) -> Metric:
    drop = pair.baseline - pair.candidate
    evidence = (
        f"{pair.metric} {pair.baseline:.4f} before, {pair.candidate:.4f} now (allowed drop {pair.max_drop:g})"
    )
    return Metric(
        name="accuracy",
        verdict="fail" if drop > pair.max_drop else "pass",
        evidence=evidence,
    )


def _overall(metrics: Sequence[Metric]) -> Verdict:
    verdicts = {metric.verdict for metric in metrics}
    if "fail" in verdicts:
        return "fail"
    return "inconclusive" if "inconclusive" in verdicts else "pass"
