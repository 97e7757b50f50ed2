"""The worker that tells what a runtime knows of a file: it may be a file that crashes the runtime.

``python -m edgeprune.worker.engine JOB.json OUT.json``. The job has ``backend`` and ``engine``; the
answer has ``input_shape`` and ``quantized_ops``. It needs the standard library, numpy and the runtime.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgeprune.backends import get_backend
from edgeprune.worker.benchmark import serve


def main(argv: Sequence[str]) -> int:
    """Tell of one file; see `serve` of `worker/benchmark.py`."""
    return serve(argv, run)


def run(job: dict[str, Any]) -> dict[str, Any]:
    """Load the file and tell of it.

    Raises:
        CompileError: the runtime cannot load it.
    """
    backend: Any = get_backend(job["backend"])  # of those that have `input_shape`
    engine = Path(job["engine"])
    return {"input_shape": backend.input_shape(engine), "quantized_ops": backend.quantized_ops(engine)}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
