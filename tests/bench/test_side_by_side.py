"""The speed-up by turns: what holds on a calm machine comes out on a busy one, unlike a ratio of medians."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeprune.bench.side_by_side import log_ratios, own_ns, speedup, speedup_of
from edgeprune.records.bench_result import BenchResult, Block, Flag
from edgeprune.records.facts import RuntimeFacts
from edgeprune.records.speedup import Speedup

RECORDED = json.loads((Path(__file__).parents[1] / "data/side_by_side/recorded.json").read_text())
REFERENCE = "ort-fp32"
ENGINES = [name for name in RECORDED["calm"] if name != REFERENCE]
# By what was recorded in one hour: beside other work, and where nothing could cut in.
HOURS = [pair for pair in (("busy", "calm"), ("crowded", "quiet")) if pair[0] in RECORDED]


def block(samples_ns: Sequence[int], turns: Sequence[int] = (), waits_ns: Sequence[int] = ()) -> Block:
    return Block(
        pid=1, order=0, t_start=0.0, warmup_n=1, samples_ns=tuple(samples_ns), elapsed_ns=sum(samples_ns),
        canary_before_ns=1, canary_after_ns=1, ctxt_invol=0, majflt=0, turns=tuple(turns),
        waits_ns=tuple(waits_ns),
    )  # fmt: skip


def run(blocks: Sequence[Block], flags: Sequence[str] = (), **facts: Any) -> BenchResult:
    found = [Flag(code=code, severity="invalid", evidence="-") for code in flags]
    return BenchResult.model_construct(
        **{
            "run_id": "one",
            "blocks": tuple(blocks),
            "flags": tuple(found),
            "backend": RuntimeFacts(threads=1),
        }
        | facts
    )


def recorded(kind: str, engine: str) -> list[Block]:
    return [
        block(
            [us * 1000 for us in part["samples_us"]],
            part["turns"],
            [us * 1000 for us in part["waits_us"]],
        )
        for part in RECORDED[kind][engine]
    ]


def by_turns(kind: str, engine: str, rounds: slice = slice(None)) -> Speedup:
    pairs = zip(recorded(kind, REFERENCE)[rounds], recorded(kind, engine)[rounds], strict=True)
    found = speedup_of([log_ratios(one, other) for one, other in pairs])
    assert found is not None and found.low is not None and found.high is not None
    return found


def by_medians(kind: str, engine: str) -> list[float]:
    pairs = zip(recorded(kind, REFERENCE), recorded(kind, engine), strict=True)
    return [float(np.median(one.samples_ns) / np.median(other.samples_ns)) for one, other in pairs]


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(("beside", "alone"), HOURS)
def test_a_recorded_busy_run_tells_the_speedup_of_the_calm_ones(beside: str, alone: str, engine: str) -> None:
    calm, busy = by_turns(alone, engine), by_turns(beside, engine)
    assert busy.low and busy.high and busy.low <= calm.times <= busy.high
    for number in range(3):  # and of no single process is more claimed than is true
        one = by_turns(beside, engine, slice(number, number + 1))
        assert one.low and one.low <= calm.times


def test_two_medians_of_the_same_recording_told_of_what_is_not_there() -> None:
    calm = by_turns("calm", "ov-thin-bf16").times
    told = by_medians("busy", "ov-thin-bf16")
    assert max(told) > 1.25 * calm
    assert by_medians("calm", "ov-thin-bf16") == pytest.approx([calm] * 3, rel=0.03)
    assert max(by_turns("busy", "ov-thin-bf16", slice(n, n + 1)).times for n in range(3)) < calm


class Busy:
    """A core that others cut into: after each stretch of own work, on average `gap_ms`, for `cut_ms`.

    Its speed wanders from turn to turn by some per cent: the mood that no counter tells.
    """

    def __init__(self, seed: int, gap_ms: float, cut_ms: float, mood: float) -> None:
        self.random = np.random.default_rng(seed)
        self.gap_ms, self.cut_ms, self.mood = gap_ms, cut_ms, mood
        self.until_cut, self.pace = float(self.random.exponential(gap_ms)), 1.0

    def query(self, work_ms: float) -> tuple[float, float]:
        """Return what a query takes by the clock, and what of that it waited, ms."""
        left, waited = work_ms * self.pace * (1 + 0.01 * abs(self.random.normal())), 0.0
        took = left
        while left > self.until_cut:
            left -= self.until_cut
            waited += self.cut_ms
            self.until_cut = float(self.random.exponential(self.gap_ms))
        self.until_cut -= left
        return took + waited, waited

    def turns(self, works_ms: Sequence[float], count: int, told: bool) -> list[Block]:
        """Let networks take turns as `worker/turns.py` does: at least four queries and 40 ms each."""
        rows: list[tuple[list[int], list[int], list[int]]] = [([], [], []) for _ in works_ms]
        for _ in range(count):
            self.pace *= math.exp(self.mood * self.random.normal())
            for work_ms, (samples, waits, turns) in zip(works_ms, rows, strict=True):
                queries, begin = 0, 0.0
                while queries < 4 or begin < 40:
                    took, waited = self.query(work_ms)
                    samples.append(round(took * 1e6))
                    waits.append(round(waited * 1e6))
                    begin, queries = begin + took, queries + 1
                turns.append(queries)
        return [block(samples, turns, waits if told else ()) for samples, waits, turns in rows]


WORKS = st.floats(0.5, 40)
BUSY = st.builds(
    Busy, st.integers(0, 10_000), gap_ms=st.floats(3, 60), cut_ms=st.floats(0, 12), mood=st.floats(0, 0.05)
)


@settings(deadline=None, max_examples=40)
@given(BUSY, WORKS, WORKS)
def test_whatever_cuts_in_the_calm_ratio_comes_out_where_the_kernel_tells_the_waits(
    machine: Busy, slow_ms: float, fast_ms: float
) -> None:
    one, other = machine.turns([slow_ms, fast_ms], 100, told=True)
    found = speedup_of([log_ratios(one, other)])
    assert found is not None and found.times == pytest.approx(slow_ms / fast_ms, rel=0.03)


@settings(deadline=None, max_examples=40)
@given(BUSY, WORKS, WORKS)
def test_cuts_that_nothing_tells_of_do_not_make_short_queries_look_faster(
    machine: Busy, slow_ms: float, fast_ms: float
) -> None:
    """Of a hypervisor's cuts the run queue knows nothing: the turns alone have to do."""
    pairs = [machine.turns([slow_ms, fast_ms], 60, told=False) for _ in range(4)]
    found = speedup_of([log_ratios(one, other) for one, other in pairs])
    assert found is not None and found.times == pytest.approx(slow_ms / fast_ms, rel=0.25)


