"""The benchmark worker: one fresh process that loads one engine, checks it and times it.

``python -m edgeprune.worker.benchmark JOB.json OUT.json``. The job is a `records.bench_result.Job`, the
answer a `records.bench_result.WorkerReport`, both as JSON. It travels to the device: it needs the standard
library, numpy and the runtime, and reads the job before it imports numpy, because thread settings count only
before that.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeprune.backends import get_backend
from edgeprune.core.documents import read_json
from edgeprune.core.errors import DeviceError, EdgepruneError, ModelError
from edgeprune.core.files import write_text_atomically
from edgeprune.images.batches import inputs_of
from edgeprune.worker import affinity, environment, telemetry
from edgeprune.worker.limits import limit_this_process
from edgeprune.worker.scenarios import SCENARIOS
from edgeprune.worker.scenarios.block import Workbench, require_engine, say
from edgeprune.worker.scenarios.file_cache import drop
from edgeprune.worker.scenarios.stages import stages_ms
from edgeprune.worker.sensors.memory import read_device_memory

if TYPE_CHECKING:
    import numpy as np

    from edgeprune.backends import Backend, Session

    Array = np.ndarray[Any, Any]

THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
MEMORY_QUERIES = 32


def main(argv: Sequence[str]) -> int:
    """Measure one engine, with telemetry beside it; see `serve`."""
    with telemetry.beside(argv[1]) as watch:
        watch.watch(os.getpid())
        return serve(argv, lambda job: run(job) | {"telemetry": watch.samples(os.getpid())})


def serve(argv: Sequence[str], work: Callable[[dict[str, Any]], dict[str, Any]]) -> int:
    """Do the job of the file `argv[0]`, write the report to `argv[1]`, and return the exit status."""
    job_path, out_path = (Path(text) for text in argv)
    limit_this_process()
    try:
        report = work(read_json(job_path, DeviceError))
    except EdgepruneError as exc:
        print(exc, file=sys.stderr)
        return exc.exit_code
    write_text_atomically(out_path, json.dumps(report))
    return 0


def set_variables(job: dict[str, Any]) -> None:
    """Set the job's threads and variables: numpy and the runtimes read theirs when they are imported."""
    os.environ.update(dict.fromkeys(THREAD_VARIABLES, str(job["threads"])))
    os.environ.update(job["environment"])


def run(job: dict[str, Any]) -> dict[str, Any]:
    """Do the job in this process and return the report.

    Raises:
        CompileError: the runtime cannot load the engine.
        ModelError: the engine is not the one the job was written for.
    """
    affinity.pin(job["threads"] * job["in_flight"])
    set_variables(job)
    import numpy as np

    backend = get_backend(job["backend"])
    version = backend.version()  # imports the runtime: neither load time nor the engine's memory holds that
    env_before = environment.read_environment()
    scenario = job["scenario"]
    batch = job["batch"]
    tensors = np.load(job["inputs"], mmap_mode="r")
    images = np.array(tensors if scenario in SCENARIOS else tensors[:batch])
    inputs = inputs_of(images, batch)
    told = {"n": len(images), "shape": [batch, *images.shape[1:]], "sha256": _digest_of(images)}
    del tensors, images
    peak = _PeakMemory() if scenario == "memory" else None
    file_cache = drop(Path(job["engine"])) if scenario == "cold" else None

    say("load")
    started = time.perf_counter_ns()
    sessions = _load(backend, job)
    loaded = time.perf_counter_ns()
    if peak:
        peak.after_load()
    first = time.perf_counter_ns()
    sessions[0](inputs[0])
    answered = time.perf_counter_ns()
    cold = {
        "load": (loaded - started) / 1e6,
        "compile": sessions[0].compile_ms,
        "first_infer": (answered - first) / 1e6,
    }

    if scenario == "cold":
        require_engine(job)  # not before: that would read the file into the page cache
    block = SCENARIOS[scenario](Workbench(job, sessions, inputs)) if scenario in SCENARIOS else None
    memory = peak.after(sessions, inputs[0]) if peak else None
    return {
        "pid": os.getpid(),
        "version": version,
        "actual": sessions[0].actual,
        "inputs": told,
        "cold": cold,
        "file_cache": file_cache,
        "block": block,
        "stages_ms": stages_ms(job, sessions[0]) if block and job["image"] else None,
        "memory": memory,
        "quantized_ops": backend.quantized_ops(Path(job["engine"])) if peak else None,
        "env_before": env_before,
        "env_after": environment.read_environment(),
    }


def _load(backend: Backend, job: dict[str, Any]) -> Sequence[Session]:
    """Load the engine: one session, or those for the queries in flight."""
    how = (Path(job["engine"]), job["precision"], job["threads"], job["options"])
    return [backend.load(*how)] if job["in_flight"] == 1 else backend.load_many(*how, job["in_flight"])


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

    def after(self, sessions: Sequence[Session], images: Array) -> dict[str, Any]:
        """Run queries, of several sessions one each at once: their activations are in memory together."""
        if len(sessions) == 1:
            for _ in range(MEMORY_QUERIES):
                sessions[0](images)
        else:
            with ThreadPoolExecutor(len(sessions)) as pool:
                for _ in range(max(1, MEMORY_QUERIES // len(sessions))):
                    list(pool.map(lambda session: session(images), sessions))
        return {
            "baseline_hwm": self.baseline,
            "load_hwm": self.load,
            "peak_hwm": self._now(),
            "method": self.method,
            **_held_now(sessions),
        }


def _held_now(sessions: Sequence[Session]) -> dict[str, Any]:
    """Return what the process holds: its share of resident memory, and memory of an accelerator.

    Where no sensor tells the latter, the sessions may.
    """
    resident = environment.read_resident()
    pss_kb = resident.pss_kb if resident else None
    told = [found for session in sessions if (found := getattr(session, "device_memory", None))]
    own = (sum(held for held, _ in told), told[0][1]) if told else (None, None)
    device, method = read_device_memory(os.getpid()) or own
    return {
        "pss_steady": None if pss_kb is None else pss_kb * 1024 / 1e6,
        "device_peak": device,
        "device_method": method,
    }


def _digest_of(images: Array) -> str:
    return hashlib.sha256(images.data).hexdigest()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
