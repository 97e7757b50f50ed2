"""The measurement protocol: fresh worker processes that take turns, with the evidence of each.

Sections 1 to 3 of `docs/measurement.md`.
"""

from __future__ import annotations

import math
import tempfile
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeprune.backends import get_backend
from edgeprune.bench.derived import delegated_pct, fps_of, median_cold, minutes_of, resident_growth
from edgeprune.bench.effort import BenchProfile
from edgeprune.bench.energy import energy_of, measure_idle
from edgeprune.bench.flags import derive_flags, disturbances
from edgeprune.bench.partial import Kept, head, keeping
from edgeprune.bench.statistics import latency_of, pooled_ns
from edgeprune.core.documents import read_record
from edgeprune.core.errors import DeviceError, DroppedError
from edgeprune.core.files import write_text_atomically
from edgeprune.records.bench_result import BenchResult, Block, Job, Scenario, WorkerReport
from edgeprune.records.facts import RuntimeFacts, ScenarioFacts
from edgeprune.runners import require_timed
from edgeprune.worker.live import words
from edgeprune.worker.telemetry import SUFFIX, read_unfinished
from edgeprune.worker.turns import said_by

if TYPE_CHECKING:
    from edgeprune.runners import Runner

    Array = np.ndarray[Any, Any]

Progress = Callable[[float, int, str], None]
IDLE = "power of the idle machine"  # the word for it in the live view
# A turn is long enough for the caches to be the worker's own again, and short beside the moods of a machine.
TURN_QUERIES, TURN_SECONDS = 4, 0.04
# Beside many others a worker waits long for its turn anyway: longer turns then cost no evenness, and save the
# fast ones waiting for the slow ones' four queries.
TURN_SECONDS_A_JOB = 0.01


def measure(
    jobs: Sequence[Job], plan: BenchProfile, runner: Runner, on_progress: Progress | None = None
) -> tuple[BenchResult, ...]:
    """Measure all jobs side by side: in each round one fresh process of every job, in turns of a few queries.

    What the machine does to one job it then does to all alike. The order changes round by round. Each job
    gets one more process for its peak memory. A round that the machine disturbed is run again, once it is
    calm or after the plan's `calm_s`, so that there are at most twice as many. Those that were disturbed
    least count.

    Args:
        jobs: with unique names; what they name is pushed to the device.
        plan: how much to measure.
        on_progress: called with (processes finished, processes in all, what comes next).

    Returns:
        One result a job, in the order of `jobs`.

    Raises:
        IncompleteError: a worker crashed, hung, or answered with garbage; it has what was finished.
    """
    say = on_progress or (lambda done, total, text: None)
    kept = Kept(jobs, uuid.uuid4().hex)
    total = len(jobs) * (plan.blocks + 1)
    # Of several jobs in turns nobody can tell whose the power was.
    alone = len(jobs) == 1
    idle = measure_idle(runner, plan.min_seconds, plan.blocks, lambda: say(0, total, IDLE)) if alone else []
    make = partial(result_of, idle=idle)
    with keeping(kept, plan.blocks, make):
        number = 0  # of rounds begun: those that the machine disturbed are run again, as many as were planned
        while (block := kept.counted(plan.blocks)) < plan.blocks and number < 2 * plan.blocks:
            order = round_order(jobs, block)
            done = block * len(jobs)
            again = number - block
            head = f"block {block + 1} of {plan.blocks}" + (f", {again} were disturbed" if again else "")

            def on_said(said: Mapping[str, Any], done: int = done, head: str = head) -> None:
                say(done + said["share"] * len(jobs), total, words(head, said))

            on_said({"share": 0.0})
            how = plan if again else replace(plan, calm_s=0.0)
            answers = run_workers(order, "single_stream", how, runner, on_said, staged=not block)
            for place, (job, report) in enumerate(zip(order, answers, strict=True)):
                kept.timed[job.name].append(place_report(report, number * len(jobs) + place))
            kept.disturbed.append(disturbance(answers))
            number += 1
        for index, job in enumerate(jobs):
            say(total - len(jobs) + index, total, f"{job.name}, memory")
            (kept.memory[job.name],) = run_workers([job], "memory", plan, runner)
    say(total, total, "done")
    return kept.results(make, plan.blocks)


