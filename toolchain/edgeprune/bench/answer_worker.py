"""The worker that only answers: one fresh process that loads an engine and writes what it computes.

``python -m edgeprune.bench.answer_worker JOB.json OUT.json``. The job is a `bench.result.Job`; the outputs go
to ``OUT.json.npz``, the rest of the answer, an `Answer` of `bench/agreement.py`, to ``OUT.json``. It reads no
clock. It travels to the device: it needs the standard library, numpy and the runtime.
"""

from __future__ import annotations

import platform
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgeprune.artifact import digest_with_weights
from edgeprune.backends import get_backend
from edgeprune.bench.scenarios.block import say
from edgeprune.bench.worker import serve, set_variables
from edgeprune.errors import ModelError


def main(argv: Sequence[str]) -> int:
    """Answer one job; see `serve` of `bench/worker.py`."""
    return serve(argv, lambda job: run(job, Path(f"{argv[1]}.npz")))


def run(job: dict[str, Any], outputs: Path) -> dict[str, Any]:
    """Load the engine, write its outputs for every input, and tell what ran.

    Raises:
        CompileError: the runtime cannot load the engine.
        ModelError: the engine is not the one the job was written for.
    """
    set_variables(job)
    import numpy as np

    engine = Path(job["engine"])
    if digest_with_weights(engine) != job["engine_sha256"]:
        raise ModelError(f"{engine}: not the engine this comparison was planned for (its sha256 differs)")
    backend = get_backend(job["backend"])
    say("load", share=0.0)
    session = backend.load(engine, job["precision"], job["threads"], job["options"])
    images = np.load(job["inputs"])
    rows = []
    for index in range(len(images)):
        say("answer", share=index / len(images))
        rows.append([np.array(output) for output in session(images[index : index + 1])])
    arrays: dict[str, Any] = {
        f"out{i}": np.concatenate(each) for i, each in enumerate(zip(*rows, strict=True))
    }
    np.savez(outputs, **arrays)
    return {
        "machine": platform.machine(),
        "version": backend.version(),
        "actual": session.actual,
        "quantized_ops": backend.quantized_ops(engine) if job["precision"] == "int8" else None,
    }


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
