"""`single_stream`: the next query when the last one has ended. The number that is gated."""

from __future__ import annotations

import itertools
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from edgeprune.worker import live
from edgeprune.worker.scenarios.block import Workbench, measure_loop, say
from edgeprune.worker.sensors.contention import waiting

if TYPE_CHECKING:
    from edgeprune.backends import Session
    from edgeprune.worker.scenarios.block import Array

SAY_EVERY_S = 1.0


def run(bench: Workbench) -> dict[str, Any]:
    """Time queries until the job's minima are met."""
    measure = _in_turns if bench.job["turn_queries"] else _alone
    return measure_loop(bench, lambda: measure(bench.job, bench.sessions[0], bench.inputs))


def _alone(job: dict[str, Any], session: Session, inputs: list[Array]) -> dict[str, Any]:
    """Time queries until the job's minima are met, in slices of a second.

    Between two slices the worker tells how far it is, and runs one query that is not timed, since the caches
    then hold other data.
    """
    say("measure")
    least_s = min(SAY_EVERY_S, job["min_seconds"])
    least = 1 if least_s else job["min_queries"]
    samples: list[int] = []
    total_ns, share = 0, 0.0
    while share < 1:
        if samples:
            session(inputs[len(samples) % len(inputs)])
        total_ns += _timed_loop(session, inputs, samples, least, least_s)
        share = _share(job, samples, total_ns)
        say("measure", share=share, **live.figures(samples), **live.temperature())
    return {"samples_ns": samples, "elapsed_ns": total_ns}


def _in_turns(job: dict[str, Any], session: Session, inputs: list[Array]) -> dict[str, Any]:
    """Time queries turn by turn, with what each query waited for a core.

    It waits for a line on standard input before each turn, until that ends: `worker/turns.py` passes the turn
    from worker to worker. The caches then hold another worker's data, so a turn begins with one query that is
    not timed.
    """
    say("ready")
    samples: list[int] = []
    turns: list[int] = []
    waits: list[int] = []
    total_ns = 0
    with waiting() as waited_ns:
        while sys.stdin.readline():
            session(inputs[len(samples) % len(inputs)])
            so_far = len(samples)
            total_ns += _timed_loop(
                session, inputs, samples, job["turn_queries"], job["turn_seconds"], waited_ns, waits
            )
            turns.append(len(samples) - so_far)
            say("turn", share=_share(job, samples, total_ns), **live.figures(samples))
    return {"samples_ns": samples, "elapsed_ns": total_ns, "turns": turns, "waits_ns": waits}


def _share(job: dict[str, Any], samples: list[int], total_ns: int) -> float:
    """Return how much of both minima is reached, 1 when they are met."""
    of_time: float = total_ns / 1e9 / job["min_seconds"] if job["min_seconds"] else 1.0
    of_queries: float = len(samples) / job["min_queries"]
    return min(1.0, of_time, of_queries)


def _timed_loop(
    session: Session,
    inputs: list[Array],
    samples: list[int],
    min_queries: int,
    min_seconds: float,
    waited_ns: Callable[[], int] | None = None,
    waits: list[int] | None = None,
) -> int:
    """Append every sample, input ready to outputs readable on the host; return the loop's time. All in ns.

    Args:
        waited_ns, waits: what tells the time that was waited for a core so far, asked between two queries,
            and the list of what each query waited.
    """
    clock = time.perf_counter_ns  # CLOCK_MONOTONIC on Linux
    keep = samples.append
    enough = len(samples) + min_queries
    rotated = itertools.islice(itertools.cycle(inputs), len(samples) % len(inputs), None)
    waited = waited_ns() if waited_ns else 0
    begin = end = clock()
    deadline = begin + int(min_seconds * 1e9)
    for images in rotated:
        start = clock()
        session(images)
        end = clock()
        keep(end - start)
        if waited_ns and waits is not None:
            before, waited = waited, waited_ns()
            waits.append(waited - before)
        if end >= deadline and len(samples) >= enough:
            break
    return end - begin
