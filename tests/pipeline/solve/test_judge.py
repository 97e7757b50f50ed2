"""What a size of the search is judged by: its artifact in int8, or with layers in float if that is faster."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from edgeprune.core.artifact import Artifact
from edgeprune.pipeline.solve import judge as judging
from edgeprune.pipeline.solve.judge import Judged, judge, judge_again, judge_guarded
from edgeprune.pipeline.solve.moves import Tried
from edgeprune.pipeline.solve.rungs import Entry, Gains, Problem, SizedNetwork
from edgeprune.records.scores import Accuracy
from edgeprune.records.speedup import Speedup

INT8, MIXED = 0.03, 0.009
NETWORK, LARGER, ORIGINAL = (
    SizedNetwork(Artifact(Path(f"{name}.pt"), "torch", "fp32", name), 64)
    for name in ("network", "larger", "original")
)
ENGINE = Artifact(Path("mixed.onnx"), "engine", "int8", "mixed")


@dataclass(frozen=True)
class Context:
    """As much of a build as a judge asks for."""

    choosing: bool = False

    @property
    def recipe(self) -> Any:
        return SimpleNamespace(budget=SimpleNamespace(sure=False))

    def at(self, imgsz: int) -> Context:
        return self

    def on(self, profile: object) -> Context:
        return self


def scored(drop: float) -> dict[str, Accuracy]:
    """Return the accuracy of a network that lost so much."""
    return {"val": Accuracy(metric="top-1", split="val", images=90, score=0.9 - drop)}


def exactly(times: float) -> Speedup:
    """Return a speed-up that is known well."""
    return Speedup(times=times, low=times, high=times, turns=96)


World = Callable[..., Problem]


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    """Return what makes a problem: a guard that leaves some of two layers in float, and their speed."""

    def make(floats: tuple[str, ...] | None, faster: float | None = 1.5) -> Problem:
        guard = None if floats is None else SimpleNamespace(floats=floats, layers=("a", "b"))
        row = SimpleNamespace(accuracy=scored(MIXED), guard=guard, artifact=ENGINE)

        def timed(_: Problem, network: SizedNetwork, above: SizedNetwork, engine: Any = None) -> Gains | None:
            assert (network, above, engine) in ((NETWORK, LARGER, ENGINE), (NETWORK, ORIGINAL, None))
            times = 3.0 if engine is None else faster
            return Gains(original=exactly(2 * times), above=exactly(times)) if times else None

        fakes = {
            "export_model": lambda *_: (NETWORK.model, None),
            "source": lambda *_: NETWORK.model,
            "guard_row": lambda *_: row,
            "assess": lambda *_: (None, None, scored(INT8)),
            "time_network": timed,
        }
        for name, fake in fakes.items():
            monkeypatch.setattr(judging, name, fake)
        profile: Any = SimpleNamespace(ship="int8")
        context: Any = Context()
        return Problem(context, profile, ORIGINAL.model, ORIGINAL.model, None, scored(0.0))

    return make


def test_a_network_is_judged_in_the_precision_that_ships(world: World) -> None:
    assert judge(world(("a",)), NETWORK).drop == pytest.approx(INT8)


@pytest.mark.parametrize(
    ("floats", "faster", "drop", "gain"),
    [
        (None, 1.5, MIXED, None),  # it keeps to the budget in int8: the guard had nothing to do
        (("a",), 1.5, MIXED, exactly(3.0)),
        (("a",), 0.95, INT8, None),  # slower than the next larger size in int8
        (("a",), None, MIXED, None),  # nothing is measured
        (("a", "b"), 1.5, INT8, None),  # nothing is left of int8
    ],
)
def test_layers_in_float_are_taken_where_the_network_stays_faster_than_the_next_larger_one(
    world: World, floats: tuple[str, ...] | None, faster: float | None, drop: float, gain: Speedup | None
) -> None:
    judged = judge_guarded(world(floats, faster), NETWORK, LARGER)
    assert judged == Judged(judged.accuracy, gain)
    assert judged.accuracy.drop == pytest.approx(drop)


def test_what_another_target_tried_has_its_speed_and_its_drops_here(world: World) -> None:
    tried = Entry(Tried(0.5, 0.02, 0.001), NETWORK.model, 64, gain=exactly(9.0), predicted_ms=1.0)
    found = judge_again(world(("a",)), tried, ORIGINAL, LARGER)
    assert (found.tried.short, found.tried.long) == (pytest.approx(INT8), None)
    assert (found.gain, found.predicted_ms) == (exactly(6.0), None)


def test_what_another_target_recovered_keeps_its_layers_in_float_here(world: World) -> None:
    tried = Entry(Tried(0.5, 0.02, 0.001), NETWORK.model, 64, trained=NETWORK.model, gain=exactly(9.0))
    found = judge_again(world(("a",)), tried, ORIGINAL, LARGER)
    assert (found.tried.short, found.tried.long) == (pytest.approx(INT8), pytest.approx(MIXED))
    assert found.gain == exactly(3.0)