def disturbance(reports: Sequence[WorkerReport]) -> float:
    """Return how much the machine disturbed a round: 0 for not so much that a flag tells of it.

    Else the largest share of a core's time that others took from one of its workers.
    """
    if not any(
        list(disturbances(blocks_of([report]), report.env_before, report.env_after, report.telemetry))
        for report in reports
    ):
        return 0.0
    blocks = blocks_of(reports)
    return max([block.steal or 0.0 for block in blocks] + [block.foreign or 0.0 for block in blocks] + [1e-9])


def round_order(jobs: Sequence[Job], block: int) -> list[Job]:
    """Return the order of a round: each starts one job later, every other one runs backwards."""
    start = block % len(jobs)
    turned = [*jobs[start:], *jobs[:start]]
    return turned[::-1] if block % 2 else turned


def run_workers(
    jobs: Sequence[Job],
    scenario: Scenario,
    plan: BenchProfile,
    runner: Runner,
    on_said: Callable[[Mapping[str, Any]], None] | None = None,
    staged: bool = False,
) -> list[WorkerReport]:
    """Run one fresh worker process a job on the device, side by side in turns; return their reports.

    Args:
        on_said: called with what a worker says as it measures: the ``share`` that is done, and figures for
            the live view (`live.py`).
        staged: time the stages around the network as well, after the rest, where a job has an image for that.

    Raises:
        DeviceError: a worker crashed, hung, or answered with garbage, and the message names the job; or the
            device is emulated.
    """
    require_timed(runner)
    alone = len(jobs) == 1
    share: dict[str, Any] = {
        "scenario": scenario,
        "warmup_iterations": plan.warmup_iterations,
        "warmup_s": plan.warmup_s,
        "warmup_cap_s": plan.warmup_cap_s,
        "min_queries": math.ceil(plan.min_queries / plan.blocks),
        "min_seconds": plan.min_seconds / plan.blocks,
        "patience_s": plan.timeout_s,
        "calm_s": plan.calm_s,
        "turn_queries": 0 if alone else TURN_QUERIES,
        "turn_seconds": 0.0 if alone else max(TURN_SECONDS, TURN_SECONDS_A_JOB * len(jobs)),
    }
    if not staged:
        share["image"] = None
    with tempfile.TemporaryDirectory(prefix="edgeprune-bench-") as folder:
        files = [Path(folder) / f"job{index}.json" for index in range(len(jobs))]
        there = on_device([job.model_copy(update=share) for job in jobs], runner)
        for path, job in zip(files, there, strict=True):
            write_text_atomically(path, job.model_dump_json())
        remotes = runner.push_all(files)
        paths = [path for remote in remotes for path in (remote, f"{remote}.out.json")]
        module = "edgeprune.worker.benchmark" if alone else "edgeprune.worker.turns"
        try:
            timeout = plan.timeout_s * len(jobs)
            runner.run((runner.python(), "-m", module, *paths), timeout, lambda line: _follow(line, on_said))
        except DeviceError as exc:
            error = DeviceError(f"{jobs[0].name}: {exc}" if alone else str(exc))
            if not isinstance(exc.__cause__, DroppedError):  # out of reach: it is not asked again
                error.telemetry = _left_by_a_killed_worker(paths[1], Path(folder), runner)
            raise error from exc
        return [_collect(job, paths[2 * i + 1], Path(folder), runner) for i, job in enumerate(jobs)]


def on_device(jobs: Sequence[Job], runner: Runner) -> list[Job]:
    """Push what jobs name; return them with the paths that the device knows."""
    named = [
        (index, name, Path(path))
        for index, job in enumerate(jobs)
        for name in ("engine", "inputs", "reference", "image")
        if (path := getattr(job, name)) is not None
    ]
    update: list[dict[str, str]] = [{} for _ in jobs]
    for (index, name, _), remote in zip(named, runner.push_all([path for *_, path in named]), strict=True):
        update[index][name] = remote
    return [job.model_copy(update=paths) for job, paths in zip(jobs, update, strict=True)]


def _follow(line: str, on_said: Callable[[Mapping[str, Any]], None] | None) -> None:
    said = said_by(line)
    if on_said and "share" in said:
        on_said(said)


