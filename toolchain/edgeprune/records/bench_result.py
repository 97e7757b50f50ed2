"""The result of one benchmark run: raw nanosecond samples and evidence.

Statistics are derived, never stored as truth. The schema follows section 3 of the measurement protocol
(`docs/measurement.md`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, computed_field, model_validator

from edgeprune.config.targets import Variables
from edgeprune.core.artifact import Built
from edgeprune.core.documents import read_record
from edgeprune.core.errors import DataError
from edgeprune.core.files import write_text_atomically
from edgeprune.records.facts import EngineFacts, FileCache, InputFacts, RuntimeFacts, ScenarioFacts, Tool
from edgeprune.records.figures import Fps, Growth, Minute, Record, Stages

SCHEMA_VERSION = 1
_LONGEST_NAME = 200
Scenario = Literal["single_stream", "paced", "throughput", "sustained", "cold", "memory"]


class Job(Record):
    """What one worker process has to measure. Written as JSON, read by `worker/benchmark.py` on the device.

    Attributes:
        name: unique name of the row, used in file names and flags.
        engine: path of the artifact, here; on the device in what the worker is handed.
        engine_parent: digest of the model that it was compiled from, where a build knows it.
        engine_built: where and in what time, likewise.
        inputs: path of an ``.npy`` file, float32, shape (n, 3, H, W), at least 16 distinct tensors.
        reference: path of an ``.npz`` with outputs ``out0``, ``out1`` ... for the first n inputs, or None.
        batch: images that the engine takes at once.
        tolerance: largest allowed relative L2 error of each output against the reference.
        options: runtime options of the profile for this precision.
        environment: variables that the worker sets before it imports the runtime.
        fps: rate of the frames of `paced`.
        in_flight: queries at once, for `throughput`.
        memory_every_s: how often `sustained` reads the resident memory.
        image: path of an ``.npy`` file, uint8 (h, w, 3), BGR, to time the stages around the network on; None
            for not at all. `preprocess` and `postprocess` say how (`edgeprune.images.spec`); without the
            latter there is no stage `post`.
        patience_s: how long a worker that shares the time may be silent while it is waited for; 0 for any
            time.
        calm_s: how long workers in turns wait, once they are loaded, for others to leave their cores; 0 for
            not at all.
        turn_queries, turn_seconds: least length of a turn at timing, where workers share the time
            (`worker/turns.py`); 0 for one that measures alone, in one go.
    """

    name: str
    backend: str
    engine: str
    engine_sha256: str
    engine_parent: str | None = None
    engine_built: Built | None = None
    precision: str
    threads: int
    options: dict[str, str]
    environment: Variables = Field(default_factory=dict)
    inputs: str
    reference: str | None = None
    batch: int = 1
    tolerance: float = 1e-3
    scenario: Scenario = "single_stream"
    fps: float | None = None
    in_flight: int = 1
    memory_every_s: float = 1.0
    image: str | None = None
    preprocess: dict[str, Any] | None = None
    postprocess: dict[str, Any] | None = None
    warmup_iterations: int = 10
    warmup_s: float = 2.0
    warmup_cap_s: float = 30.0
    min_queries: int = 128
    min_seconds: float = 10.0
    patience_s: float = 0.0
    calm_s: float = 0.0
    turn_queries: int = 0
    turn_seconds: float = 0.0


class Block(Record):
    """What one fresh worker process measured.

    Attributes:
        order: place of the block among all of the session; those of one round share the time in turns.
        t_start: start of the timed loop, seconds since the epoch.
        samples_ns: every sample in the order it was taken; nothing is clipped.
        elapsed_ns: time of the timed loop, its turns summed up, what FPS is computed from.
        canary_before_ns, canary_after_ns: a fixed numpy workload around the loop, the machine's own speed.
        ctxt_invol, majflt: involuntary context switches and major page faults of the worker in the loop.
        steal: largest share of an allowed core's time that the hypervisor took in the loop; None if not told.
        foreign: share of a core's time that the worker waited for while others ran on it; None if not told.
        swapped_kb: the worker's swapped-out memory after the loop.
        output_ok: whether the outputs agreed with the reference before timing; None without a reference.
        output_error: largest relative L2 error of an output; None without a reference or when not finite.
        starts_ns: when each query began, since the loop's start; empty where one followed the other at once.
        frames, missed: of `paced`: frames that came, and those without outputs when the next one came.
        turns: how many queries each turn had, where workers took turns; empty for one that measured alone.
        waits_ns: of each query, the time that the worker's threads waited for a core while others ran on it,
            added up over the threads; empty where the kernel does not tell it, or without turns.
        cross_talk: of `throughput`: answers beside others that were not what their input gives alone;
            `cross_talk_error` is the largest relative L2 error of one.
        resident: of `sustained`: rows of time since the loop's start in ns, RSS and PSS in kB.
        resident_method: the file that these were read from.
    """

    pid: int
    order: int
    t_start: float
    warmup_n: int
    samples_ns: tuple[Annotated[int, Field(gt=0)], ...]
    elapsed_ns: int = Field(gt=0)
    canary_before_ns: int
    canary_after_ns: int
    ctxt_invol: int
    majflt: int
    steal: float | None = None
    foreign: float | None = None
    swapped_kb: int | None = None
    output_ok: bool | None = None
    output_error: float | None = None
    starts_ns: tuple[int, ...] = ()
    frames: int | None = None
    missed: int | None = None
    turns: tuple[int, ...] = ()
    waits_ns: tuple[int, ...] = ()
    cross_talk: int | None = None
    cross_talk_error: float | None = None
    resident: tuple[tuple[int, int, int | None], ...] = ()
    resident_method: str | None = None


class Flag(Record):
    """What makes a run unfit to be gated (`invalid`) or less certain (`warning`), with its evidence."""

    code: str
    severity: Literal["invalid", "warning"]
    evidence: str


class Cold(Record):
    """Milliseconds in a fresh process: loading the engine (compilation included), and the first inference.

    Attributes:
        compile: the part of `load` that was compiling; None where the runtime does not tell it apart.
    """

    load: float
    first_infer: float
    compile: float | None = None


class Memory(Record):
    """Peak resident memory (VmHWM) of a worker that does nothing else, in MB (1e6 bytes).

    Attributes:
        baseline_hwm: after the imports, before the engine is loaded.
        method: how it was read, since not every device accounts for its memory alike.
        pss_steady: proportional set size after the queries; None where the kernel does not tell it.
        device_peak, device_method: what the process then held of an accelerator's memory, which is not part
            of resident memory, and how that was read; None without an accelerator that tells.
    """

    baseline_hwm: float
    load_hwm: float
    peak_hwm: float
    method: str
    pss_steady: float | None = None
    device_peak: float | None = None
    device_method: str | None = None


class Energy(Record):
    """What an inference takes above the idle machine, by real counters.

    Attributes:
        j_per_inf: joules an inference, the idle power taken off.
        idle_w, mean_w: mean power before the run and during its timed loops.
        source: the sensors, such as ``ina3221`` or ``rapl``.
        rails: what was added up, such as ``VDD_IN``: the number means nothing without it.
        hz: samples a second.
    """

    j_per_inf: float
    idle_w: float
    mean_w: float
    source: str
    rails: tuple[str, ...]
    hz: float


class WorkerReport(Record):
    """What one worker process hands back: written by `worker/benchmark.py` on the device, validated here.

    Attributes:
        actual: what the session says it really uses (`Session.actual`).
        inputs: the tensors that were rotated.
        file_cache: share of the engine's file in the page cache before and after it was dropped, of `cold`.
        quantized_ops: integer convolutions of the optimised graph, told by the `memory` scenario only.
        telemetry: samples taken beside the worker, see `worker/telemetry.py`.
    """

    pid: int
    version: str | None
    actual: dict[str, Any]
    inputs: InputFacts
    cold: Cold
    block: Block | None
    stages_ms: Stages | None = None
    file_cache: FileCache | None = None
    memory: Memory | None
    quantized_ops: int | None
    env_before: dict[str, Any]
    env_after: dict[str, Any]
    telemetry: tuple[dict[str, Any], ...] = ()


class BenchResult(Record):
    """One artifact measured in one run of one scenario.

    `latency_ms`, `fps`, `minutes` and `growth` are derived from the blocks when the run ends, for whoever
    reads the file without this code.

    Attributes:
        blocks: empty for `cold`.
        latency_ms: the fields of `statistics.Latency` over the samples of all blocks.
        cold_ms: of the first process; of `cold`, the median of each time over its processes.
        cold_runs: of `cold`: each process.
        device: name or address of where it was measured; None in files of before there were several.
        disturbed: blocks of rounds that the machine disturbed and that were measured again: kept, but not
            counted. Nothing is derived from them.
        against: what a vendor's tool said of the same engine, see `bench/against.py`; None without one.
        replayed: when what is replayed here was recorded, ISO 8601 in UTC; None for a measurement.
    """

    schema_version: int = SCHEMA_VERSION
    run_id: str
    started_utc: str
    name: str
    device: str | None = None
    replayed: str | None = None
    tool: Tool
    artifact: EngineFacts
    backend: RuntimeFacts
    scenario: ScenarioFacts
    blocks: tuple[Block, ...]
    disturbed: tuple[Block, ...] = ()
    cold_ms: Cold | None
    cold_runs: tuple[Cold, ...] = ()
    latency_ms: dict[str, int | float | None] | None = None
    stages_ms: Stages | None = None
    fps: Fps | None = None
    minutes: tuple[Minute, ...] = ()
    growth: Growth | None = None
    memory: Memory | None
    env_before: dict[str, Any]
    env_after: dict[str, Any]
    flags: tuple[Flag, ...]
    telemetry: tuple[dict[str, Any], ...] = ()
    energy: Energy | None = None
    against: dict[str, Any] | None = None

    @computed_field  # type: ignore[prop-decorator]  # as pydantic's documentation has it
    @property
    def valid(self) -> bool:
        """Whether the run may be gated: no flag of severity `invalid`."""
        return not any(flag.severity == "invalid" for flag in self.flags)

    @model_validator(mode="before")
    @classmethod
    def _derived_again(cls, data: Any) -> Any:
        """Leave out what a file says of `valid`: the flags say it."""
        return (
            {key: value for key, value in data.items() if key != "valid"} if isinstance(data, dict) else data
        )


def save_result(result: BenchResult, path: Path) -> Path:
    """Write a result file, atomically, with every sample."""
    write_text_atomically(path, result.model_dump_json() + "\n")
    return path


def result_file(name: str) -> str:
    """Return the file name of the result of a row; a file system takes 255 bytes, its ending included."""
    plain = "".join("-" if sign in " /\\\0" else sign for sign in name).lstrip(".")
    return f"{plain.encode()[:_LONGEST_NAME].decode(errors='ignore') or 'result'}.json"


def load_result(path: Path) -> BenchResult:
    """Read a result file.

    Raises:
        DataError: it cannot be read, or is no result of this schema version.
    """
    return read_record(BenchResult, path, DataError)
