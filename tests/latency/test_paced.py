"""A latency at the pace of a table: the share of its network's time, both measured under its conditions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest

from edgeprune.bench.testbed import local
from edgeprune.config.targets import resolve_targets
from edgeprune.core.artifact import Artifact
from edgeprune.images.preprocess import Preprocess
from edgeprune.latency import paced
from edgeprune.latency.paced import pace_of, paced_ms
from edgeprune.records.bench_result import Job
from edgeprune.records.latency_table import LatencyTable
from edgeprune.records.speedup import Speedup

ORT = resolve_targets(("x86-ort",))[0]


def test_the_ratio_is_measured_and_the_table_makes_it_milliseconds(
    convnet: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = SimpleNamespace(threads=2, environment={"OMP_WAIT_POLICY": "active"})
    table = cast(LatencyTable, SimpleNamespace(whole_ms=12.0, key=key))
    today = {"unpruned": 20.0, "trial": 15.0}  # a slow hour
    measured: list[Job] = []

    def measure(jobs: Sequence[Job], *_: object) -> list[Job]:
        measured.extend(jobs)
        return list(jobs)

    monkeypatch.setattr(paced, "measure", measure)
    monkeypatch.setattr(
        paced, "speedup", lambda own, other: Speedup(times=today[own.name] / today[other.name], turns=9)
    )
    engine = Artifact.of(convnet, "engine", "fp32")
    engines = {"unpruned": (engine, Preprocess(64)), "trial": (engine, Preprocess((64, 96), batch=2))}
    assert paced_ms(engines, ORT, pace_of(table), local(), tmp_path) == pytest.approx(9.0)
    assert [(job.threads, job.environment) for job in measured] == [(2, key.environment)] * 2
    assert [np.load(job.inputs).shape[1:] for job in measured] == [(3, 64, 64), (3, 64, 96)]
    assert [job.batch for job in measured] == [1, 2]
