"""What is derived of blocks: the rate beside the camera's, minutes, and the median start."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from edgeprune.bench.derived import delegated_pct, fps_of, median_cold, minutes_of, resident_growth
from edgeprune.records.bench_result import Block, Cold

MINUTE = 60 * 10**9


def test_fps_is_completed_over_elapsed_and_misses_are_of_all_frames(make_block: Callable[..., Block]) -> None:
    blocks = [
        make_block([10] * 90, elapsed_ns=10**10, frames=100, missed=15),
        make_block([10] * 110, elapsed_ns=10**10, frames=100, missed=0),
    ]
    fps = fps_of(blocks, 10.0)
    assert fps is not None
    assert (fps.achieved, fps.target, fps.deadline_miss_pct) == (10.0, 10.0, 7.5)


def test_only_a_camera_has_deadlines_and_a_cold_start_no_rate(make_block: Callable[..., Block]) -> None:
    fps = fps_of([make_block([10] * 100)])
    assert fps is not None
    assert (fps.achieved, fps.target, fps.deadline_miss_pct) == (pytest.approx(100), None, None)
    assert fps_of([]) is None


def test_each_minute_has_its_own_median_and_memory(make_block: Callable[..., Block]) -> None:
    block = make_block(
        [4, 5, 6, 40, 50],
        starts_ns=(0, MINUTE // 2, MINUTE - 1, MINUTE, 2 * MINUTE + 5),
        elapsed_ns=2 * MINUTE + 6,
        resident=((0, 1000, 500), (MINUTE // 2, 3000, None), (MINUTE, 5000, None)),
    )
    first, last = minutes_of(block)
    assert (first.minute, first.n, first.p50_ms) == (1, 3, 5.0)
    assert (last.minute, last.n, last.p50_ms) == (2, 2, 45.0)  # what is left over counts to the last one
    assert first.rss_mb == pytest.approx(2000 * 1024 / 1e6)
    assert first.pss_mb == pytest.approx(500 * 1024 / 1e6)
    assert last.pss_mb is None


def test_what_a_provider_took_is_told_in_nodes_or_as_a_share() -> None:
    nodes = {"nodes": {"XNN": 6, "CPU": 2}}
    assert delegated_pct(nodes, "XNN") == 75 and delegated_pct(nodes, "TRT") == 0
    assert delegated_pct({"delegated": 0.8}, "XNNPACK") == 80
    assert delegated_pct({"nodes": None}, "CPU") is None and delegated_pct({}, "CPU") is None


def test_a_minute_without_a_query_or_a_reading_has_none(make_block: Callable[..., Block]) -> None:
    block = make_block([1, 1], starts_ns=(0, 2 * MINUTE), elapsed_ns=3 * MINUTE)
    assert [(minute.n, minute.p50_ms, minute.rss_mb) for minute in minutes_of(block)] == [
        (1, 1.0, None),
        (0, None, None),
        (1, 1.0, None),
    ]
    assert resident_growth(block) is None


def test_growth_is_in_megabytes_of_a_million_bytes_a_minute(make_block: Callable[..., Block]) -> None:
    rows = tuple((index * 10**9, 100_000 + index * 100, None) for index in range(120))
    growth = resident_growth(make_block([1], resident=rows))
    assert growth is not None
    assert growth.mb_per_minute == pytest.approx(6000 * 1024 / 1e6)
    assert growth.leak


def test_a_cold_start_is_the_median_of_each_time() -> None:
    runs = [
        Cold(load=load, first_infer=100 - load, compile=compiled)
        for load, compiled in ((1, 9), (3, None), (2, 7))
    ]
    assert median_cold(runs) == Cold(load=2, first_infer=98, compile=8)
    assert median_cold([Cold(load=1, first_infer=2)]).compile is None