def _left_by_a_killed_worker(answer: str, folder: Path, runner: Runner) -> tuple[dict[str, Any], ...]:
    """Return the telemetry that lies beside an answer that was never written."""
    try:
        return tuple(read_unfinished(runner.pull(answer + SUFFIX, folder / "telemetry.jsonl")))
    except DeviceError:
        return ()


def _collect(job: Job, answer: str, folder: Path, runner: Runner) -> WorkerReport:
    try:
        told = runner.pull(answer, folder / "answer.json")
    except DeviceError as exc:
        raise DeviceError(f"{job.name}: {exc}") from exc
    try:
        return read_record(WorkerReport, told, DeviceError)
    except DeviceError as exc:
        raise DeviceError(f"{job.name}: the worker on {runner.name} answered with garbage") from exc


def place_report(report: WorkerReport, order: int) -> WorkerReport:
    """Return a report whose block knows its place in the session."""
    if report.block is None:
        return report
    return report.model_copy(update={"block": report.block.model_copy(update={"order": order})})


def blocks_of(reports: Sequence[WorkerReport]) -> tuple[Block, ...]:
    """Return the timed blocks of the reports."""
    return tuple(report.block for report in reports if report.block is not None)


def backend_evidence(job: Job, report: WorkerReport, quantized_ops: int | None) -> RuntimeFacts:
    """Return what was asked of the runtime beside what it really used.

    A row is int8 when the runtime executes integer convolutions, whatever precision the rest has.
    """
    runs_integers = job.precision == "int8" and quantized_ops != 0
    requested = job.options.get("provider", get_backend(job.backend).PROVIDER)
    return RuntimeFacts(
        name=job.backend,
        version=report.version,
        provider_requested=requested,
        provider_actual=report.actual["provider"],
        provider_nodes=report.actual.get("nodes"),
        delegated_pct=delegated_pct(report.actual, requested),
        left=report.actual.get("left"),
        precision_requested=job.precision,
        precision_actual="int8" if runs_integers else report.actual["precision"],
        quantized_ops=quantized_ops,
        threads=report.actual["threads"],
        streams=report.actual["streams"],
        affinity=report.env_before.get("affinity"),
        options=job.options,
        environment=job.environment,
    )


def result_of(
    job: Job,
    reports: Sequence[WorkerReport],
    memory: WorkerReport | None,
    run_id: str,
    started: datetime,
    idle: Sequence[Mapping[str, Any]] = (),
) -> BenchResult:
    """Return a job's result from the reports of its processes, and of the one that only read its memory.

    Args:
        idle: samples of the idle machine before a job that was measured alone, see `energy_of`.
    """
    first, last = reports[0], reports[-1]
    backend = backend_evidence(job, first, memory.quantized_ops if memory else None)
    blocks = blocks_of(reports)
    telemetry = tuple(sample for report in reports for sample in report.telemetry)
    sustained = blocks[0] if job.scenario == "sustained" else None
    minutes = minutes_of(sustained) if sustained else ()
    growth = resident_growth(sustained) if sustained else None
    cold_runs = tuple(report.cold for report in reports) if job.scenario == "cold" else ()
    return BenchResult(
        **head(job, run_id, started),
        backend=backend,
        scenario=ScenarioFacts(
            name=job.scenario,
            fps_target=job.fps,
            batch=job.batch,
            in_flight=job.in_flight,
            inputs=first.inputs,
            timing_boundary="host input ready to outputs readable on the host",
            file_cache=tuple(report.file_cache for report in reports if report.file_cache) or None,
        ),
        blocks=blocks,
        cold_ms=median_cold(cold_runs) if cold_runs else first.cold,
        cold_runs=cold_runs,
        latency_ms=asdict(latency_of(pooled_ns(blocks))) if blocks else None,
        stages_ms=first.stages_ms,
        fps=fps_of(blocks, job.fps, job.batch),
        minutes=minutes,
        growth=growth,
        memory=memory.memory if memory else None,
        env_before=first.env_before,
        env_after=last.env_after,
        flags=derive_flags(blocks, backend, first.env_before, last.env_after, minutes, growth, telemetry),
        telemetry=telemetry,
        energy=energy_of(blocks, telemetry, idle),
    )
