"""A camera and its deadlines, on a clock that moves only when the network works or the worker sleeps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeprune.worker.scenarios.paced import frames

MS = 1_000_000


class Bench:
    """A clock, and a session that takes the times it is given, the last one for ever."""

    def __init__(self, latencies_ms: Sequence[float]) -> None:
        self.now = 17
        self.slept_ms = 0.0
        self._times = [round(ms * MS) for ms in latencies_ms]
        self.seen: list[Any] = []

    def clock(self) -> int:
        return self.now

    def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.slept_ms += seconds * 1e3
        self.now += max(1, round(seconds * 1e9))

    def __call__(self, images: Any) -> list[Any]:
        self.seen.append(images)
        self.now += self._times.pop(0) if len(self._times) > 1 else self._times[0]
        return []

    def run(self, fps: float, queries: int, seconds: float = 0.0) -> dict[str, Any]:
        return frames(self, ["a", "b", "c"], fps, queries, seconds, self.clock, self.sleep)  # type: ignore[arg-type]


def _achieved(found: dict[str, Any]) -> float:
    return float(len(found["samples_ns"]) / found["elapsed_ns"] * 1e9)


def test_a_fast_network_keeps_the_rate_and_idles_in_between() -> None:
    bench = Bench([4])
    found = bench.run(fps=10, queries=20)
    assert found["samples_ns"] == [4 * MS] * 20
    assert found["starts_ns"] == [100 * MS * index for index in range(20)]
    assert (found["frames"], found["missed"]) == (20, 0)
    assert _achieved(found) == pytest.approx(10)
    assert bench.slept_ms == pytest.approx(19 * 96)
    assert bench.seen[:4] == ["a", "b", "c", "a"]


def test_both_minima_hold() -> None:
    assert Bench([4]).run(fps=10, queries=3, seconds=2.0)["frames"] == 20
    assert Bench([4]).run(fps=10, queries=30, seconds=2.0)["frames"] == 30


def test_a_late_frame_is_missed_and_the_camera_goes_on_in_step() -> None:
    found = Bench([4, 130, 4]).run(fps=10, queries=5)
    # Frame 1 ends at 230 ms: late. Frame 2 waits since 200 ms and is taken then, still in time.
    assert found["starts_ns"] == [ms * MS for ms in (0, 100, 230, 300, 400)]
    assert (found["frames"], found["missed"]) == (5, 1)


def test_frames_that_a_newer_one_replaces_are_missed() -> None:
    found = Bench([4, 350, 4]).run(fps=10, queries=4)
    # Frame 1 ends at 450 ms: frames 2 and 3 are gone, frame 4 is the newest.
    assert found["starts_ns"] == [ms * MS for ms in (0, 100, 450, 500)]
    assert (found["frames"], found["missed"]) == (6, 3)


def test_a_network_that_is_too_slow_misses_every_deadline() -> None:
    found = Bench([40]).run(fps=30, queries=60)
    assert found["missed"] == found["frames"]
    assert _achieved(found) == pytest.approx(25)


@given(st.lists(st.floats(0.01, 500), min_size=1, max_size=40), st.floats(1, 100))
def test_the_books_balance(latencies: list[float], fps: float) -> None:
    found = Bench(latencies).run(fps, len(latencies))
    taken = len(found["samples_ns"])
    late = sum(sample > 1.0001e9 / fps for sample in found["samples_ns"])
    assert taken == len(latencies) <= found["frames"]
    assert found["frames"] - taken + late <= found["missed"] <= found["frames"]
    assert _achieved(found) <= fps * 1.0001
    ends = [start + sample for start, sample in zip(found["starts_ns"], found["samples_ns"], strict=True)]
    assert all(end <= start for end, start in zip(ends, found["starts_ns"][1:], strict=False))
