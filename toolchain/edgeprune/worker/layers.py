"""The layers' worker: one process that loads many small networks and whole ones, and times them in rounds.

``python -m edgeprune.worker.layers JOB.json OUT.json``. On a machine that others share the speed changes
by tens of per cent from one second to the next, so nothing is timed in one go: each round visits every
network in an order of its own, and what is compared was measured within the same rounds. It travels to the
device like `worker/benchmark.py`: standard library, numpy and the runtime.
"""

from __future__ import annotations

import gc
import random
import statistics
import sys
import time
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeprune.backends import get_backend
from edgeprune.core.artifact import Artifact
from edgeprune.worker import affinity
from edgeprune.worker.benchmark import serve, set_variables
from edgeprune.worker.scenarios.block import say
from edgeprune.worker.sensors.contention import SHORTEST_JUDGED_S, waiting

if TYPE_CHECKING:
    import numpy as np

    from edgeprune.backends import Backend, Session


def main(argv: Sequence[str]) -> int:
    """Time the networks of a job; see `worker.serve`."""
    return serve(argv, run)


def run(job: dict[str, Any]) -> dict[str, Any]:
    """Time every network of the job.

    Args:
        job: ``backend``, ``precision``, ``threads``, ``options``, ``environment``; ``nets``: each a mapping
            of ``name``, ``engine`` (a file or folder) and ``size`` (height, width); ``batch``, the images
            that each takes at once; ``archive``, the zip file
            that engines named by a relative path are in, or None; ``compiles``, whether those are ONNX files
            of which only this device makes engines; ``rounds``; and of one visit ``queries``, the least, and
            ``seconds``, about how long it takes.

    Returns:
        ``version`` of the runtime; ``rounds_ns``: by name, the median of each round, without what a lone
        thread waited for a core; and ``foreign``, the share of the time of a core that others took while the
        worker waited for it, None where the kernel does not tell or the rounds were too short to be judged.

    Raises:
        CompileError: the runtime cannot load one of the networks.
    """
    affinity.pin(job["threads"])
    set_variables(job)
    import numpy as np

    backend = get_backend(job["backend"])
    generator = np.random.default_rng(0)
    images = {
        tuple(net["size"]): generator.random((job["batch"], 3, *net["size"]), dtype=np.float32)
        for net in job["nets"]
    }
    folder = _unpacked(job["archive"])
    sessions = {}
    for index, net in enumerate(job["nets"]):
        engine = _engine(backend, folder / net["engine"], job, folder)
        session = backend.load(engine, job["precision"], job["threads"], job["options"])
        session(images[tuple(net["size"])])
        sessions[net["name"]] = (session, images[tuple(net["size"])])
        say("load", share=(index + 1) / len(job["nets"]))
    rounds: dict[str, list[float]] = {name: [] for name in sessions}
    order = random.Random(0)  # noqa: S311  # an order, not a secret
    gc.collect()
    gc.disable()
    with waiting() as waited_ns:
        begin, before = time.perf_counter_ns(), waited_ns() if waited_ns else 0
        told = waited_ns if job["threads"] == 1 else None  # how several threads' waits add up nobody knows
        for number in range(job["rounds"]):
            names = list(sessions)
            order.shuffle(names)
            for name in names:
                rounds[name].append(_visit(*sessions[name], job["queries"], job["seconds"], told))
            say("round", share=(number + 1) / job["rounds"])
        took = time.perf_counter_ns() - begin
        judged = took >= SHORTEST_JUDGED_S * 1e9
        foreign = (waited_ns() - before) / took / job["threads"] if waited_ns and judged else None
    gc.enable()
    return {"version": backend.version(), "rounds_ns": rounds, "foreign": foreign}


def _unpacked(archive: str | None) -> Path:
    """Unpack an archive beside itself: hundreds of small files would each wait for the network."""
    if archive is None:
        return Path()
    folder = Path(archive).with_suffix("")
    with zipfile.ZipFile(archive) as packed:
        packed.extractall(folder)
    return folder


def _engine(backend: Backend, path: Path, job: dict[str, Any], folder: Path) -> Path:
    """Return what is loaded: the file, or what is compiled of an ONNX file where only this device can."""
    if path.suffix != ".onnx" or not job["compiles"]:
        return path
    model = Artifact.of(path, "onnx", job["precision"])
    return backend.compile(model, job["precision"], job["options"], folder / f"engine-{path.stem}").path


def _visit(
    session: Session,
    images: np.ndarray[Any, Any],
    queries: int,
    seconds: float,
    waited_ns: Callable[[], int] | None,
) -> float:
    """Return the median of a few queries, ns, after one that finds another network's data in the caches.

    Args:
        waited_ns: what tells how long the thread has waited for a core so far: that is taken off.
    """
    clock = time.perf_counter_ns
    session(images)
    samples: list[int] = []
    begin = clock()
    deadline = begin + int(seconds * 1e9)
    waited = waited_ns() if waited_ns else 0
    while len(samples) < queries or clock() < deadline:
        start = clock()
        session(images)
        took = clock() - start
        before, waited = waited, waited_ns() if waited_ns else 0
        samples.append(max(1, took - (waited - before)))
    return float(statistics.median(samples))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
