"""Queries in flight: every session works, every answer is compared, and cross-talk does not pass."""

from __future__ import annotations

import json
import threading
from typing import Any

import numpy as np
import pytest

from edgeprune.worker.scenarios import throughput
from edgeprune.worker.scenarios.throughput import Answers, Crew

INPUTS = [np.full((1, 3, 4, 4), index, np.float32) for index in range(16)]
ALONE = [[images * 2.0] for images in INPUTS]


class Doubling:
    """A session that doubles; it meets the others of its barrier in mid-query, so that queries do overlap."""

    def __init__(self, barrier: threading.Barrier | None = None) -> None:
        self.barrier = barrier
        self.calls = 0

    def __call__(self, images: Any) -> list[Any]:
        self.calls += 1
        if self.barrier and self.calls <= 5:
            self.barrier.wait(30)
        return [images * 2.0]


class Shared(Doubling):
    """Sessions that keep their input in one place: what a query gives is another one's."""

    place: Any = None

    def __call__(self, images: Any) -> list[Any]:
        Shared.place = images
        super().__call__(images)
        return [Shared.place * 2.0]


def _run(sessions: list[Any], queries: int = 50) -> tuple[dict[str, Any], Answers]:
    answers = Answers(ALONE, tolerance=1e-3)
    with Crew(sessions, INPUTS, answers) as crew:
        return crew.run(queries, 0.0), answers


def test_queries_overlap_and_all_are_kept() -> None:
    barrier = threading.Barrier(3)
    sessions = [Doubling(barrier) for _ in range(3)]
    found, answers = _run(sessions)
    assert 50 <= len(found["samples_ns"]) == sum(session.calls for session in sessions) <= 53
    assert found["starts_ns"] == sorted(found["starts_ns"])
    ends = [start + sample for start, sample in zip(found["starts_ns"], found["samples_ns"], strict=True)]
    assert max(ends) == found["elapsed_ns"]
    assert sum(found["samples_ns"]) > 0
    assert (answers.wrong, answers.worst) == (0, None)


def test_an_answer_of_another_query_is_counted() -> None:
    barrier = threading.Barrier(2)
    found, answers = _run([Shared(barrier), Shared(barrier)])
    assert 0 < answers.wrong <= len(found["samples_ns"])
    assert answers.worst is not None and answers.worst > 0.01


@pytest.mark.parametrize(
    ("outputs", "wrong"),
    [
        ([INPUTS[3] * 2.0], 0),
        ([INPUTS[3] * 2.0001], 0),
        ([INPUTS[3] * 2.01], 1),
        ([INPUTS[4] * 2.0], 1),
        ([(INPUTS[3] * 2.0)[:, :2]], 1),
        ([INPUTS[3] * np.nan], 1),
        ([], 1),
    ],
)
def test_an_answer_may_differ_within_the_tolerance(outputs: list[Any], wrong: int) -> None:
    answers = Answers(ALONE, tolerance=1e-3)
    answers.compare(3, outputs)
    assert answers.wrong == wrong


def test_what_is_not_a_number_in_both_is_not_the_same() -> None:
    answers = Answers([[np.full((1, 3), np.nan, np.float32)]], tolerance=1e-3)
    answers.compare(0, [np.zeros((1, 3), np.float32)])
    assert answers.wrong == 1


def test_a_session_that_fails_ends_the_run_and_no_thread_is_left() -> None:
    failed = threading.Event()

    def failing(images: Any) -> list[Any]:
        failed.set()
        raise RuntimeError("out of memory on the device")

    worked = []

    def working(images: Any) -> list[Any]:
        assert failed.wait(30)  # or it might do all the queries before the other one's thread has begun
        worked.append(1)
        return [images * 2.0]

    before = threading.active_count()
    with pytest.raises(RuntimeError, match="out of memory"):
        _run([working, failing], queries=20_000)
    assert threading.active_count() == before
    assert len(worked) < 10_000, "it went on to the end of a run that was lost"


def test_the_live_view_is_told_the_queries_and_a_median(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(throughput, "SAY_EVERY_NS", 0)
    found, _ = _run([Doubling()])  # one thread: two would write into each other's lines at this rate
    said = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert said[-1]["n"] == 50
    medians = [one["p50_ms"] for one in said if "p50_ms" in one]
    assert medians and min(found["samples_ns"]) <= min(medians) * 1e6
    assert max(medians) * 1e6 <= max(found["samples_ns"])
