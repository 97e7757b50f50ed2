"""What is left of a measurement that broke off: the finished processes' results, each marked `incomplete`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from edgeprune import __version__
from edgeprune.backends import get_backend
from edgeprune.core.errors import DeviceError, IncompleteError, OutputError
from edgeprune.core.resources import own_command, own_commit
from edgeprune.records.bench_result import BenchResult, Flag, Job, WorkerReport
from edgeprune.records.facts import BuiltOn, EngineFacts, RuntimeFacts, ScenarioFacts, Tool

if TYPE_CHECKING:
    MakeResult = Callable[[Job, Sequence[WorkerReport], WorkerReport | None, str, datetime], BenchResult]


@dataclass
class Kept:
    """The reports of a session so far.

    Attributes:
        timed: of each job's finished timing processes, in order, by the job's name.
        disturbed: of each round so far, how much the machine disturbed it; 0 for not at all.
        memory: of the process that only reads the peak, by the job's name.
    """

    jobs: Sequence[Job]
    run_id: str
    started: datetime = field(default_factory=lambda: datetime.now(timezone.utc))
    timed: dict[str, list[WorkerReport]] = field(default_factory=dict)
    disturbed: list[float] = field(default_factory=list)
    memory: dict[str, WorkerReport] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.timed = {job.name: [] for job in self.jobs}

    def counted(self, wanted: int) -> int:
        """Return how many of the rounds wanted are there, undisturbed."""
        return min(wanted, self.disturbed.count(0.0))

    def results(self, make: MakeResult, wanted: int) -> tuple[BenchResult, ...]:
        """Return a result for each job, in order, from the rounds that were disturbed least.

        Args:
            wanted: how many rounds count; the blocks of the others are kept beside them.
        """
        return tuple(
            self._result(job, make, wanted)
            if self.timed[job.name]
            else _unmeasured(job, self.run_id, self.started)
            for job in self.jobs
        )

    def _result(self, job: Job, make: MakeResult, wanted: int) -> BenchResult:
        reports = self.timed[job.name]
        rounds = range(len(reports))
        told = dict(enumerate(self.disturbed))
        counted = sorted(sorted(rounds, key=lambda number: told.get(number, 0.0))[:wanted])
        result = make(
            job, [reports[number] for number in counted], self.memory.get(job.name), self.run_id, self.started
        )
        aside = (reports[number].block for number in rounds if number not in counted)
        return result.model_copy(update={"disturbed": tuple(block for block in aside if block)})


@contextmanager
def keeping(kept: Kept, processes: int, make: MakeResult) -> Iterator[None]:
    """Give an error of the device the results of what had finished.

    Args:
        processes: how many timing processes each job was to have.

    Raises:
        IncompleteError: instead of a `DeviceError`, with its message, and of an error of this machine's disk,
            such as that it is full.
    """
    try:
        yield
    except (DeviceError, OutputError, OSError) as caught:
        exc = caught if isinstance(caught, DeviceError) else DeviceError(_here(caught))
        results = tuple(
            _marked(result, len(kept.timed[result.name]), processes, result.name in kept.memory, exc)
            for result in kept.results(make, processes)
        )
        raise IncompleteError(str(exc), results) from caught


def _here(exc: OutputError | OSError) -> str:
    if isinstance(exc, OutputError):
        return str(exc)
    return f"{exc.filename or 'this machine'}: {exc.strerror or exc}"


def _marked(result: BenchResult, done: int, processes: int, memory: bool, cause: DeviceError) -> BenchResult:
    lacking = "" if memory else ", no peak memory"
    evidence = f"{done} of {processes} processes had finished{lacking}: {' '.join(str(cause).split())}"
    flag = Flag(code="incomplete", severity="invalid", evidence=evidence)
    telemetry = (*result.telemetry, *cause.telemetry)
    return result.model_copy(update={"flags": (flag, *result.flags), "telemetry": telemetry})


def head(job: Job, run_id: str, started: datetime) -> dict[str, Any]:
    """Return the fields of a result that are known before anything is measured."""
    built = job.engine_built
    return {
        "run_id": run_id,
        "started_utc": started.isoformat(timespec="seconds"),
        "name": job.name,
        "tool": Tool(version=__version__, commit=own_commit(), argv=tuple(own_command())),
        "artifact": EngineFacts(
            path=job.engine,
            sha256=job.engine_sha256,
            precision=job.precision,
            parent=job.engine_parent,
            built_on=built and BuiltOn(device=built.device, arch=built.arch, runtime=built.runtime),
            build_s=built and built.seconds,
        ),
    }


def _unmeasured(job: Job, run_id: str, started: datetime) -> BenchResult:
    """Return the result of a job of which no process finished: what was asked for, and no number."""
    return BenchResult(
        **head(job, run_id, started),
        backend=_asked(job),
        scenario=ScenarioFacts(
            name=job.scenario, fps_target=job.fps, batch=job.batch, in_flight=job.in_flight
        ),
        blocks=(),
        cold_ms=None,
        memory=None,
        env_before={},
        env_after={},
        flags=(),
    )


def _asked(job: Job) -> RuntimeFacts:
    return RuntimeFacts(
        name=job.backend,
        provider_requested=job.options.get("provider", get_backend(job.backend).PROVIDER),
        precision_requested=job.precision,
        threads=job.threads,
        options=job.options,
        environment=job.environment,
    )
