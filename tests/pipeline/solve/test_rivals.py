"""The ways to one size: what is timed, what gets the short recovery, and which network of each is kept."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from edgeprune.core.artifact import Artifact
from edgeprune.pipeline.solve import rivals
from edgeprune.pipeline.solve.levers import Proposal
from edgeprune.pipeline.solve.moves import Tried
from edgeprune.pipeline.solve.rivals import Recovery, recover_rivals
from edgeprune.pipeline.solve.rungs import Entry, Gains, Problem, SizedNetwork
from edgeprune.records.scores import Accuracy
from edgeprune.records.speedup import Speedup

ORIGINAL = Accuracy(metric="mAP50-95", split="val", images=90, score=0.6)


def artifact(name: str) -> Artifact:
    """Return a network of a name."""
    return Artifact(Path(f"{name}.pt"), "torch", "fp32", name, None)


ABOVE = Entry(Tried(0.8, 0.0), artifact("above"), 320)
BESIDE = SizedNetwork(ABOVE.network, 320)
NARROW, SMALL = (
    Proposal(artifact(name), imgsz, 0.6, 6.0, score=score)
    for name, imgsz, score in (("narrow", 320, 0.55), ("small", 256, 0.53))
)


class World:
    """What is true of the networks; and what was said and trained."""

    def __init__(self, times: dict[str, float], after: dict[str, float]) -> None:
        self.times, self.after = times, after
        self.said: list[str] = []
        self.trained: list[str] = []

    @property
    def problem(self) -> Problem:
        context = SimpleNamespace(info=SimpleNamespace(metric="mAP50-95"))
        return cast(Problem, SimpleNamespace(context=context, baseline={"val": ORIGINAL}, budget=0.01))

    def recovery(self, epochs: int = 6) -> Recovery:
        return Recovery(epochs, self.train, self.said.append)

    def train(self, network: SizedNetwork, epochs: int) -> Artifact:
        self.trained.append(network.model.sha256)
        return artifact(f"{network.model.sha256} {epochs}")

    def time(self, problem: Problem, network: SizedNetwork, beside: SizedNetwork) -> Gains:
        assert beside == BESIDE
        gain = Speedup(times=self.times[network.model.sha256])
        return Gains(original=gain, above=gain)

    def score(self, problem: Problem, network: Artifact, imgsz: int) -> float:
        return self.after[network.sha256.split()[0]]


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    found = World({"narrow": 1.2, "small": 1.3}, {"narrow": 0.57, "small": 0.58})
    monkeypatch.setattr(rivals, "time_network", found.time)
    monkeypatch.setattr(rivals, "score_of", found.score)
    return found


def test_each_way_that_is_faster_gets_the_short_recovery(world: World) -> None:
    kept, timed = recover_rivals(world.problem, [NARROW, SMALL], ABOVE, BESIDE, world.recovery())
    assert [(one.made, one.score, one.recovered) for one in kept] == [
        (NARROW, 0.57, 0.57),
        (SMALL, 0.58, 0.58),
    ]
    assert [one.network.sha256 for one in kept] == ["narrow 6", "small 6"] and not kept[0].as_cut
    assert set(timed) == {NARROW, SMALL}


def test_what_is_no_faster_or_no_other_network_is_not_trained(world: World) -> None:
    world.times["narrow"] = 1.01
    same = Proposal(ABOVE.network, 320, 0.8, 8.0)
    kept, timed = recover_rivals(world.problem, [same, NARROW, SMALL], ABOVE, BESIDE, world.recovery())
    assert world.trained == ["small"] and [one.made for one in kept] == [SMALL]
    assert set(timed) == {NARROW, SMALL}


def test_where_the_best_one_keeps_to_the_budget_as_it_was_cut_the_others_are_left(world: World) -> None:
    best = NARROW._replace(score=0.592)
    kept, timed = recover_rivals(world.problem, [best, SMALL], ABOVE, BESIDE, world.recovery())
    assert world.trained == [] and set(timed) == {best}
    assert [(one.network, one.as_cut, one.recovered) for one in kept] == [(best.network, True, None)]


def test_a_recovery_that_harms_is_told_and_the_network_is_left_as_it_was_cut(world: World) -> None:
    world.after["narrow"] = 0.54
    kept, _ = recover_rivals(world.problem, [NARROW], ABOVE, BESIDE, world.recovery())
    assert [(one.network, one.score, one.recovered) for one in kept] == [(NARROW.network, 0.55, 0.54)]
    assert world.said == ["mAP50-95 0.5500 after the cut, 0.5400 trained: left as cut"]


def test_without_epochs_nothing_is_trained_or_compared(world: World) -> None:
    kept, _ = recover_rivals(world.problem, [NARROW, SMALL], ABOVE, BESIDE, world.recovery(0))
    assert world.trained == [] and [(one.made, one.score) for one in kept] == [(NARROW, None)]
