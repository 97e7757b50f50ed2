"""Networks measured beside each other on the target, under the conditions of the network they came from."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from edgeprune.bench.jobs import build_job, write_inputs
from edgeprune.bench.protocol import measure
from edgeprune.bench.side_by_side import speedup
from edgeprune.bench.statistics import latency_ms
from edgeprune.bench.stock import stock_images
from edgeprune.bench.testbed import Testbed
from edgeprune.bench.tune import fastest_environment
from edgeprune.config.targets import DeviceProfile
from edgeprune.core.artifact import Artifact
from edgeprune.images.preprocess import Preprocess
from edgeprune.records.bench_result import BenchResult, Job
from edgeprune.records.latency_table import LatencyTable
from edgeprune.records.speedup import Speedup

Engine = tuple[Artifact, Preprocess]
"""A compiled network and how images become its input."""


class Pace(NamedTuple):
    """How the network that others are compared with was measured, and the milliseconds that it took."""

    own_ms: float
    threads: int
    environment: Mapping[str, str]


def pace_of(table: LatencyTable) -> Pace:
    """Return the pace at which a latency table was measured."""
    return Pace(table.whole_ms, table.key.threads, table.key.environment)


def measured_pace(
    engine: Engine, profile: DeviceProfile, threads: int, testbed: Testbed, folder: Path
) -> Pace:
    """Measure a network in the environment that it is fastest in: for those without a latency table.

    Raises:
        DeviceError: a worker crashed, hung or answered with garbage.
    """
    runner, effort = testbed.runner, testbed.effort
    (job,) = jobs_beside({"own": engine}, profile, Pace(0.0, threads, {}), folder)
    if choices := profile.environments_for(engine[0].precision):
        job = job.model_copy(update={"environment": fastest_environment(job, choices, runner, effort.tuning)})
    (result,) = measure([job], effort.pacing, runner)
    return Pace(latency_ms(result).p50, threads, job.environment)


def jobs_beside(engines: Mapping[str, Engine], profile: DeviceProfile, pace: Pace, folder: Path) -> list[Job]:
    """Return the jobs that measure engines with the threads and the environment of a pace.

    Args:
        folder: where their inputs are written, stock photographs.
    """
    return [
        build_job(
            name,
            engine,
            profile,
            threads=pace.threads,
            inputs=write_inputs(stock_images(spec), folder / f"{name}.npy"),
            environment=pace.environment,
            batch=spec.batch,
        )
        for name, (engine, spec) in engines.items()
    ]


def paced_ms(
    engines: Mapping[str, Engine], profile: DeviceProfile, pace: Pace, testbed: Testbed, folder: Path
) -> float:
    """Return the p50 of a network on the target, in ms, at the pace of the one it came from.

    It runs in turns with that one. Measurements are hours and machines apart: the ratio of the two is what
    was measured, and the pace makes it milliseconds.

    Args:
        engines: of the network that the pace is of, and of the other one.

    Raises:
        DeviceError: a worker crashed, hung or answered with garbage.
    """
    jobs = jobs_beside(engines, profile, pace, folder)
    own, other = measure(jobs, testbed.effort.pacing, testbed.runner)
    return pace.own_ms / gain_of(own, other).times


def gain_of(before: BenchResult, after: BenchResult) -> Speedup:
    """Return how many times as fast the second of two measurements is, by its turns where it took any."""
    return speedup(before, after) or Speedup.of_medians(latency_ms(before).p50, latency_ms(after).p50)
