"""Pruning to a latency: what is kept, refused and rolled back, on a simulated target; then once for real."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from edgeprune.bench.testbed import local
from edgeprune.config.recipe import load_recipe
from edgeprune.config.targets import DeviceProfile, resolve_targets
from edgeprune.core.artifact import Artifact
from edgeprune.core.errors import BudgetError, ConfigError
from edgeprune.gate.race import Race
from edgeprune.images.preprocess import Preprocess
from edgeprune.latency import profile as profiling
from edgeprune.latency import shipped
from edgeprune.pipeline import prune_to_latency as iterating
from edgeprune.pipeline.context import Build
from edgeprune.pipeline.prune_to_latency import Descent, Goal, descend, latency_goal, latency_table
from edgeprune.records.latency_table import LatencyTable
from made_latency import table

TABLE = cast(LatencyTable, SimpleNamespace(whole_ms=10.0))
PROFILE = cast(DeviceProfile, SimpleNamespace(name="simulated"))


def _model(ms: float) -> Artifact:
    return Artifact(Path(f"{ms:.3f}.pt"), "torch", "fp32", f"{ms:.3f}", None)


def _race(change: float) -> Race:
    return Race(
        faster=change < 0,
        change=change,
        low=change - 0.01,
        high=change + 0.01,
        before_ms=10.0,
        after_ms=10.0 * (1 + change),
        pairs=6,
    )


@pytest.fixture
def target(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Descent]:
    """Return a function that descends on a simulated target; models are named by their latency in the table.

    `slower` says how many times as long such a model really takes.
    """

    def run(
        slower: Callable[[float], float] = lambda ms: 1.0,
        accuracy: Callable[[float], float] = lambda ms: 0.6,
        **recipe: Any,
    ) -> Descent:
        monkeypatch.setattr(iterating, "cut", lambda context, model, table, goal: (_model(goal), goal))
        monkeypatch.setattr(
            iterating,
            "race_models",
            lambda context, profile, before, after, table: _race(_real(after) / _real(before) - 1),
        )
        monkeypatch.setattr(iterating, "torch_accuracy", lambda context, model: accuracy(float(model.sha256)))
        monkeypatch.setattr(iterating, "finetune", lambda context, student, teacher, epochs: student)

        def _real(model: Artifact) -> float:
            ms = float(model.sha256)
            return ms * slower(ms)

        settings = {f"prune__{key}": value for key, value in recipe.items()}
        context = SimpleNamespace(
            recipe=load_recipe(**settings),
            notify=lambda *_: None,
            info=SimpleNamespace(metric="mAP50-95"),
        )
        goal = latency_goal(context.recipe, TABLE, TABLE.whole_ms)
        assert goal
        return descend(cast(Build, context), _model(10.0), _model(10.0), PROFILE, TABLE, goal)

    return run


@pytest.mark.parametrize(
    ("options", "goal"),
    [
        ({"prune__latency_ms": 4.0}, Goal(4.0, "4.00 ms")),
        ({"prune__speedup": 4.0}, Goal(2.5, "speed-up 4 (2.50 ms)")),
        ({"budget__min_fps": 125.0}, Goal(8.0, "125 FPS (8.00 ms)")),
        ({"budget__max_latency_ms": 7.5}, Goal(7.5, "7.50 ms")),
    ],
)
def test_the_goal_is_the_recipes_own_or_that_of_its_budget(options: dict[str, float], goal: Goal) -> None:
    assert latency_goal(load_recipe(**options), TABLE, 10.0) == goal


def test_of_two_budgets_of_speed_the_stricter_one_is_the_goal() -> None:
    both = {"budget__min_fps": 125.0, "budget__max_latency_ms": 7.5}
    assert latency_goal(load_recipe(**both), TABLE, 10.0) == Goal(7.5, "7.50 ms")
    both = {"budget__min_fps": 125.0, "budget__max_latency_ms": 9.5}
    assert latency_goal(load_recipe(**both), TABLE, 10.0) == Goal(8.0, "125 FPS (8.00 ms)")


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"budget__min_fps": 100.0},  # the unpruned 10 ms are just that
        {"budget__max_latency_ms": 12.0},
        {"budget__min_fps": 500.0, "prune__ratio": 0.5},
        {"budget__max_latency_ms": 2.0, "prune__macs": 0.5},
    ],
)
def test_a_budget_that_is_met_unpruned_or_stands_beside_a_goal_is_none(options: dict[str, float]) -> None:
    assert latency_goal(load_recipe(**options), TABLE, 10.0) is None


def test_only_a_rewriting_pays_for_its_factors(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: list[tuple[str, ...]] = []
    keys: list[dict[str, Any]] = []

    def profile_model(*_: Any, rewrite: tuple[str, ...]) -> LatencyTable:
        asked.append(rewrite)
        return table()

    def stage(
        name: str, parts: dict[str, Any], make: Callable[[Path], None], read: Callable[[Path], Any], **_: Any
    ) -> Any:
        keys.append(parts)
        make(tmp_path)
        return read(tmp_path)

    monkeypatch.setattr(shipped, "subject_of", lambda *_: None)
    monkeypatch.setattr(profiling, "profile_model", profile_model)
    context = SimpleNamespace(
        adapter=None,
        spec=Preprocess(64),
        recipe=load_recipe(prune__rewrite=("spatial",)),
        notify=None,
        testbed=local(),
        of_pruning=(),
        of_runtime=lambda _: (),
        stage=stage,
    )
    (host, *_) = resolve_targets(("cpu",))
    assert latency_table(cast(Build, context), _model(10.0), host) == table()
    latency_table(cast(Build, context), _model(10.0), host, ("spatial",))
    assert asked == [(), ("spatial",)]
    assert keys[1] == keys[0] | {"rewrite": ["spatial"]}


def test_a_table_that_is_unfit_is_measured_again_and_not_kept(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    tables = [table(foreign=0.4), table(foreign=0.3), table()]
    said: list[str] = []
    places: list[Path] = []

    def stage(
        name: str, parts: dict[str, Any], make: Callable[[Path], None], read: Callable[[Path], Any], **_: Any
    ) -> Any:
        place = tmp_path / "table"
        if not place.exists():
            place.mkdir()
            make(place)
            places.append(place)
        return read(place)

    monkeypatch.setattr(shipped, "subject_of", lambda *_: None)
    monkeypatch.setattr(profiling, "profile_model", lambda *_, rewrite: tables.pop(0))
    context = SimpleNamespace(
        adapter=None,
        spec=Preprocess(64),
        recipe=load_recipe(),
        notify=lambda stage, share, text: said.append(text),
        testbed=local(),
        of_pruning=(),
        of_runtime=lambda _: (),
        stage=stage,
    )
    (host, *_) = resolve_targets(("cpu",))
    build = cast(Build, context)
    assert latency_table(build, _model(10.0), host).foreign == 0.3
    assert said[0].startswith("measured again: contended") and said[1].startswith("contended")
    assert latency_table(build, _model(10.0), host) == latency_table(build, _model(10.0), host) == table()
    assert len(places) == 3 and len(said) == 2


def test_speed_ups_count_from_the_users_own_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 10 ms in the table after an activation was swapped that took a fifth of the time away."""
    monkeypatch.setattr(iterating, "race_models", lambda *_: _race(-0.2))
    given = (cast(Build, None), PROFILE, TABLE, _model(12.5))
    assert iterating.own_latency(*given, _model(10.0)) == pytest.approx(12.5)
    assert iterating.own_latency(*given, _model(12.5)) == 10.0
    goal = latency_goal(load_recipe(prune__speedup=5.0), TABLE, 12.5)
    assert goal == Goal(2.5, "speed-up 5 (2.50 ms)")


