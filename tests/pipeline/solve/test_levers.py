"""Which way to a cost is taken: narrower layers, or a smaller input; by what was measured of each."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from torch import nn

from edgeprune.core.artifact import Artifact
from edgeprune.core.errors import BudgetError
from edgeprune.images.size import ImageSize
from edgeprune.pipeline.solve import levers
from edgeprune.pipeline.solve.moves import Tried
from edgeprune.pipeline.solve.rungs import Entry, Problem
from edgeprune.records.pruning import PassReport

UNCUT = Artifact(Path("uncut.pt"), "torch", "fp32", "uncut", None)
ABOVE = Entry(Tried(1.0, 0.0), UNCUT, 320)
SWAPPED = (PassReport(name="activation", applied=("SiLU to relu in 9 layers",)),)
SIZES: tuple[ImageSize, ...] = (320, 288, 256, 224, 192, 160)
COSTS = {320: 1.0, 288: 0.85, 256: 0.7, 224: 0.55, 192: 0.45, 160: 0.35}


def problem(**options: Any) -> Problem:
    """Return a problem whose table knows 10 ms, of a network that runs at any size but 192."""
    network: Any = options.get("network", nn.Identity())
    context: Any = SimpleNamespace(
        spec=SimpleNamespace(imgsz=320),
        info=SimpleNamespace(metric="mAP50-95", stride=32),
        recipe=SimpleNamespace(imgsz=options.get("imgsz")),
        adapter=SimpleNamespace(load=lambda path: network, exportable=lambda module: module),
        at=lambda imgsz: SimpleNamespace(imgsz=imgsz),
    )
    table = SimpleNamespace(whole_ms=10.0) if options.get("measured", True) else None
    return cast(Problem, SimpleNamespace(context=context, uncut=UNCUT, table=table, profile=None))


@pytest.fixture
def scored(monkeypatch: pytest.MonkeyPatch) -> dict[ImageSize, float]:
    """Return the score right after surgery by input size, to be filled in; the narrowest widths leave .4."""
    scores: dict[ImageSize, float] = {}

    def cut(context: Any, model: Artifact, table: Any, goal_ms: float) -> tuple[Artifact, float]:
        if goal_ms < 4:
            raise BudgetError("no widths reach it")
        return Artifact(
            Path("cut.pt"), "torch", "fp32", f"cut {goal_ms:.2f} of {model.sha256}", "uncut"
        ), goal_ms

    monkeypatch.setattr(levers, "cost_at", lambda problem, imgsz: COSTS[imgsz])
    monkeypatch.setattr(levers, "cut", cut)
    monkeypatch.setattr(levers, "torch_accuracy", lambda context, model: scores[context.imgsz])
    return scores


def test_what_loses_least_right_after_the_cut_comes_first(scored: dict[ImageSize, float]) -> None:
    scored.update({320: 0.5, 288: 0.55, 256: 0.52})
    found = levers.propose(problem(), [ABOVE], 0.7, SIZES)
    assert [(one.imgsz, one.score) for one in found] == [(288, 0.55), (256, 0.52), (320, 0.5)]
    assert found[0].network.sha256 == "cut 8.24 of uncut"  # .7 of the cost is .82 of it at 288 px
    assert found[0].predicted_ms == pytest.approx(7.0) and found[1].width == 1.0
    told = levers.levers_of(problem(), found, {found[0]: 0.56, found[1]: 0.57}, found[1])
    assert [(lever.imgsz, lever.recovered, lever.taken) for lever in told] == [
        (288, 0.56, False), (256, 0.57, True), (320, None, False),
    ]  # fmt: skip


def test_a_smaller_input_alone_leaves_the_network_as_it_is(scored: dict[ImageSize, float]) -> None:
    scored.update({320: 0.5, 288: 0.6})
    found = levers.propose(problem(), [ABOVE], 0.85, SIZES)
    assert len(found) == 2  # what is smaller still would be faster than asked for
    assert (found[0].network, found[0].imgsz, found[0].width) == (UNCUT, 288, 1.0)
    assert found[0].differs_from(ABOVE)
    assert not levers.Proposal(UNCUT, 320, 1.0, 10.0).differs_from(ABOVE)


def test_what_widths_do_not_reach_a_smaller_input_may(scored: dict[ImageSize, float]) -> None:
    scored.update({288: 0.3, 256: 0.4})
    assert [one.imgsz for one in levers.propose(problem(), [ABOVE], 0.35, SIZES)] == [256, 288]
    with pytest.raises(BudgetError, match="no widths reach it"):
        levers.propose(problem(), [ABOVE], 0.1, SIZES[:2])


def test_a_larger_input_is_cut_from_the_smallest_network_that_has_it(scored: dict[ImageSize, float]) -> None:
    scored.update({288: 0.56, 256: 0.54, 224: 0.5, 192: 0.4})
    narrow = replace(ABOVE, network=replace(UNCUT, sha256="narrow"), imgsz=288, width=0.8)
    small = replace(narrow, network=replace(UNCUT, sha256="small"), imgsz=256, passes=SWAPPED)
    best, same, smaller = levers.propose(problem(), [small, narrow, ABOVE], 0.5, SIZES)
    assert (best.imgsz, best.network.sha256, best.passes) == (288, "cut 5.88 of narrow", ())
    assert (same.imgsz, same.network.sha256, same.passes) == (256, "cut 7.14 of small", SWAPPED)
    assert (smaller.imgsz, smaller.network, smaller.width) == (224, small.network, 0.8)


def test_with_one_input_size_nothing_is_judged_before_the_recovery(scored: dict[ImageSize, float]) -> None:
    (made,) = levers.propose(problem(), [ABOVE], 0.7, (320,))
    assert (made.imgsz, made.width, made.score) == (320, pytest.approx(0.7), None)
    assert levers.levers_of(problem(), [made], {}, made) == ()


def test_inputs_of_a_size_that_the_user_gave_stay() -> None:
    assert levers.input_sizes(problem(imgsz=320)) == (320,)
    assert levers.input_sizes(problem()) == SIZES


def test_a_network_that_runs_at_one_size_only_keeps_it() -> None:
    fixed = nn.Sequential(nn.Flatten(), nn.Linear(3 * 320 * 320, 1))
    assert levers.input_sizes(problem(network=fixed)) == (320,)


def test_unmeasured_targets_count_the_pixels() -> None:
    assert levers.cost_at(problem(measured=False), 160) == 0.25
    assert levers.cost_at(problem(), 320) == 1.0
