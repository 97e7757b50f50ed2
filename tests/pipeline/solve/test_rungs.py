"""One size of the search: which of its networks is taken, what an epoch takes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from edgeprune.core.artifact import Artifact
from edgeprune.pipeline.solve import rungs
from edgeprune.pipeline.solve.moves import Tried
from edgeprune.pipeline.solve.rungs import Entry, pace_from
from edgeprune.records.scores import Accuracy, Resampled

SHORT, LONG = (Artifact(Path(name), "torch", "fp32", name, None) for name in ("short.pt", "long.pt"))


@pytest.mark.parametrize(("long", "best"), [(0.004, LONG), (0.02, SHORT), (0.03, SHORT)])
def test_the_more_accurate_of_two_networks_is_taken(long: float, best: Artifact) -> None:
    entry = Entry(Tried(0.5, 0.02 if long != 0.02 else 0.01, long), SHORT, 64, LONG)
    assert entry.best == best
    assert Entry(Tried(0.5, 0.02), SHORT, 64).best == SHORT


def test_where_the_budget_has_to_be_sure_the_upper_end_of_the_interval_counts() -> None:
    rng = np.random.default_rng(0)
    scores = rng.normal(0.6, 0.02, 1000)
    original, after = (
        Accuracy(metric="mAP50-95", split="val", images=90, score=score).with_resampled(
            Resampled(key="a", images=90, scores=tuple(scores + score - 0.6 + rng.normal(0, 0.005, 1000)))
        )
        for score in (0.6, 0.595)
    )
    assert after.dropped_from(original).counted_drop(sure=False) == pytest.approx(0.005)
    assert after.dropped_from(original).counted_drop(sure=True) > 0.01
    plain = Accuracy(metric="my own", split="val", images=90, score=0.5)
    assert plain.dropped_from(original).counted_drop(sure=True) == pytest.approx(0.1)  # no interval is known


@dataclass(frozen=True)
class Context:
    """As much of a build as `judge` asks for."""

    choosing: bool = False

    def at(self, imgsz: int) -> Context:
        return self

    def on(self, profile: object) -> Context:
        return self


@pytest.mark.parametrize(
    ("guarded", "floats", "drop"),
    [(True, ("a",), 0.009), (True, ("a", "b"), 0.03), (True, None, 0.009), (False, (), 0.03)],
)
def test_a_network_that_keeps_to_the_budget_in_float_alone_is_judged_as_it_is_in_int8(
    monkeypatch: pytest.MonkeyPatch, guarded: bool, floats: tuple[str, ...] | None, drop: float
) -> None:
    def scored(drop: float) -> dict[str, Accuracy]:
        return {"val": Accuracy(metric="top-1", split="val", images=90, score=0.9 - drop)}

    guard = None if floats is None else SimpleNamespace(floats=floats, layers=("a", "b"))
    row = SimpleNamespace(accuracy=scored(0.009), guard=guard)
    for name, fake in {
        "export_model": lambda *_: (SHORT, None),
        "source": lambda *_: SHORT,
        "guard_row": lambda *_: row,
        "assess": lambda *_: (None, None, scored(0.03)),
    }.items():
        monkeypatch.setattr(rungs, name, fake)
    profile: Any = SimpleNamespace(ship="int8")
    context: Any = Context()
    problem = rungs.Problem(context, profile, LONG, LONG, None, scored(0.0))
    found = rungs.judge(problem, rungs.SizedNetwork(SHORT, 64), guarded=guarded)
    assert found.drop == pytest.approx(drop)


def test_an_epoch_is_timed_from_its_first_batch_to_the_next_ones() -> None:
    """Four batches an epoch, one a second; 5 s until the first one ends, 3 s of evaluation an epoch."""
    seen = [(5.0 + i, (i + 1) / 8) for i in range(4)] + [(12.0 + i, (i + 5) / 8) for i in range(4)]
    pace = pace_from(seen, 18.0)
    assert (pace.epoch_s, pace.start_s) == (7.0, 4.0)
    assert pace.seconds(10) == 74.0
    assert pace_from([], 18.0).epoch_s == 9.0  # a trainer that tells nothing of its batches


def test_a_training_that_was_left_early_tells_the_pace_by_its_batches() -> None:
    """Ten batches an epoch, two seconds each, 5 s until the first one ends; left in the first epoch."""
    seen = [(5.0 + 2 * i, (i + 1) / 20) for i in range(4)]
    pace = pace_from(seen, 12.0)
    assert (pace.epoch_s, pace.start_s) == pytest.approx((20.0, 5.0))