def test_the_budget_is_reached_step_by_step(target: Callable[..., Descent]) -> None:
    end = target(latency_ms=7.0, stride=0.1)
    assert [round(one.goal_ms, 2) for one in end.iterations] == [9.0, 8.1, 7.29, 7.0]
    assert not any(one.refused for one in end.iterations)
    assert end.predicted_ms == 7.0


def test_one_shot_is_one_cut_without_recovery(target: Callable[..., Descent]) -> None:
    (only,) = target(latency_ms=5.0, one_shot=True).iterations
    assert (only.goal_ms, only.score) == (5.0, None)


def test_a_table_that_promised_too_much_is_asked_for_more(target: Callable[..., Descent]) -> None:
    end = target(lambda ms: 1.0 if ms > 9.99 else 1.1, latency_ms=7.0, one_shot=True)
    assert end.measured_ms == pytest.approx(7.0, rel=0.001)
    assert end.predicted_ms == pytest.approx(7.0 / 1.1, rel=0.001)
    assert [one.goal_ms for one in end.iterations] == [7.0, 7.0]


def test_a_cut_that_is_not_faster_is_refused_and_the_next_goes_deeper(target: Callable[..., Descent]) -> None:
    end = target(lambda ms: 1.14 if 8.5 < ms < 9.5 else 1.0, latency_ms=7.5, stride=0.1)
    assert [bool(one.refused) for one in end.iterations] == [True, False, False]
    assert "not faster on the target (+2.6%" in end.iterations[0].refused
    assert end.iterations[0].score is None, "what is not kept is not trained"


def test_a_target_that_never_gets_faster_is_a_budget_not_met(target: Callable[..., Descent]) -> None:
    with pytest.raises(BudgetError, match="simulated: no cut was kept: not faster on the target"):
        target(lambda ms: 10 / ms, latency_ms=5.0)


def test_below_the_floor_the_last_good_model_is_kept(target: Callable[..., Descent]) -> None:
    end = target(accuracy=lambda ms: 0.6 if ms > 8.5 else 0.5, latency_ms=5.0, stride=0.1, floor=0.05)
    assert end.model == _model(9.0)
    assert [bool(one.refused) for one in end.iterations] == [False, True]
    assert "mAP50-95 0.5000 is below the floor 0.5500" in end.iterations[-1].refused


def test_a_goal_that_is_met_already_is_said(target: Callable[..., Descent]) -> None:
    with pytest.raises(ConfigError, match=r"unpruned it takes 10\.00 ms and the goal is 12\.00 ms"):
        target(latency_ms=12.0)