def test_medians_are_bent_where_the_turns_are_not() -> None:
    """Long queries are nearly always cut, short ones mostly escape: their medians tell another story."""
    one, other = Busy(1, gap_ms=8, cut_ms=8, mood=0.02).turns([14, 3], 200, told=False)
    assert np.median(one.samples_ns) / np.median(other.samples_ns) > 1.4 * 14 / 3
    found = speedup_of([log_ratios(one, other)])
    assert found is not None and found.times == pytest.approx(14 / 3, rel=0.1)


def test_the_interval_holds_the_calm_ratio_about_as_often_as_it_says() -> None:
    held = 0
    for seed in range(60):
        machine = Busy(seed, gap_ms=10, cut_ms=5, mood=0.03)
        pairs = [machine.turns([12, 3], 20, told=True) for _ in range(5)]
        found = speedup_of([log_ratios(one, other) for one, other in pairs])
        assert found and found.low and found.high
        held += found.low <= 4 <= found.high
    assert held >= 53


def test_of_several_threads_only_queries_that_hardly_waited_count() -> None:
    cut = block([100, 200, 102], [3], [0, 90, 1])
    assert own_ns(cut, threads=1).tolist() == [100, 110, 101]
    assert own_ns(cut, threads=2)[[0, 2]].tolist() == [100, 102] and math.isnan(own_ns(cut, threads=2)[1])
    nothing = block([100, 200], [2], [50, 90])
    assert (
        len(log_ratios(nothing, nothing, 2, 2)) == 0 and speedup_of([log_ratios(nothing, cut, 2, 2)]) is None
    )


def test_a_file_without_turns_still_compares_by_its_processes() -> None:
    one, other = ([block([ms * 1_000_000] * 9) for ms in levels] for levels in ((20, 21, 22), (10, 10.5, 11)))
    found = speedup(run(one), run(other))
    assert found and found.turns == 3 and (found.times, found.low) == pytest.approx((2.0, 2.0))
    alone = speedup(run(one[:1]), run(other[:1]))
    assert alone == Speedup(times=2.0, turns=1)


def test_runs_that_took_no_turns_with_each_other_are_not_compared() -> None:
    blocks = [block([1000] * 9)]
    assert speedup(run(blocks), run(blocks, run_id="another day")) is None
    assert speedup(run(blocks), run([])) is None


Claim = Callable[[Sequence[str]], str]


@pytest.mark.parametrize(
    ("flags", "claim"),
    [
        ((), "2.00x (2.00x to 2.00x)"),
        (("noisy", "drift"), "2.00x (2.00x to 2.00x)"),  # drift meets both sides of a turn alike
        (("contended",), "at least 2.00x"),
        (("throttled",), "at least 2.00x"),
    ],
)
def test_of_a_disturbed_run_only_the_lower_end_is_claimed(flags: Sequence[str], claim: str) -> None:
    one, other = ([block([ms * 1_000_000] * 9)] * 3 for ms in (20, 10))
    for before, after in ((run(one, flags), run(other)), (run(one), run(other, flags))):
        found = speedup(before, after)
        assert found and found.claim == claim


def test_where_a_disturbed_run_bounds_nothing_nothing_is_claimed() -> None:
    assert Speedup(times=3.0, disturbed=True).claim == ""
    assert Speedup(times=1.2, low=0.9, high=1.6, turns=9, disturbed=True).claim == ""
    assert Speedup(times=3.0).claim == "3.00x"
