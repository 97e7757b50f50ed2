"""The worker of `bench.node_times`: one process that asks a runtime how long each node takes.

``python -m edgeprune.worker.nodes JOB.json OUT.json``. It needs the standard library, numpy and
the runtime.
"""

from __future__ import annotations

import statistics
import sys
import time
from pathlib import Path
from typing import Any

from edgeprune.backends import get_backend
from edgeprune.core.errors import ConfigError
from edgeprune.images.batches import inputs_of
from edgeprune.worker import affinity
from edgeprune.worker.benchmark import serve, set_variables

LEAST_WARMUP = 10


def run(job: dict[str, Any]) -> dict[str, Any]:
    """Run the engine with its runtime's counters, in turns with the same engine without them.

    Returns:
        ``nodes``: each with the fields of `bench.node_times.NodeTime`, ``ms`` being the median over the
        counted inferences; and of these inferences ``counted_ms`` and ``plain_ms``, the medians with the
        counters and without.

    Raises:
        CompileError: the runtime cannot load the engine.
        ConfigError: it has no counters.
    """
    affinity.pin(job["threads"])
    set_variables(job)
    import numpy as np

    inputs = inputs_of(np.load(job["inputs"]), job["batch"])
    backend = get_backend(job["backend"])
    if backend.count_nodes is None:
        raise ConfigError(f"{backend.name}: no counters of its nodes are read")
    how = (Path(job["engine"]), job["precision"], job["threads"], job["options"])
    plain, counted = backend.load(*how), backend.count_nodes(*how, Path(job["inputs"]).parent)
    times: dict[str, list[float]] = {"plain_ms": [], "counted_ms": []}
    begin = time.monotonic()
    warm = False
    while len(times["counted_ms"]) < job["inferences"]:
        for name, session in (("plain_ms", plain), ("counted_ms", counted)):
            images = inputs[len(times[name]) % len(inputs)]
            start = time.perf_counter_ns()
            session(images)
            times[name].append((time.perf_counter_ns() - start) / 1e6)
        counted.note()
        if not warm and len(times["plain_ms"]) >= LEAST_WARMUP:
            warm = time.monotonic() - begin >= job["warmup_s"]
            times = {name: [] for name in times} if warm else times
    return {"nodes": counted.nodes(job["inferences"])} | {
        name: statistics.median(values) for name, values in times.items()
    }


if __name__ == "__main__":
    sys.exit(serve(sys.argv[1:], run))
