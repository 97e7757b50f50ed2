"""Networks measured beside each other on the target, the way their latency table was measured."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from edgeprune.artifact import Artifact
from edgeprune.bench.protocol import BenchProfile, build_job, measure, write_inputs
from edgeprune.bench.result import Job
from edgeprune.bench.statistics import latency_ms
from edgeprune.bench.subject import stock_images
from edgeprune.device import DeviceProfile
from edgeprune.latency import LatencyTable
from edgeprune.runners import Runner

Engine = tuple[Artifact, int]
"""A compiled network and the side of its input, in pixels."""

# Two networks have to be told apart by a few per cent; weights do not matter to latency.
TIMING = BenchProfile(blocks=2, min_queries=96, min_seconds=2.0, warmup_s=0.5, warmup_cap_s=5.0)


def jobs_beside(
    engines: Mapping[str, Engine], profile: DeviceProfile, table: LatencyTable, folder: Path
) -> list[Job]:
    """Return the jobs that measure engines with the threads and the environment of a table.

    Args:
        folder: where their inputs are written, stock photographs.
    """
    return [
        build_job(
            name,
            engine,
            profile,
            threads=table.key.threads,
            inputs=write_inputs(stock_images(imgsz), folder / f"{name}.npy"),
            environment=table.key.environment,
        )
        for name, (engine, imgsz) in engines.items()
    ]


def paced_ms(
    engines: Mapping[str, Engine], profile: DeviceProfile, table: LatencyTable, runner: Runner, folder: Path
) -> float:
    """Return the p50 of a network on the target, in ms, at the pace of the table.

    It runs in turns with the network that the table is of. Measurements are hours and machines apart: the
    ratio of the two is what was measured, and the table's time of its own network makes it milliseconds.

    Args:
        engines: of the table's network, and of the other one.

    Raises:
        DeviceError: a worker crashed, hung or answered with garbage.
    """
    results = measure(jobs_beside(engines, profile, table, folder), TIMING, runner)
    own, other = (latency_ms(result).p50 for result in results)
    return table.whole_ms * other / own
