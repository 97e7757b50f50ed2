"""Pairs of fresh processes that take turns: the unit of the gate, of an A/A run and of a race.

Section 4 of `docs/measurement.md`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from edgeprune.bench.effort import BenchProfile
from edgeprune.bench.flags import disturbances, output_mismatch
from edgeprune.bench.protocol import backend_evidence, blocks_of, run_workers
from edgeprune.bench.side_by_side import log_ratios, speedup_of
from edgeprune.bench.statistics import achieved_fps, latency_of
from edgeprune.core.errors import CompileError, InconclusiveError, NotComparableError
from edgeprune.gate.result import Pair
from edgeprune.records.bench_result import Job, Scenario, WorkerReport
from edgeprune.runners import Runner

MOST_DISTURBED = 10

Measure = Callable[[Sequence[Job], Scenario], Sequence[WorkerReport]]


def on_runner(runner: Runner, plan: BenchProfile) -> Measure:
    """Return the measuring function of the gate: fresh workers on that device, side by side."""
    return lambda jobs, scenario: run_workers(jobs, scenario, plan, runner)


def identity(job: Job, report: WorkerReport) -> dict[str, Any]:
    """Return what has to be equal on both sides for a comparison to mean anything."""
    env, evidence = report.env_before, backend_evidence(job, report, report.quantized_ops)
    return {
        "device": f"{env.get('board') or env.get('cpu')} ({env.get('machine')})",
        "runtime": job.backend,
        "runtime version": report.version,
        "provider": evidence.provider_actual,
        "threads": job.threads,
        "precision": evidence.precision_actual,
        "input shape": list(report.inputs.shape),
    }


def check_comparable(baseline: Mapping[str, Any], candidate: Mapping[str, Any]) -> None:
    """Refuse two sides that differ in device, runtime, its version, provider, threads, precision or shape.

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
    before, after = latency_of(a.samples_ns), latency_of(b.samples_ns)
    by_turns = speedup_of([log_ratios(b, a, candidate.threads, baseline.threads)])
    return Pair(
        order="AB" if index % 2 == 0 else "BA",
        baseline_ms=before.p50,
        candidate_ms=after.p50,
        baseline_fps=achieved_fps([a], baseline.batch),
        candidate_fps=achieved_fps([b], candidate.batch),
        turns_ratio=by_turns.times if by_turns else None,
        baseline_p90_ms=before.p90,
        candidate_p90_ms=after.p90,
        baseline_p99_ms=before.p99,
        candidate_p99_ms=after.p99,
        disturbed_by=tuple(
            flag
            for report in reports.values()
            for flag in disturbances(
                blocks_of([report]), report.env_before, report.env_after, report.telemetry
            )
        ),
    )


def select_undisturbed(pairs: Sequence[Pair]) -> list[Pair]:
    """Return the pairs that count."""
    return [pair for pair in pairs if not pair.disturbed_by]


def add_pairs(
    pairs: list[Pair], count: int, next_pair: Callable[[int], Pair], say: Callable[[int, int], None]
) -> None:
    """Run pairs until `count` of them are undisturbed; `pairs` grows in place, so none is lost.

    Args:
        next_pair: runs the pair of that index.
        say: called with (pairs that count, index of the pair that comes next).

    Raises:
        InconclusiveError: the machine disturbed more than 10 of them.
    """
    while (counted := len(select_undisturbed(pairs))) < count:
        if len(pairs) - counted > MOST_DISTURBED:
            raise InconclusiveError(disturbance_of(pairs))
        say(counted, len(pairs))
        pairs.append(next_pair(len(pairs)))


def disturbance_of(pairs: Sequence[Pair]) -> str:
    """Tell how many pairs were disturbed, and by what."""
    causes = sorted({flag.code for pair in pairs for flag in pair.disturbed_by})
    spoilt = len(pairs) - len(select_undisturbed(pairs))
    return f"{spoilt} of {len(pairs)} pairs were disturbed ({', '.join(causes)}); try a quieter machine"
