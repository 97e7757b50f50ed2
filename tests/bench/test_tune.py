"""Choosing a runtime's environment: by measurement alone, and only when it is worth asking a user for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgeprune.bench import tune
from edgeprune.bench.effort import BenchProfile, Effort
from edgeprune.records.bench_result import BenchResult, Job
from edgeprune.records.facts import RuntimeFacts
from edgeprune.runners.local import LocalRunner

CHOICES = ({"ONEDNN_MAX_CPU_ISA": "AVX512_CORE_VNNI"}, {"ONEDNN_MAX_CPU_ISA": "AVX2"})


class Bench:
    """Stands for the protocol: gives each job the latency it is told, and keeps what it was asked."""

    def __init__(self, make_block: Callable[..., Any], p50_ms: Sequence[float]) -> None:
        self.make_block, self.p50_ms = make_block, p50_ms
        self.sessions: list[Sequence[Job]] = []

    def __call__(self, jobs: Sequence[Job], plan: BenchProfile, runner: object) -> tuple[BenchResult, ...]:
        self.sessions.append(jobs)
        return tuple(
            BenchResult.model_construct(
                run_id="one",
                name=job.name,
                backend=RuntimeFacts(),
                blocks=(self.make_block([ms] * 40),),
                flags=(),
            )
            for job, ms in zip(jobs, self.p50_ms, strict=True)
        )


def tuned(
    monkeypatch: pytest.MonkeyPatch, make_block: Any, job: Job, p50_ms: Sequence[float]
) -> tuple[dict[str, str], Bench]:
    bench = Bench(make_block, p50_ms)
    monkeypatch.setattr(tune, "measure", bench)
    return tune.fastest_environment(job, CHOICES, LocalRunner(), Effort().tuning), bench


@pytest.mark.parametrize(
    ("p50_ms", "expected"),
    [
        ((10, 8, 9), CHOICES[0]),
        ((10, 9, 8), CHOICES[1]),
        ((8, 10, 9), {}),
        ((10, 9.8, 9.9), {}),  # 2 % is noise
        ((10, 10, 10), {}),
    ],
)
def test_the_fastest_wins_when_it_gains_three_percent(
    monkeypatch: pytest.MonkeyPatch, make_block: Any, job: Job, p50_ms: Any, expected: dict[str, str]
) -> None:
    assert tuned(monkeypatch, make_block, job, p50_ms)[0] == expected


def test_all_environments_run_side_by_side_in_one_session_under_names_of_their_own(
    monkeypatch: pytest.MonkeyPatch, make_block: Any, job: Job
) -> None:
    (jobs,) = tuned(monkeypatch, make_block, job, (3, 2, 1))[1].sessions
    assert [entry.environment for entry in jobs] == [{}, *CHOICES]
    assert len({entry.name for entry in jobs}) == 3
    assert {entry.engine_sha256 for entry in jobs} == {job.engine_sha256}
    assert job.environment == {}


@given(st.lists(st.floats(0.1, 100), min_size=3, max_size=3))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_what_is_chosen_is_never_slower_than_the_plain_run(
    make_block: Any, job: Job, p50_ms: list[float]
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        best, _ = tuned(patch, make_block, job, p50_ms)
    chosen = [{}, *CHOICES].index(best)
    assert p50_ms[chosen] <= p50_ms[0]


def test_the_variables_really_reach_the_process_that_is_measured(job: Job, tiny: BenchProfile) -> None:
    """ONNX Runtime has no such variable: the run is not faster by it, but the worker must start under it."""
    best = tune.fastest_environment(job, [{"EDGEPRUNE_TEST": "1"}], LocalRunner(), tiny)
    assert best in ({}, {"EDGEPRUNE_TEST": "1"})
