"""`single_stream`: the next query when the last one has ended. The number that is gated."""

from __future__ import annotations

import itertools
import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from edgeprune.bench import live
from edgeprune.bench.scenarios.block import Bench, measured, say

if TYPE_CHECKING:
    from edgeprune.backends import Session
    from edgeprune.bench.scenarios.block import Array

SAY_EVERY_S = 1.0


def run(bench: Bench) -> dict[str, Any]:
    """Time queries until the job's minima are met."""
    samples: list[int] = []

    def loop() -> dict[str, Any]:
        measure = _turns if bench.job["turn_queries"] else _alone
        elapsed = sum(measure(bench.job, bench.sessions[0], bench.inputs, samples))
        return {"samples_ns": samples, "elapsed_ns": elapsed}

    return measured(bench, loop)


def _alone(job: dict[str, Any], session: Session, inputs: list[Array], samples: list[int]) -> Iterator[int]:
    """Time queries until the job's minima are met; yield the time of each slice of a second, ns.

    Between two slices the worker tells how far it is, and runs one query that is not timed, since the caches
    then hold other data.
    """
    say("measure")
    least_s = min(SAY_EVERY_S, job["min_seconds"])
    least = 1 if least_s else job["min_queries"]
    total_ns, share = 0, 0.0
    while share < 1:
        if samples:
            session(inputs[len(samples) % len(inputs)])
        slice_ns = _timed_loop(session, inputs, samples, least, least_s)
        yield slice_ns
        total_ns += slice_ns
        share = _share(job, samples, total_ns)
        say("measure", share=share, **live.figures(samples), **live.temperature())


def _turns(job: dict[str, Any], session: Session, inputs: list[Array], samples: list[int]) -> Iterator[int]:
    """Time queries turn by turn; yield the time of each turn, ns.

    It waits for a line on standard input before each turn, until that ends: `bench/turns.py` passes the turn
    from worker to worker. The caches then hold another worker's data, so a turn begins with one query that is
    not timed.
    """
    say("ready")
    total_ns = 0
    while sys.stdin.readline():
        session(inputs[len(samples) % len(inputs)])
        turn_ns = _timed_loop(session, inputs, samples, job["turn_queries"], job["turn_seconds"])
        yield turn_ns
        total_ns += turn_ns
        say("turn", share=_share(job, samples, total_ns), **live.figures(samples))


def _share(job: dict[str, Any], samples: list[int], total_ns: int) -> float:
    """Return how much of both minima is reached, 1 when they are met."""
    of_time: float = total_ns / 1e9 / job["min_seconds"] if job["min_seconds"] else 1.0
    of_queries: float = len(samples) / job["min_queries"]
    return min(1.0, of_time, of_queries)


def _timed_loop(
    session: Session, inputs: list[Array], samples: list[int], min_queries: int, min_seconds: float
) -> int:
    """Append every sample, input ready to outputs readable on the host; return the loop's time. All in ns."""
    clock = time.perf_counter_ns  # CLOCK_MONOTONIC on Linux
    keep = samples.append
    enough = len(samples) + min_queries
    rotated = itertools.islice(itertools.cycle(inputs), len(samples) % len(inputs), None)
    begin = end = clock()
    deadline = begin + int(min_seconds * 1e9)
    for images in rotated:
        start = clock()
        session(images)
        end = clock()
        keep(end - start)
        if end >= deadline and len(samples) >= enough:
            break
    return end - begin
