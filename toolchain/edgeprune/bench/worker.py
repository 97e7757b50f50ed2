"""The benchmark worker: one fresh process that loads one engine, checks it and times it.

``python -m edgeprune.bench.worker JOB.json OUT.json``. The job is a `bench.result.Job`, the answer a
`bench.result.WorkerReport`, both as JSON. It travels to the device: it needs the standard library, numpy and
the runtime, and reads the job before it imports numpy, because thread settings count only before that.
"""

from __future__ import annotations

import gc
import hashlib
import json
import os
import resource
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeprune.artifact import digest, write_text_atomically
from edgeprune.backends import get_backend
from edgeprune.bench import affinity, environment, telemetry
from edgeprune.bench.sensors import memory as memory_sensors
from edgeprune.errors import EdgepruneError, ModelError

if TYPE_CHECKING:
    import numpy as np

    from edgeprune.backends import Session

    Array = np.ndarray[Any, Any]

THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
CHECKED_INPUTS = 32
MEMORY_QUERIES = 32
_MEDIAN_OF = 10  # iterations of one warm-up median
_SETTLED = 0.02  # relative difference of two successive medians that ends the warm-up


def main(argv: Sequence[str]) -> int:
    """Measure one engine, with telemetry beside it; see `serve`."""
    with telemetry.beside(argv[1]) as watch:
        watch.watch(os.getpid())
        return serve(argv, lambda job: run(job) | {"telemetry": watch.samples(os.getpid())})


def serve(argv: Sequence[str], work: Callable[[dict[str, Any]], dict[str, Any]]) -> int:
    """Do the job of the file `argv[0]`, write the report to `argv[1]`, and return the exit status."""
    job_path, out_path = (Path(text) for text in argv)
    try:
        report = work(json.loads(job_path.read_text(encoding="utf-8")))
    except EdgepruneError as exc:
        print(exc, file=sys.stderr)
        return exc.exit_code
    write_text_atomically(out_path, json.dumps(report))
    return 0


def run(job: dict[str, Any]) -> dict[str, Any]:
    """Do the job in this process and return the report.

    Raises:
        CompileError: the runtime cannot load the engine.
        ModelError: the engine is not the one the job was written for.
    """
    affinity.pin(job["threads"])
    os.environ.update(dict.fromkeys(THREAD_VARIABLES, str(job["threads"])))
    os.environ.update(job["environment"])  # runtimes read theirs when they are imported
    import numpy as np

    backend = get_backend(job["backend"])
    version = backend.version()  # imports the runtime: neither load time nor the engine's memory holds that
    env_before = environment.read_environment()
    memory_only = job["scenario"] == "memory"
    tensors = np.load(job["inputs"], mmap_mode="r")
    inputs = [np.array(tensors[i : i + 1]) for i in range(1 if memory_only else len(tensors))]
    shape = [1, *tensors.shape[1:]]
    del tensors
    peak = _PeakMemory() if memory_only else None

    say("load")
    started = time.perf_counter_ns()
    session = backend.load(Path(job["engine"]), job["precision"], job["threads"], job["options"])
    loaded = time.perf_counter_ns()
    if peak:
        peak.after_load()
    first = time.perf_counter_ns()
    session(inputs[0])
    answered = time.perf_counter_ns()

    block = _single_stream(job, session, inputs) if job["scenario"] == "single_stream" else None
    memory = peak.after(lambda: session(inputs[0])) if peak else None
    return {
        "pid": os.getpid(),
        "version": version,
        "actual": session.actual,
        "inputs": {"n": len(inputs), "shape": shape, "sha256": _digest_of(inputs)},
        "cold": {"load": (loaded - started) / 1e6, "first_infer": (answered - first) / 1e6},
        "block": block,
        "memory": memory,
        "quantized_ops": backend.quantized_ops(Path(job["engine"])) if peak else None,
        "env_before": env_before,
        "env_after": environment.read_environment(),
    }


