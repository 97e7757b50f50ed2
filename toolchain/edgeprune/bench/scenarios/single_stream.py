"""`single_stream`: the next query when the last one has ended. The number that is gated."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from edgeprune.bench.scenarios.block import Bench, measured, say

if TYPE_CHECKING:
    from edgeprune.backends import Session
    from edgeprune.bench.scenarios.block import Array


def run(bench: Bench) -> dict[str, Any]:
    """Time queries until the job's minima are met."""
    samples: list[int] = []

    def loop() -> dict[str, Any]:
        elapsed = sum(_turns(bench.job, bench.sessions[0], bench.inputs, samples))
        return {"samples_ns": samples, "elapsed_ns": elapsed}

    return measured(bench, loop)


def _turns(job: dict[str, Any], session: Session, inputs: list[Array], samples: list[int]) -> Iterator[int]:
    """Time queries until the job's minima are met, at once or turn by turn; yield the time of each turn, ns.

    A job with `turn_queries` waits for a line on standard input before each turn, until that ends:
    `bench/turns.py` passes the turn from worker to worker. The caches then hold another worker's data, so a
    turn begins with one query that is not timed.
    """
    if not job["turn_queries"]:
        say("measure")
        yield _timed_loop(session, inputs, samples, job["min_queries"], job["min_seconds"])
        return
    say("ready")
    total_ns = 0
    while sys.stdin.readline():
        session(inputs[len(samples) % len(inputs)])
        turn_ns = _timed_loop(session, inputs, samples, job["turn_queries"], job["turn_seconds"])
        yield turn_ns
        total_ns += turn_ns
        of_time = total_ns / 1e9 / job["min_seconds"] if job["min_seconds"] else 1.0
        say("turn", share=min(1.0, of_time, len(samples) / job["min_queries"]))


def _timed_loop(
    session: Session, inputs: list[Array], samples: list[int], min_queries: int, min_seconds: float
) -> int:
    """Append every sample, input ready to outputs readable on the host; return the loop's time. All in ns."""
    clock = time.perf_counter_ns  # CLOCK_MONOTONIC on Linux
    keep, n, done = samples.append, len(inputs), len(samples)
    enough = done + min_queries
    begin = end = clock()
    deadline = begin + int(min_seconds * 1e9)
    while done < enough or end < deadline:
        images = inputs[done % n]
        start = clock()
        session(images)
        end = clock()
        keep(end - start)
        done += 1
    return end - begin
