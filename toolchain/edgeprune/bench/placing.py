"""Measure subjects on any device: their files go there, the results name them as they are here."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from edgeprune.bench.protocol import Progress
from edgeprune.bench.result import BenchResult, Job
from edgeprune.bench.scenario_runs import measure_setup
from edgeprune.bench.setup import Setup
from edgeprune.bench.subject import Subject, make_job
from edgeprune.runners import Runner
from edgeprune.runners.runtimes import RUNTIMES


def measure_subjects(
    subjects: Sequence[Subject],
    threads: int,
    profile: str,
    runner: Runner,
    on_progress: Progress,
    setup: Setup | None = None,
) -> list[BenchResult]:
    """Measure subjects on a device that has been entered; see `measure_setup`.

    Args:
        setup: the scenario; `single_stream` by default.

    Raises:
        DeviceError: the device lacks a runtime, or its worker crashed, hung, or answered with garbage.
    """
    runner.python(*(RUNTIMES[subject.profile.backend].module for subject in subjects))
    with tempfile.TemporaryDirectory() as folder:
        jobs = []
        for index, subject in enumerate(subjects):
            place = Path(folder) / str(index)
            place.mkdir()
            jobs.append(placed(make_job(subject, threads, place), runner))
        results = measure_setup(jobs, setup or Setup(), profile, runner, on_progress)
    here = {job.engine: str(subject.engine.path) for job, subject in zip(jobs, subjects, strict=True)}
    return [
        result.model_copy(update={"artifact": result.artifact | {"path": here[result.artifact["path"]]}})
        for result in results
    ]


def placed(job: Job, runner: Runner) -> Job:
    """Push what a job needs; return it with the paths that the device knows."""
    paths = {"engine": job.engine, "inputs": job.inputs, "reference": job.reference, "image": job.image}
    return job.model_copy(
        update={name: runner.push(Path(path)) for name, path in paths.items() if path is not None}
    )
