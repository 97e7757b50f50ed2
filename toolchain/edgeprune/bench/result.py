"""The result of one benchmark run: raw nanosecond samples and evidence. Statistics are derived, never stored as truth.

The schema follows section 3 of the measurement protocol (`docs/bench-protocol.md`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

SCHEMA_VERSION = 1


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Job(_Record):
    """What one worker process has to measure. Written as JSON, read by `bench/worker.py` on the device.

    Attributes:
        name: unique name of the row, used in file names and flags.
        engine: path of the artifact on the device.
        inputs: path of an ``.npy`` file, float32, shape (n, *input shape without batch), n >= 16 distinct tensors.
        reference: path of an ``.npz`` with outputs ``out0``, ``out1`` ... for the first n inputs, or None.
        tolerance: largest allowed relative L2 error of each output against the reference.
        options: runtime options of the profile for this precision.
    """

    name: str
    backend: str
    engine: str
    engine_sha256: str
    precision: str
    threads: int
    options: dict[str, str]
    inputs: str
    reference: str | None = None
    tolerance: float = 1e-3
    scenario: Literal["single_stream", "cold", "memory"] = "single_stream"
    warmup_iterations: int = 10
    warmup_s: float = 2.0
    warmup_cap_s: float = 30.0
    min_queries: int = 128
    min_seconds: float = 10.0


class Block(_Record):
    """What one fresh worker process measured."""

    pid: int
    order: int
    t_start: float
    warmup_n: int
    samples_ns: tuple[int, ...]
    elapsed_ns: int
    canary_before_ns: int
    canary_after_ns: int
    ctxt_invol: int
    majflt: int


class Flag(_Record):
    """Something that makes a run unfit to be gated (`invalid`) or less certain (`warning`), with its evidence."""

    code: str
    severity: Literal["invalid", "warning"]
    evidence: str


class Cold(_Record):
    """Milliseconds from a fresh process: loading the engine (compilation included) and the first inference."""

    load: float
    first_infer: float


class Memory(_Record):
    """Peak resident memory (VmHWM) of a worker that does nothing else, in MB (1e6 bytes).

    Attributes:
        baseline_hwm: after the imports, before the engine is loaded.
        method: how it was read, since not every device accounts for its memory alike.
    """

    baseline_hwm: float
    load_hwm: float
    peak_hwm: float
    method: str


class BenchResult(_Record):
    """One artifact measured in one run."""

    schema_version: int = SCHEMA_VERSION
    run_id: str
    started_utc: str
    name: str
    tool: dict[str, Any]
    artifact: dict[str, Any]
    backend: dict[str, Any]
    scenario: dict[str, Any]
    blocks: tuple[Block, ...]
    cold_ms: Cold | None
    memory: Memory | None
    env_before: dict[str, Any]
    env_after: dict[str, Any]
    flags: tuple[Flag, ...]

    @property
    def valid(self) -> bool:
        """Whether the run may be gated: no flag of severity `invalid`."""
        return not any(flag.severity == "invalid" for flag in self.flags)


def load_result(path: Path) -> BenchResult:
    """Read a result file."""
    return BenchResult.model_validate_json(path.read_text(encoding="utf-8"))
