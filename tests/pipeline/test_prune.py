"""What a target is pruned to: the recipe's goal, else its budgets of speed, else a search's or a ratio.

On a real tiny model with a made latency table; which of two networks is faster is simulated.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from edgeprune.config.recipe import load_recipe
from edgeprune.config.targets import DeviceProfile, resolve_targets
from edgeprune.core.artifact import Artifact, Store, digest
from edgeprune.core.errors import BudgetError
from edgeprune.gate.race import Race
from edgeprune.images.dataset import Dataset
from edgeprune.latency import to_latency
from edgeprune.models import Training, get_adapter
from edgeprune.models.source import ModelSource
from edgeprune.pipeline import cut_to_size
from edgeprune.pipeline import prune as pruning
from edgeprune.pipeline import prune_to_latency as iterating
from edgeprune.pipeline.build import start
from edgeprune.pipeline.context import Build, BuildRequest
from edgeprune.pipeline.solve import begin as beginning
from edgeprune.pipeline.solve.moves import Tried
from edgeprune.pipeline.solve.plan import Pace
from edgeprune.pipeline.solve.rungs import Entry
from edgeprune.prune.activation import silu_names
from edgeprune.records.latency_table import LatencyTable
from edgeprune.records.pruning import PassReport, Pruning
from made_tables import made_table

HERE = resolve_targets(("cpu",))[0]
# So much faster that one cut reaches every goal here: how a descent goes on is a matter of test_iterating.
FASTER = Race(faster=True, change=-0.4, low=-0.45, high=-0.35, before_ms=10.0, after_ms=6.0, pairs=6)


@dataclass
class Bench:
    """The table that would be measured, how often it was asked for, and a way to prune."""

    table: LatencyTable
    prune: Callable[..., Pruning]
    profiled: list[str]

    def fps(self, share: float) -> float:
        """The frame rate of a network that takes this share of the unpruned one's time."""
        return 1000 / (share * self.table.whole_ms)


