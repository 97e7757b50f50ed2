"""Measure subjects on a device that has been entered."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from edgeprune.bench.compiling import compile_subjects
from edgeprune.bench.effort import BenchProfile
from edgeprune.bench.protocol import Progress
from edgeprune.bench.scenario_runs import measure_setup
from edgeprune.bench.setup import Setup
from edgeprune.bench.subject import Subject, make_job
from edgeprune.core.errors import IncompleteError
from edgeprune.records.bench_result import BenchResult, Flag
from edgeprune.runners import Runner
from edgeprune.runners.recording import RecordingRunner, ReplayRunner


def measure_subjects(
    subjects: Sequence[Subject],
    threads: int,
    plan: BenchProfile,
    runner: Runner,
    on_progress: Progress,
    setup: Setup | None = None,
    ready: Callable[[], None] = lambda: None,
) -> list[BenchResult]:
    """Measure subjects on a device that has been entered; see `measure_setup`.

    Args:
        setup: the scenario; `single_stream` by default.
        ready: called when this machine has prepared all, before the first process is started.

    Raises:
        CompileError: the device's runtime refuses a model, or nothing there runs its engines.
        DeviceError: the device lacks a runtime; or, as an `IncompleteError` with what was finished, its
            worker crashed, hung, or answered with garbage.
    """
    with tempfile.TemporaryDirectory() as name:
        folder, jobs = Path(name), []
        taken = compile_subjects(subjects, runner, folder, lambda text: on_progress(0, 1, text))
        for index, subject in enumerate(taken):
            place = folder / str(index)
            place.mkdir()
            jobs.append(make_job(subject, threads, place))
        ready()
        try:
            results = measure_setup(jobs, setup or Setup(), plan, runner, on_progress)
        except IncompleteError as exc:
            raise IncompleteError(str(exc), [_told(one, runner) for one in exc.results]) from exc
    return [_told(result, runner) for result in results]


def _told(result: BenchResult, runner: Runner) -> BenchResult:
    """Return a result that says what it was replayed from."""
    update: dict[str, object] = {}
    if isinstance(runner, RecordingRunner | ReplayRunner):
        # One run, however often it is replayed: it has one id.
        update = {"run_id": runner.recording.run_id}
    if isinstance(runner, ReplayRunner):
        recorded = runner.recording
        evidence = f"nothing was measured: recorded {recorded.recorded_utc} on {recorded.device}"
        flag = Flag(code="replayed", severity="warning", evidence=evidence)
        update |= {
            "started_utc": recorded.recorded_utc,
            "device": recorded.device,
            "replayed": recorded.recorded_utc,
            "flags": (*result.flags, flag),
        }
    return result.model_copy(update=update)
