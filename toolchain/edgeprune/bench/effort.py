"""How much is measured: every length in one record, which whoever measures is handed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final


@dataclass(frozen=True)
class BenchProfile:
    """How much is measured of each job.

    Attributes:
        blocks: fresh worker processes per job.
        min_queries, min_seconds: what the blocks of a job have to reach together, each its share.
        warmup_iterations, warmup_s: least warm-up of a block; it goes on until two medians agree.
        warmup_cap_s: the warm-up ends here even when they do not.
        cold_runs: fresh processes of the scenario `cold`.
        timeout_s: a worker that takes longer has hung; of several in turns, one that is silent for so long.
        calm_s: how long a round that is run again waits for others to leave the cores.
    """

    blocks: int
    min_queries: int
    min_seconds: float
    warmup_iterations: int = 10
    warmup_s: float = 2.0
    warmup_cap_s: float = 30.0
    cold_runs: int = 5
    timeout_s: float = 1800.0
    calm_s: float = 0.0


PROFILES: Final[Mapping[str, BenchProfile]] = MappingProxyType(
    {
        "quick": BenchProfile(blocks=1, min_queries=128, min_seconds=10.0, calm_s=20.0),
        "standard": BenchProfile(blocks=5, min_queries=1024, min_seconds=60.0, cold_runs=20, calm_s=20.0),
        "sustained": BenchProfile(blocks=1, min_queries=1, min_seconds=600.0),
    }
)
"""What ``bench --profile`` and ``build --bench`` choose from."""


@dataclass(frozen=True)
class TablePlan:
    """How much is measured for a latency table.

    Attributes:
        rounds: visits of each network, spread over the run of its chunk.
        queries, seconds: least queries and about the time of one visit.
        axis: most widths of a grid's side.
        scans: how many of the most expensive shapes are scanned for the step.
        chunk: about how many layers share a worker process; a killed run loses at most one chunk.
    """

    rounds: int = 40
    queries: int = 3
    seconds: float = 0.002
    axis: int = 4
    scans: int = 3
    chunk: int = 80
    timeout_s: float = 1800.0


@dataclass(frozen=True)
class Effort:
    """All lengths of measurement.

    Attributes:
        profiles: of the benchmark, by name.
        tuning: of each environment that a row is tried in.
        pacing: of two networks that have to be told apart by a few per cent.
        racing: of each side of one pair that a cut is judged by.
        pairing: of each side of one pair of the gate.
        memory_runs: processes of each side that the gate reads peak memory of.
        table: of a latency table.
        counting_warmup_s, inferences: seconds of warm-up before the runtime's counters of nodes are read, and
            inferences that they are read of.
    """

    profiles: Mapping[str, BenchProfile] = field(default_factory=lambda: PROFILES)
    tuning: BenchProfile = BenchProfile(
        blocks=2, min_queries=64, min_seconds=1.0, warmup_s=0.5, warmup_cap_s=5.0
    )
    pacing: BenchProfile = BenchProfile(
        blocks=2, min_queries=96, min_seconds=2.0, warmup_s=0.5, warmup_cap_s=5.0
    )
    racing: BenchProfile = BenchProfile(
        blocks=1, min_queries=48, min_seconds=1.0, warmup_s=0.5, warmup_cap_s=5.0
    )
    pairing: BenchProfile = BenchProfile(blocks=1, min_queries=64, min_seconds=2.0)
    memory_runs: int = 3
    table: TablePlan = TablePlan()
    counting_warmup_s: float = 2.0
    inferences: int = 100
