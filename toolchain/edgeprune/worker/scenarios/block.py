"""One timed block: outputs checked, engine warm, and the evidence of what the machine did around the loop."""

from __future__ import annotations

import gc
import json
import os
import resource
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeprune.core.artifact import digest_with_weights
from edgeprune.core.errors import ModelError
from edgeprune.images.batches import rows_of
from edgeprune.worker import environment

if TYPE_CHECKING:
    import numpy as np

    from edgeprune.backends import Session

    Array = np.ndarray[Any, Any]

CHECKED_INPUTS = 32
SAY_EVERY_NS = 1_000_000_000
_MEDIAN_OF = 10  # iterations of one warm-up median
_SETTLED = 0.02  # relative difference of two successive medians that ends the warm-up


@dataclass(frozen=True)
class Workbench:
    """What a scenario measures.

    Attributes:
        job: a `records.bench_result.Job` as JSON-like data.
        sessions: one for each query in flight; they may be the same object.
        inputs: float32, each of shape (batch, 3, H, W), to rotate over; see `inputs_of`.
    """

    job: dict[str, Any]
    sessions: Sequence[Session]
    inputs: list[Array]


def measure_loop(
    bench: Workbench,
    loop: Callable[[], dict[str, Any]],
    warm: Callable[[], int] | None = None,
    collect: bool = False,
) -> dict[str, Any]:
    """Check the outputs, warm up, run a loop, and return what it returns with the evidence around it.

    Args:
        loop: returns at least ``samples_ns`` and ``elapsed_ns``.
        warm: warms up more than the first session alone; returns its queries.
        collect: leave Python's garbage collector on, as an application would.

    Raises:
        ModelError: the engine is not the one the job was written for.
    """
    job = bench.job
    require_engine(job)
    output_ok, output_error = check(job, bench.sessions[0], bench.inputs)
    say("warmup")
    warmup_n = warm_up(job, bench.sessions[0], bench.inputs) + (warm() if warm else 0)
    canary_before = _canary()
    stolen, waited = environment.read_stolen_s(), environment.read_waited_s()
    usage_before = resource.getrusage(resource.RUSAGE_SELF)
    t_start, started = time.time(), time.perf_counter_ns()
    gc.collect()
    if not collect:
        gc.disable()
    block = loop()
    gc.enable()
    wall_s = (time.perf_counter_ns() - started) / 1e9
    usage = resource.getrusage(resource.RUSAGE_SELF)
    stolen_after, waited_after = environment.read_stolen_s(), environment.read_waited_s()
    steal = [_share(stolen.get(core), seconds, wall_s) for core, seconds in stolen_after.items()]
    return {
        "pid": os.getpid(),
        "order": 0,
        "t_start": t_start,
        "warmup_n": warmup_n,
        "canary_before_ns": canary_before,
        "canary_after_ns": _canary(),
        "ctxt_invol": usage.ru_nivcsw - usage_before.ru_nivcsw,
        "majflt": usage.ru_majflt - usage_before.ru_majflt,
        "steal": max((share for share in steal if share is not None), default=None),
        "foreign": _foreign(job, waited, waited_after, block["elapsed_ns"]),
        "swapped_kb": environment.read_status("VmSwap"),
        "output_ok": output_ok,
        "output_error": output_error,
    } | block


def require_engine(job: dict[str, Any]) -> None:
    """Hold the engine's file against the job's digest.

    Raises:
        ModelError: the engine is not the one the job was written for.
    """
    if digest_with_weights(Path(job["engine"])) != job["engine_sha256"]:
        raise ModelError(
            f"{job['engine']}: not the engine this measurement was planned for (its sha256 differs)"
        )


def warm_up(job: dict[str, Any], session: Session, inputs: list[Array]) -> int:
    """Run until two successive medians agree, with the least iterations and time; return the iterations."""
    begin = time.monotonic()
    done = 0
    previous = None
    while True:
        times = []
        for _ in range(_MEDIAN_OF):
            start = time.perf_counter_ns()
            session(inputs[done % len(inputs)])
            times.append(time.perf_counter_ns() - start)
            done += 1
        median = statistics.median(times)
        settled = previous is not None and abs(median - previous) <= _SETTLED * previous
        elapsed = time.monotonic() - begin
        enough = done >= job["warmup_iterations"] and elapsed >= job["warmup_s"]
        if (enough and settled) or elapsed >= job["warmup_cap_s"]:
            return done
        previous = median


def check(job: dict[str, Any], session: Session, inputs: list[Array]) -> tuple[bool | None, float | None]:
    """Compare outputs with the reference; return whether they agree and the largest relative L2 error."""
    if job["reference"] is None:
        return None, None
    import numpy as np

    with np.load(job["reference"]) as stored:
        reference = [stored[f"out{index}"] for index in range(len(stored.files))]
    worst, batch = 0.0, job["batch"]
    for index in range(max(1, min(CHECKED_INPUTS, len(reference[0])) // batch)):  # each image once
        rows = rows_of(index, batch, len(inputs))
        error = difference(session(inputs[index]), [whole[rows] for whole in reference])
        if error is None:
            return False, None
        worst = max(worst, error)
    return worst <= job["tolerance"], worst


def difference(outputs: Sequence[Array], expected: Sequence[Array]) -> float | None:
    """Return the largest relative L2 error of an output; None where shapes differ or one is not finite."""
    import numpy as np

    if len(outputs) != len(expected):
        return None
    worst = 0.0
    for output, wanted in zip(outputs, expected, strict=True):
        if output.shape != wanted.shape:
            return None
        distance = float(np.linalg.norm(output.astype(np.float64) - wanted))
        norm = float(np.linalg.norm(wanted.astype(np.float64)))
        error = distance / norm if norm else float(distance > 0)
        if not np.isfinite(error):
            return None
        worst = max(worst, error)
    return worst


def say(phase: str, **more: float) -> None:
    """Print one line of progress as JSON for whoever runs this process."""
    print(json.dumps({"phase": phase, **more}), flush=True)


def _share(before: float | None, after: float | None, of: float) -> float | None:
    return None if before is None or after is None else max(0.0, after - before) / of


def _foreign(job: dict[str, Any], before: float | None, after: float | None, elapsed_ns: int) -> float | None:
    """Return what share of a core others took; None where the worker's own threads outnumber its cores."""
    threads = job["threads"] * job["in_flight"]
    crowded = job["in_flight"] > 1 and threads > len(os.sched_getaffinity(0))
    return None if crowded else _share(before, after, elapsed_ns / 1e9 * threads)


def _canary() -> int:
    """Return the median time of a fixed numpy workload, ns: what the machine is worth at this moment."""
    import numpy as np

    matrix = np.random.default_rng(0).standard_normal((192, 192)).astype(np.float32)
    times = []
    for _ in range(7):
        start = time.perf_counter_ns()
        for _ in range(8):
            matrix @ matrix
        times.append(time.perf_counter_ns() - start)
    return int(statistics.median(times))
