"""Measure subjects on any device: their files go there, the results name them as they are here."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from edgeprune.bench.protocol import Progress, measure
from edgeprune.bench.result import BenchResult, Job
from edgeprune.bench.subject import Subject, make_job
from edgeprune.runners import Runner
from edgeprune.runners.runtimes import RUNTIMES


def measure_subjects(
    subjects: Sequence[Subject], threads: int, profile: str, runner: Runner, on_progress: Progress
) -> list[BenchResult]:
    """Measure subjects side by side on a device that has been entered; see `measure`.

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
        results = measure(jobs, profile, runner, on_progress)
    return [
        result.model_copy(update={"artifact": result.artifact | {"path": str(subject.engine.path)}})
        for result, subject in zip(results, subjects, strict=True)
    ]


def placed(job: Job, runner: Runner) -> Job:
    """Push what a job needs; return it with the paths that the device knows."""
    paths = {"engine": job.engine, "inputs": job.inputs, "reference": job.reference}
    return job.model_copy(
        update={name: runner.push(Path(path)) for name, path in paths.items() if path is not None}
    )
