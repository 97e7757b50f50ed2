"""Measure subjects on a device that has been entered."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from edgeprune.bench.protocol import Progress, measure
from edgeprune.bench.result import BenchResult
from edgeprune.bench.subject import Subject, make_job
from edgeprune.runners import Runner
from edgeprune.runners.runtimes import RUNTIMES


def measure_subjects(
    subjects: Sequence[Subject], threads: int, profile: str, runner: Runner, on_progress: Progress
) -> list[BenchResult]:
    """Measure subjects side by side on a device; see `measure`.

    Raises:
        DeviceError: the device lacks a runtime, or its worker crashed, hung, or answered with garbage.
    """
    runner.python(*(RUNTIMES[subject.profile.backend].module for subject in subjects))
    with tempfile.TemporaryDirectory() as folder:
        jobs = []
        for index, subject in enumerate(subjects):
            place = Path(folder) / str(index)
            place.mkdir()
            jobs.append(make_job(subject, threads, place))
        return list(measure(jobs, profile, runner, on_progress))