def _single_stream(job: dict[str, Any], session: Session, inputs: list[Array]) -> dict[str, Any]:
    """Check, warm up, then send the next query when the last one has ended, until both minima are met."""
    if digest(Path(job["engine"])) != job["engine_sha256"]:
        raise ModelError(
            f"{job['engine']}: not the engine this measurement was planned for (its sha256 differs)"
        )
    output_ok, output_error = _check(job, session, inputs)
    say("warmup")
    warmup_n = _warm_up(job, session, inputs)
    canary_before = _canary()
    stolen, waited = environment.read_stolen_s(), environment.read_waited_s()
    usage_before = resource.getrusage(resource.RUSAGE_SELF)
    t_start, started = time.time(), time.perf_counter_ns()
    samples: list[int] = []
    elapsed_ns = 0
    gc.collect()
    gc.disable()
    for turn_ns in _turns(job, session, inputs, samples):
        elapsed_ns += turn_ns
    gc.enable()
    wall_s = (time.perf_counter_ns() - started) / 1e9
    usage = resource.getrusage(resource.RUSAGE_SELF)
    stolen_after, waited_after = environment.read_stolen_s(), environment.read_waited_s()
    steal = [_share(stolen.get(core), seconds, wall_s) for core, seconds in stolen_after.items()]
    foreign = _share(waited, waited_after, elapsed_ns / 1e9 * job["threads"])
    return {
        "pid": os.getpid(),
        "order": 0,
        "t_start": t_start,
        "warmup_n": warmup_n,
        "samples_ns": samples,
        "elapsed_ns": elapsed_ns,
        "canary_before_ns": canary_before,
        "canary_after_ns": _canary(),
        "ctxt_invol": usage.ru_nivcsw - usage_before.ru_nivcsw,
        "majflt": usage.ru_majflt - usage_before.ru_majflt,
        "steal": max((share for share in steal if share is not None), default=None),
        "foreign": foreign,
        "swapped_kb": environment.read_status("VmSwap"),
        "output_ok": output_ok,
        "output_error": output_error,
    }


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


def _warm_up(job: dict[str, Any], session: Session, inputs: list[Array]) -> int:
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


def _check(job: dict[str, Any], session: Session, inputs: list[Array]) -> tuple[bool | None, float | None]:
    """Compare outputs with the reference; return whether they agree and the largest relative L2 error."""
    if job["reference"] is None:
        return None, None
    import numpy as np

    with np.load(job["reference"]) as stored:
        reference = [stored[f"out{index}"] for index in range(len(stored.files))]
    worst = 0.0
    for row, images in enumerate(inputs[: min(CHECKED_INPUTS, len(reference[0]))]):
        outputs = session(images)
        if len(outputs) != len(reference):
            return False, None
        for output, whole in zip(outputs, reference, strict=True):
            expected = whole[row : row + 1]
            if output.shape != expected.shape:
                return False, None
            distance = float(np.linalg.norm((output - expected).astype(np.float64)))
            norm = float(np.linalg.norm(expected.astype(np.float64)))
            error = distance / norm if norm else float(distance > 0)
            if not np.isfinite(error):
                return False, None
            worst = max(worst, error)
    return worst <= job["tolerance"], worst


class _PeakMemory:
    """VmHWM at three moments, in MB. `ru_maxrss` would hold the parent's peak as well."""

    def __init__(self) -> None:
        reset = environment.reset_peak_memory()
        self.method = "VmHWM, reset after the imports" if reset else "VmHWM since the start of the process"
        self.baseline = self._now()
        self.load = 0.0

    def _now(self) -> float:
        peak_kb = environment.read_status("VmHWM")
        if peak_kb is None:
            raise ModelError(
                "/proc/self/status: VmHWM cannot be read here, so peak memory cannot be measured"
            )
        return peak_kb * 1024 / 1e6

    def after_load(self) -> None:
        self.load = self._now()

    def after(self, query: Callable[[], object]) -> dict[str, Any]:
        for _ in range(MEMORY_QUERIES):
            query()
        return {
            "baseline_hwm": self.baseline,
            "load_hwm": self.load,
            "peak_hwm": self._now(),
            "method": self.method,
            **_held_now(),
        }


def _held_now() -> dict[str, Any]:
    """Return what the process holds: its share of resident memory, and memory of an accelerator."""
    pss_kb = memory_sensors.read_pss_kb()
    device, method = memory_sensors.read_device_memory(os.getpid()) or (None, None)
    return {
        "pss_steady": None if pss_kb is None else pss_kb * 1024 / 1e6,
        "device_peak": device,
        "device_method": method,
    }


def _share(before: float | None, after: float | None, of: float) -> float | None:
    return None if before is None or after is None else max(0.0, after - before) / of


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


def _digest_of(inputs: list[Array]) -> str:
    total = hashlib.sha256()
    for images in inputs:
        total.update(images.tobytes())
    return total.hexdigest()


def say(phase: str, **more: float) -> None:
    """Print one line of progress as JSON for whoever runs this process."""
    print(json.dumps({"phase": phase, **more}), flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
