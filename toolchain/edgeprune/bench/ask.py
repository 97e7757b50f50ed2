"""Ask one worker on a device, and bring its answer here."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from edgeprune.core.files import write_text_atomically
from edgeprune.runners import Runner


def ask(
    runner: Runner,
    worker: str,
    job: Mapping[str, Any],
    folder: Path,
    timeout_s: float,
    on_line: Callable[[str], None] | None = None,
    beside: Sequence[str] = (),
) -> Path:
    """Run ``edgeprune.worker.WORKER`` on a job in a process of its own; return the file of its answer.

    Args:
        job: JSON-like data whose paths are those of the device.
        folder: on this machine, for the job and the answer.
        beside: endings of what the worker leaves beside its answer; it is brought beside it here as well.

    Raises:
        DeviceError: the worker crashed, hung, or left no answer.
    """
    write_text_atomically(folder / "job.json", json.dumps(job))
    remote = runner.push(folder / "job.json")
    answer = f"{remote}.out.json"
    runner.run((runner.python(), "-m", f"edgeprune.worker.{worker}", remote, answer), timeout_s, on_line)
    here = runner.pull(answer, folder / "answer.json")
    for ending in beside:
        runner.pull(answer + ending, folder / f"{here.name}{ending}")
    return here
