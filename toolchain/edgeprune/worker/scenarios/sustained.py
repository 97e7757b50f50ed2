"""`sustained`: one query after the other for minutes: heat shows in the latency, a leak in resident memory.

A leak first takes what the heap has free, and loading a model leaves many megabytes there, so the heap gives
its free pages back before the first reading. What the harness itself keeps must not look like a leak: the
room for all samples is taken, and touched, before the first one is timed.
"""

from __future__ import annotations

import ctypes
import gc
import statistics
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from edgeprune.worker import environment, live
from edgeprune.worker.scenarios.block import SAY_EVERY_NS, Workbench, measure_loop, say

if TYPE_CHECKING:
    from edgeprune.backends import Session
    from edgeprune.worker.scenarios.block import Array

_ROOM = 1.5  # times the samples that the warm engine's pace would give
_PACE_OF = 10  # queries


def run(
    bench: Workbench,
    clock: Callable[[], int] = time.perf_counter_ns,
    resident: Callable[[], environment.Resident | None] = environment.read_resident,
) -> dict[str, Any]:
    """Time queries for the job's seconds and read the resident memory every `memory_every_s` between two."""
    job = bench.job

    def loop() -> dict[str, Any]:
        gc.freeze()
        say("measure")
        every_ns = int(job["memory_every_s"] * 1e9)
        return stream(bench.sessions[0], bench.inputs, job["min_seconds"], every_ns, clock, resident)

    return measure_loop(bench, loop, collect=True)


def stream(
    session: Session,
    inputs: list[Array],
    seconds: float,
    every_ns: int,
    clock: Callable[[], int],
    resident: Callable[[], environment.Resident | None],
) -> dict[str, Any]:
    """Run for so many seconds.

    Returns:
        ``samples_ns``, ``starts_ns`` and ``elapsed_ns`` as every block; ``resident``: rows of the time since
        the beginning in ns, RSS and PSS in kB (PSS None where the kernel does not tell); and the ``method``
        they were read by.
    """
    import numpy as np

    trimmed = ", after malloc_trim" if trim_heap() else ""
    capacity = int(_ROOM * seconds * 1e9 / _pace_ns(session, inputs, clock)) + 1024
    spans = np.ones((capacity, 2), np.int64)  # ones, not empty: the pages are there from now on
    memory = np.ones((int(_ROOM * seconds * 1e9 / every_ns) + 16, 3), np.int64)
    method, count, reads, n = "", 0, 0, len(inputs)
    begin = end = told = clock()
    due, deadline = begin, begin + int(seconds * 1e9)
    while end < deadline:
        if end >= due and reads < len(memory):
            due += every_ns
            if (found := resident()) is not None:
                memory[reads] = end - begin, found.rss_kb, -1 if found.pss_kb is None else found.pss_kb
                method = found.method
                reads += 1
        if end - told > SAY_EVERY_NS:
            told = end
            done = min(1.0, (end - begin) / (deadline - begin))
            latest = live.figures(spans[max(0, count - live.LATEST) : count, 1].tolist())
            say("measure", share=done, **latest | {"n": count}, **live.temperature())
        if count == len(spans):
            spans = np.concatenate([spans, np.ones_like(spans)])
        images = inputs[count % n]
        start = clock()
        session(images)
        end = clock()
        spans[count] = start - begin, end - start
        count += 1
    return {
        "samples_ns": spans[:count, 1].tolist(),
        "starts_ns": spans[:count, 0].tolist(),
        "elapsed_ns": end - begin,
        "resident": [[t, rss, None if pss < 0 else pss] for t, rss, pss in memory[:reads].tolist()],
        "resident_method": f"{method}{trimmed}" if method else None,
    }


def trim_heap() -> bool:
    """Give the heap's free pages back to the system; False where the C library cannot (musl, Android)."""
    try:
        return bool(ctypes.CDLL(None).malloc_trim(0))
    except (AttributeError, OSError):
        return False


def _pace_ns(session: Session, inputs: list[Array], clock: Callable[[], int]) -> float:
    times = []
    for index in range(_PACE_OF):
        start = clock()
        session(inputs[index % len(inputs)])
        times.append(clock() - start)
    return max(statistics.median(times), 1.0)
