"""Runs of the scenarios in which a worker has the machine to itself: all but `single_stream`.

Frames at a camera's rate, many queries at once, heat and cold starts would not be themselves in turns with
others.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from edgeprune.bench.effort import BenchProfile
from edgeprune.bench.energy import measure_idle
from edgeprune.bench.partial import Kept, keeping
from edgeprune.bench.protocol import (
    IDLE,
    Progress,
    measure,
    place_report,
    result_of,
    round_order,
    run_workers,
)
from edgeprune.bench.setup import Setup
from edgeprune.records.bench_result import BenchResult, Job
from edgeprune.worker.live import words

if TYPE_CHECKING:
    from edgeprune.runners import Runner

_START_S = 2.0  # about what a process takes to start, load and check its engine; only for the progress


def measure_setup(
    jobs: Sequence[Job],
    setup: Setup,
    profile: BenchProfile,
    runner: Runner,
    on_progress: Progress | None = None,
) -> tuple[BenchResult, ...]:
    """Measure jobs in a scenario: `single_stream` side by side in turns, the others one process at a time.

    The arguments and errors are those of `measure`; the jobs come without a scenario. Their order changes
    round by round, and each run has one more process for its peak memory.

    Args:
        on_progress: called with (seconds done, seconds in all, what runs), seconds as they are expected.

    Returns:
        One result a run; `paced` has one for each rate.
    """
    plan = setup.plan(profile)
    if setup.scenario == "single_stream":
        return measure(jobs, plan, runner, on_progress)
    say = on_progress or (lambda done, total, text: None)
    runs = setup.jobs(jobs)
    kept = Kept(runs, uuid.uuid4().hex)
    processes = [(job, block) for block in range(plan.blocks) for job in round_order(runs, block)]
    total = sum(_expected_s(job, plan) for job, _ in processes) + _START_S * len(runs)
    cold = setup.scenario == "cold"
    idle = (
        []
        if cold
        else measure_idle(runner, plan.min_seconds, plan.blocks, lambda: say(0, round(total), IDLE))
    )
    make = partial(result_of, idle=idle)
    done = 0.0
    with keeping(kept, plan.blocks, make):
        for order, (job, block) in enumerate(processes):
            text = f"{job.name}, block {block + 1} of {plan.blocks}"
            expected = _expected_s(job, plan)

            def on_said(
                said: Mapping[str, Any], done: float = done, part: float = expected, text: str = text
            ) -> None:
                say(done + said["share"] * part, round(total), words(text, said))

            on_said({"share": 0.0})
            # Sessions that are made for many at once are not what one image would be given to.
            staged = block == 0 and job.scenario != "throughput"
            (report,) = run_workers([job], job.scenario, plan, runner, on_said, staged)
            kept.timed[job.name].append(place_report(report, order))
            done += expected
        for job in runs:
            say(done, round(total), f"{job.name}, memory")
            (kept.memory[job.name],) = run_workers([job], "memory", plan, runner)
            done += _START_S
    say(total, round(total), "done")
    return kept.results(make, plan.blocks)


def _expected_s(job: Job, plan: BenchProfile) -> float:
    if job.scenario == "cold":
        return _START_S
    frames_s = plan.min_queries / job.fps if job.fps else 0.0
    return _START_S + plan.warmup_s + max(plan.min_seconds, frames_s) / plan.blocks