@pytest.fixture
def bench(
    checkpoints: dict[str, Path], tiny: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Bench:
    adapter = get_adapter("ultralytics")
    checkpoint = checkpoints["yolov8n"]
    table = made_table(adapter, adapter.prunable(adapter.load(checkpoint)), 64)
    profiled: list[str] = []

    def latency_table(context: Build, model: Artifact, profile: DeviceProfile) -> LatencyTable:
        profiled.append(profile.name)
        return table

    monkeypatch.setattr(pruning, "latency_table", latency_table)
    monkeypatch.setattr(iterating, "race_models", lambda *_: FASTER)

    def prune(profile: DeviceProfile = HERE, **options: float | str) -> Pruning:
        settings = ("prune.one_shot=true", "prune.criterion=l1")
        recipe = load_recipe(None, settings, imgsz=64, **({"finetune__epochs": 0} | options))
        request = BuildRequest(ModelSource(checkpoint), tiny.source, (profile,), recipe, tmp_path / "out", "")
        store = Store(tmp_path / "out" / "stages")
        with store.locked():
            original, context = start(request, store, lambda *_: None)
            return pruning.prune_model(context, original, profile, {}).report

    return Bench(table, prune, profiled)


def test_a_frame_rate_that_the_unpruned_model_misses_is_pruned_to(bench: Bench) -> None:
    wanted, ms = bench.fps(0.6), 0.6 * bench.table.whole_ms
    report = bench.prune(budget__min_fps=wanted, budget__max_latency_ms=0.8 * bench.table.whole_ms)
    assert report.goal == f"{wanted:g} FPS ({ms:.2f} ms)"
    cut, *_ = report.iterations
    assert cut.goal_ms == pytest.approx(ms) and cut.predicted_ms <= cut.goal_ms
    assert report.params_after < report.params_before and report.step == bench.table.step


def test_the_size_is_searched_for_where_no_budget_of_speed_is_to_be_reached(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = bench.prune(prune__ratio=0.5)
    searched: list[str] = []

    def solve(
        context: Build, networks: tuple[Artifact, Artifact], profile: DeviceProfile, *_: object
    ) -> tuple[Entry, Pruning, tuple[()]]:
        searched.append(profile.name)
        return Entry(Tried(0.5, 0.0), networks[0], 64), report, ()

    monkeypatch.setattr(pruning, "solve", solve)
    (jetson,) = resolve_targets(("jetson",))
    bench.prune()
    bench.prune(budget__min_fps=bench.fps(1.1))  # it is reached unpruned
    bench.prune(jetson, budget__min_fps=bench.fps(0.5))  # the device is not there
    assert searched == [HERE.name, HERE.name, jetson.name] and bench.profiled == [HERE.name]
    bench.prune(budget__min_fps=bench.fps(0.6))
    assert len(searched) == 3


def test_nothing_is_profiled_for_a_budget_beside_a_goal(bench: Bench) -> None:
    assert bench.prune(budget__min_fps=bench.fps(0.5), prune__ratio=0.5).goal == "ratio 0.5"
    assert bench.profiled == []


def test_a_frame_rate_that_no_widths_reach_names_the_fastest_before_anything_is_trained(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (iterating, pruning):
        monkeypatch.setattr(module, "finetune", lambda *_: pytest.fail("trained"))
    fastest = r"1e\+06 FPS \(0\.00 ms\): no widths reach 0\.00 ms: the least .* predicted to be \d"
    with pytest.raises(BudgetError, match=f"^{HERE.name}: {fastest}"):
        bench.prune(budget__min_fps=1e6, prune__one_shot=False)


def test_a_size_is_reached_in_steps_with_a_recovery_between_them(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    recovered: list[int] = []

    def finetuned(context: Build, student: Artifact, teacher: Artifact, epochs: int) -> Artifact:
        recovered.append(epochs)
        return student

    monkeypatch.setattr(cut_to_size, "finetune", finetuned)
    (jetson,) = resolve_targets(("jetson",))
    report = bench.prune(jetson, prune__ratio=0.5, prune__steps=2, prune__step_epochs=3, prune__max_ratio=0.6)
    assert (recovered, report.goal) == ([3], "ratio 0.5")
    widths = [(layer.before, layer.after) for layer in report.layers if layer.prunable]
    kept = sum(after for _, after in widths) / sum(before for before, _ in widths)
    assert 0.4 < kept < 0.65
    assert all(after >= 0.4 * before for before, after in widths)


@pytest.mark.parametrize(("gain", "applied"), [(0.1, ("SiLU to relu in 65 layers",)), (-0.1, ())])
def test_the_activation_is_swapped_unasked_where_that_is_measured_faster_and_trained(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, gain: float, applied: tuple[str, ...]
) -> None:
    monkeypatch.setattr(to_latency, "latency_gauge", lambda *_: lambda net: 10 + gain * len(silu_names(net)))
    monkeypatch.setattr(pruning, "finetune", lambda context, student, *_: student)
    (swap,) = bench.prune(finetune__epochs=1, prune__ratio=0.5).passes
    assert (swap.name, swap.applied) == ("activation", applied)
    assert len(swap.refused) == (not applied)
    assert bench.profiled == []


def test_no_activation_is_swapped_unasked_that_is_not_trained_or_not_measured(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pruning, "finetune", lambda context, student, *_: student)
    (jetson,) = resolve_targets(("jetson",))
    half = {"prune__ratio": 0.5}
    assert bench.prune(**half).passes == bench.prune(jetson, finetune__epochs=1, **half).passes == ()


@pytest.mark.parametrize(("hours", "activation"), [(0.5, "auto"), (20.0, "auto"), (0.5, "relu")])
def test_no_activation_is_swapped_unasked_that_the_hours_leave_no_training(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, hours: float, activation: str
) -> None:
    sized = bench.prune(prune__ratio=0.5)
    monkeypatch.setattr(pruning, "pace_within", lambda *_: Pace(epoch_s=60.0, start_s=0.0))
    monkeypatch.setattr(to_latency, "latency_gauge", lambda *_: lambda net: 10 + 0.1 * len(silu_names(net)))
    given: list[beginning.Networks] = []

    def solve(context: Build, networks: beginning.Networks, *_: object) -> tuple[Entry, Pruning, tuple[()]]:
        given.append(networks)
        return Entry(Tried(0.5, 0.0), networks.uncut, 64), sized, ()

    monkeypatch.setattr(pruning, "solve", solve)
    bench.prune(finetune__epochs=60, solve__hours=hours, prune__activation=activation)
    ((networks),) = given
    (swap,) = networks.passes
    if hours == 20.0 or activation == "relu":
        assert swap.applied and networks.uncut != networks.plain
    else:
        assert networks.uncut == networks.plain and not swap.applied
        assert swap.refused == ("relu: the hours are too few to train the network with it before any cut",)


@pytest.mark.parametrize("changed", [True, False])
def test_what_a_pass_changed_is_trained_before_a_cut_is_judged(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, changed: bool
) -> None:
    happened: list[str] = []

    def finetuned(context: Build, student: Artifact, *_: object) -> Artifact:
        happened.append("trained")
        return student

    def reshaped(context: Build, model: Artifact, *_: object) -> tuple[Artifact, tuple[PassReport, ...]]:
        return model, (PassReport(name="rewrite", applied=("model.5: spatial of rank 48",) * changed),)

    descend = pruning.descend
    monkeypatch.setattr(pruning, "apply_passes", reshaped)
    monkeypatch.setattr(pruning, "finetune", finetuned)
    monkeypatch.setattr(pruning, "descend", lambda *given: (happened.append("cut"), descend(*given))[1])
    bench.prune(prune__speedup=1.3, finetune__epochs=1)
    assert happened == ["trained"] * changed + ["cut", "trained"]


def test_quantization_aware_training_follows_the_recovery_for_the_kind_of_range_of_the_target(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained: list[tuple[str, str | None]] = []

    def aware(context: Build, student: Artifact, teacher: Artifact, profile: DeviceProfile) -> Artifact:
        trained.append(("aware", profile.name))
        return student

    def finetuned(context: Build, student: Artifact, *_: object) -> Artifact:
        trained.append(("finetune", None))
        return student

    monkeypatch.setattr(pruning, "train_aware", aware)
    monkeypatch.setattr(pruning, "finetune", finetuned)
    keep = {"prune__activation": "keep", "quantize__aware_epochs": 2, "prune__ratio": 0.5}
    bench.prune(finetune__epochs=1, **keep)
    bench.prune(finetune__epochs=0, **keep)
    bench.prune(HERE.model_copy(update={"precisions": ("fp32",)}), finetune__epochs=0, **keep)
    assert trained == [("finetune", None), ("aware", HERE.name), ("aware", HERE.name)]


def test_two_targets_that_cut_to_the_same_widths_train_once(
    bench: Bench, checkpoints: dict[str, Path], tiny: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each by its own table, into a file of its own; on the second machine everything takes twice as long."""
    adapter = get_adapter("ultralytics")
    other = HERE.model_copy(update={"name": "other", "channel_step": {"fp32": 8, "int8": 8}})
    tables = {HERE.name: bench.table, other.name: _slower(bench.table)}
    monkeypatch.setattr(pruning, "latency_table", lambda context, model, profile: tables[profile.name])
    save, files, trained = adapter.save, [], []

    def dated(model: nn.Module, path: Path) -> None:
        save(model, path)
        checkpoint = torch.load(path, weights_only=False)
        torch.save(checkpoint | {"date": str(len(files))}, path)
        files.append(path.name)

    def finetune(training: Training) -> None:
        trained.append(training.student)
        shutil.copyfile(training.student, training.out)

    monkeypatch.setattr(adapter, "save", dated)
    monkeypatch.setattr(adapter, "finetune", finetune)
    recipe = load_recipe(
        None,
        ("prune.one_shot=true", "prune.criterion=l1", "prune.activation=keep", "prune.speedup=1.3"),
        imgsz=64,
    )
    out = tmp_path / "two"
    request = BuildRequest(ModelSource(checkpoints["yolov8n"]), tiny.source, (HERE, other), recipe, out, "")
    store = Store(out / "stages")
    with store.locked():
        original, context = start(request, store, lambda *_: None)
        models = [pruning.prune_model(context, original, profile, {}).model for profile in (HERE, other)]
    assert len({digest(path) for path in out.glob("stages/cut-*/model.pt")}) == 2
    assert models[0] == models[1] and len(trained) == 1


def test_the_search_begins_on_the_target_that_is_fastest_and_the_hours_are_for_all_targets(
    bench: Bench, checkpoints: dict[str, Path], tiny: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = HERE.model_copy(update={"name": "slow"})
    (jetson,) = resolve_targets(("jetson",))  # it is not measured here
    tables = {HERE.name: bench.table, slow.name: _slower(bench.table)}
    monkeypatch.setattr(pruning, "latency_table", lambda context, model, profile: tables[profile.name])
    sized, searched = bench.prune(prune__ratio=0.5), []

    def solve(
        context: Build, networks: beginning.Networks, profile: DeviceProfile, baseline: object, *given: Any
    ) -> tuple[Entry, Pruning, tuple[Entry, ...]]:
        searched.append((profile.name, *given))
        entry = Entry(Tried(0.5, 0.0), networks.uncut, 64)
        return entry, sized, (entry,)

    monkeypatch.setattr(pruning, "solve", solve)
    recipe = load_recipe(None, ("finetune.epochs=0",), imgsz=64, solve__hours=1.0)
    out, targets = tmp_path / "three", (jetson, slow, HERE)
    request = BuildRequest(ModelSource(checkpoints["yolov8n"]), tiny.source, targets, recipe, out, "")
    store = Store(out / "stages")
    with store.locked():
        original, context = start(request, store, lambda *_: None)
        found = pruning.prune_targets(context, original, targets, {})
    assert [name for name, *_ in searched] == [HERE.name, slow.name, jetson.name]
    assert [len(others) for _, others, _ in searched] == [0, 1, 1]
    assert len({until for *_, until in searched}) == 1 and None not in searched[0]
    assert set(found) == {profile.name for profile in targets}


def _slower(table: LatencyTable) -> LatencyTable:
    """Return the table of a machine on which every layer takes twice as long."""

    def twice(rows: tuple[tuple[float, ...], ...]) -> tuple[tuple[float, ...], ...]:
        return tuple(tuple(2 * ms for ms in row) for row in rows)

    grids = tuple(grid.model_copy(update={"ms": twice(grid.ms)}) for grid in table.grids)
    anchors = tuple(anchor.model_copy(update={"ms": 2 * anchor.ms}) for anchor in table.anchors)
    return table.model_copy(update={"grids": grids, "anchors": anchors})
