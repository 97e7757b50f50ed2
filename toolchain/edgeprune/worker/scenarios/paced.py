"""`paced`: frames come at a camera's rate, and the machine idles in between.

Idle cores lower their clocks: a model of 4 ms took 20 to 100 ms with gaps of 200 ms (onnxruntime#16135).

The camera keeps only its newest frame, as a pipeline with one buffer does (GStreamer's `appsink
max-buffers=1 drop=true`). A frame misses its deadline when its outputs are not there as the next one comes,
or when it is never taken because a newer one has replaced it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from edgeprune.worker import live
from edgeprune.worker.scenarios.block import SAY_EVERY_NS, Workbench, measure_loop, say

if TYPE_CHECKING:
    from edgeprune.backends import Session
    from edgeprune.worker.scenarios.block import Array

SETTLING_FRAMES = 10  # at the pace, before timing: the clocks have to find their level


def run(bench: Workbench) -> dict[str, Any]:
    """Time frames until the job's minima are met."""
    job, session, inputs = bench.job, bench.sessions[0], bench.inputs

    def settle() -> int:
        return len(frames(session, inputs, job["fps"], SETTLING_FRAMES, 0.0)["samples_ns"])

    def loop() -> dict[str, Any]:
        say("measure")
        return frames(session, inputs, job["fps"], job["min_queries"], job["min_seconds"])

    return measure_loop(bench, loop, settle)


def frames(
    session: Session,
    inputs: list[Array],
    fps: float,
    min_queries: int,
    min_seconds: float,
    clock: Callable[[], int] = time.perf_counter_ns,
    sleep: Callable[[float], None] = time.sleep,
) -> dict[str, Any]:
    """Run a camera of `fps` frames a second until both minima are met.

    Returns:
        ``samples_ns`` and ``starts_ns`` of the frames that were taken, ``frames``: how many came,
        ``missed``: how many of these missed their deadline, and ``elapsed_ns``: up to the frame after the
        last, or to the last one's outputs where these come later.
    """
    period = 1e9 / fps
    samples: list[int] = []
    starts: list[int] = []
    index = late = 0
    begin = end = clock()
    deadline, told = begin + int(min_seconds * 1e9), begin
    while True:
        due = begin + int(index * period)
        while (now := clock()) < due:
            sleep((due - now) / 1e9)
        start = clock()
        session(inputs[len(samples) % len(inputs)])
        end = clock()
        samples.append(end - start)
        starts.append(start - begin)
        late += end > begin + int((index + 1) * period)
        index = max(index + 1, int((end - begin) / period))
        comes = max(end, begin + int(index * period))
        if len(samples) >= min_queries and comes >= deadline:
            break
        if end - told > SAY_EVERY_NS:
            told = end
            of_time = (end - begin) / (deadline - begin) if min_seconds else 1.0
            done = min(1.0, of_time, len(samples) / min_queries)
            say("measure", share=done, **live.figures(samples), **live.temperature())
    return {
        "samples_ns": samples,
        "starts_ns": starts,
        "frames": index,
        "missed": late + index - len(samples),
        "elapsed_ns": comes - begin,
    }
