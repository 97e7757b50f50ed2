"""The worker that only answers: one fresh process that loads an engine and writes what it computes.

``python -m edgeprune.worker.answer JOB.json OUT.json``. The job is a `records.bench_result.Job`; the
outputs go to ``OUT.json.npz``, the rest of the answer, an `Answer` of `bench/answers.py`, to ``OUT.json``.
It reads no clock but to end in time. It travels to the device: it needs the standard library, numpy and the
runtime.
"""

from __future__ import annotations

import platform
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

from edgeprune.backends import get_backend
from edgeprune.core.artifact import digest_with_weights
from edgeprune.core.errors import ModelError
from edgeprune.images.batches import whole_batches
from edgeprune.worker.benchmark import serve, set_variables
from edgeprune.worker.scenarios.block import say

if TYPE_CHECKING:
    import numpy as np

    from edgeprune.backends import Session
    from edgeprune.images.batches import Run
    from edgeprune.images.preprocess import Preprocess

MOST_BYTES = 1 << 30  # of one answer, and about that of all together


def main(argv: Sequence[str]) -> int:
    """Answer one job; see `serve` of `worker/benchmark.py`."""
    return serve(argv, lambda job: run(job, Path(f"{argv[1]}.npz")))


def run(job: dict[str, Any], outputs: Path) -> dict[str, Any]:
    """Load the engine, write its outputs for the inputs, and tell what ran.

    Args:
        job: also ``seconds``, after which no further input is taken; None for all of them. Its inputs may
            be canvases in place of tensors, see `_images`.

    Raises:
        CompileError: the runtime cannot load the engine.
        ModelError: the engine is not the one the job was written for, or its outputs are too large to keep.
    """
    set_variables(job)
    import numpy as np

    engine = Path(job["engine"])
    if digest_with_weights(engine) != job["engine_sha256"]:
        raise ModelError(f"{engine}: not the engine this comparison was planned for (its sha256 differs)")
    backend = get_backend(job["backend"])
    say("load", share=0.0)
    session = backend.load(engine, job["precision"], job["threads"], job["options"])
    images = _images(Path(job["inputs"]))
    prepared = _prepared(session, job["preprocess"]) if images.dtype == np.uint8 else session
    try:
        rows, irregular = _answers(prepared, images, job["batch"], job.get("seconds"))
    except ModelError as exc:
        raise ModelError(f"{job['name']}: {exc}") from exc
    arrays: dict[str, Any] = {}
    if not irregular:
        whole = [np.concatenate(each)[: len(images)] for each in zip(*rows, strict=True)]
        arrays = {f"out{index}": output for index, output in enumerate(whole)}
    np.savez(outputs, **arrays)
    return {
        "machine": platform.machine(),
        "version": backend.version(),
        "actual": session.actual,
        "quantized_ops": backend.quantized_ops(engine) if job["precision"] == "int8" else None,
        "irregular": irregular,
    }


def _images(inputs: Path) -> np.ndarray[Any, Any]:
    """Return the inputs of a job: tensors, or in an ``.npz`` canvases that are uint8 (n, h, w, 3), BGR."""
    import numpy as np

    loaded = np.load(inputs, allow_pickle=False)
    if inputs.suffix != ".npz":
        return np.asarray(loaded)
    with loaded:
        return np.asarray(loaded["canvases"])


def _prepared(session: Session, told: dict[str, Any]) -> Run:
    """Return what runs a session on canvases, each made a tensor by a spec as JSON has it."""
    import numpy as np

    from edgeprune.images.pixels import SELDOM, to_tensor

    spec = cast("Preprocess", SimpleNamespace(**SELDOM | told))
    return lambda canvases: session(np.concatenate([to_tensor(canvas, spec) for canvas in canvases]))


def _answers(
    session: Run, images: np.ndarray[Any, Any], batch: int, seconds: float | None
) -> tuple[list[Any], str | None]:
    """Return the outputs of the images, one list a batch, and what is irregular in them, if anything."""
    import numpy as np

    begun, kept = time.monotonic(), 0
    rows: list[Any] = []
    for part in whole_batches(images, batch):
        say("answer", share=len(rows) * batch / len(images))
        answer = session(part)
        if trouble := _irregular(answer, rows[0] if rows else answer, batch):
            return rows, trouble
        size = sum(output.nbytes for output in answer)
        if size > MOST_BYTES:
            raise ModelError(f"one answer takes {size >> 20} MB: at most {MOST_BYTES >> 20} MB are kept")
        kept += size
        rows.append([np.array(output) for output in answer])
        if seconds is not None and (time.monotonic() - begun > seconds or kept > MOST_BYTES):
            break
    return rows, None


def _irregular(answer: Any, first: Any, batch: int) -> str | None:
    """Tell why outputs cannot be laid side by side: not numbers, no such batch, or of another shape."""
    if not answer:
        return "it has no output"
    for index, output in enumerate(answer):
        shape, kind = getattr(output, "shape", None), getattr(getattr(output, "dtype", None), "kind", "O")
        if shape is None or kind not in "biuf":
            return f"its output {index} is not an array of numbers"
        if not shape or shape[0] != batch:
            return f"its output {index} has the shape {shape}, without a batch of {batch} in front"
        if len(answer) != len(first) or shape != first[index].shape:
            return "the shapes of its outputs change with the input"
    return None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
