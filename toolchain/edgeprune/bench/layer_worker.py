"""The layers' worker: one process that loads many small networks and whole ones, and times them in rounds.

``python -m edgeprune.bench.layer_worker JOB.json OUT.json``. On a machine that others share the speed changes
by tens of per cent from one second to the next, so nothing is timed in one go: each round visits every
network in an order of its own, and what is compared was measured within the same rounds. It travels to the
device like `bench/worker.py`: standard library, numpy and the runtime.
"""

from __future__ import annotations

import gc
import random
import statistics
import sys
import time
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeprune.backends import get_backend
from edgeprune.bench import affinity
from edgeprune.bench.scenarios.block import say
from edgeprune.bench.worker import serve, set_variables

if TYPE_CHECKING:
    import numpy as np

    from edgeprune.backends import Session


def main(argv: Sequence[str]) -> int:
    """Time the networks of a job; see `worker.serve`."""
    return serve(argv, run)


def run(job: dict[str, Any]) -> dict[str, Any]:
    """Time every network of the job.

    Args:
        job: ``backend``, ``precision``, ``threads``, ``options``, ``environment``; ``nets``: each a mapping
            of ``name``, ``engine`` (a file or folder) and ``size`` (height, width); ``archive``, the zip file
            that engines named by a relative path are in, or None; ``rounds``; and of one visit ``queries``,
            the least, and ``seconds``, about how long it takes.

    Returns:
        ``version`` of the runtime and ``rounds_ns``: by name, the median of each round.

    Raises:
        CompileError: the runtime cannot load one of the networks.
    """
    affinity.pin(job["threads"])
    set_variables(job)
    import numpy as np

    backend = get_backend(job["backend"])
    generator = np.random.default_rng(0)
    images = {
        tuple(net["size"]): generator.random((1, 3, *net["size"]), dtype=np.float32) for net in job["nets"]
    }
    folder = _unpacked(job["archive"])
    sessions = {}
    for index, net in enumerate(job["nets"]):
        session = backend.load(folder / net["engine"], job["precision"], job["threads"], job["options"])
        session(images[tuple(net["size"])])
        sessions[net["name"]] = (session, images[tuple(net["size"])])
        say("load", share=(index + 1) / len(job["nets"]))
    rounds: dict[str, list[float]] = {name: [] for name in sessions}
    order = random.Random(0)  # noqa: S311  # an order, not a secret
    gc.collect()
    gc.disable()
    for number in range(job["rounds"]):
        names = list(sessions)
        order.shuffle(names)
        for name in names:
            rounds[name].append(_visit(*sessions[name], job["queries"], job["seconds"]))
        say("round", share=(number + 1) / job["rounds"])
    gc.enable()
    return {"version": backend.version(), "rounds_ns": rounds}


def _unpacked(archive: str | None) -> Path:
    """Unpack an archive beside itself: hundreds of small files would each wait for the network."""
    if archive is None:
        return Path()
    folder = Path(archive).with_suffix("")
    with zipfile.ZipFile(archive) as packed:
        packed.extractall(folder)
    return folder


def _visit(session: Session, images: np.ndarray[Any, Any], queries: int, seconds: float) -> float:
    """Return the median of a few queries, ns, after one that finds another network's data in the caches."""
    clock = time.perf_counter_ns
    session(images)
    samples: list[int] = []
    begin = clock()
    deadline = begin + int(seconds * 1e9)
    while len(samples) < queries or clock() < deadline:
        start = clock()
        session(images)
        samples.append(clock() - start)
    return float(statistics.median(samples))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
