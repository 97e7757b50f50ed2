"""A cut to a latency on a tiny model, for real: table, widths, pairs on this machine, and the account."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from torch import nn

from edgeprune.bench.testbed import local
from edgeprune.config.recipe import PruneRecipe, Recipe
from edgeprune.config.targets import resolve_targets
from edgeprune.core.errors import BudgetError, ConfigError
from edgeprune.images.dataset import Dataset
from edgeprune.images.preprocess import Preprocess
from edgeprune.latency.shipped import key_of, subject_of
from edgeprune.latency.to_latency import (
    Cut,
    compare_networks,
    cut_to_latency,
    describe_descent,
    least_latency,
    race_checkpoints,
)
from edgeprune.models import get_adapter
from edgeprune.prune.allocation import on_step
from edgeprune.prune.depth import blocks_gone
from edgeprune.prune.layers import deployed_layers
from edgeprune.prune.stages import PruneContext
from edgeprune.records.latency_table import LatencyTable
from made_effort import quickly
from made_tables import made_table

ADAPTER = get_adapter("ultralytics")
ORT = resolve_targets(("x86-ort",))[0]
SPEC = Preprocess(64)
USELESS = ("model.4.m.1", "model.6.m.0")


@pytest.fixture(scope="module")
def table(checkpoints: dict[str, Path]) -> LatencyTable:
    subject = subject_of(ADAPTER, checkpoints["yolov8n"], 64, ORT, "int8", 1)
    return made_table(ADAPTER, subject.model, 64, key_of(subject, {}, local()))


def cut(table: LatencyTable, source: Path, data: Dataset, goal_ms: float, out: Path, **settings: Any) -> Cut:
    recipe = Recipe(prune=PruneRecipe(**settings))
    out.mkdir(exist_ok=True)
    return cut_to_latency(PruneContext(ADAPTER, data, SPEC, recipe), source, table, goal_ms, out)


def test_a_cut_keeps_to_its_goal_and_is_measured(
    table: LatencyTable, checkpoints: dict[str, Path], tiny: Dataset, tmp_path: Path
) -> None:
    goal = 0.7 * table.whole_ms
    found = cut(table, checkpoints["yolov8n"], tiny, goal, tmp_path, depth=0)
    assert found.predicted_ms <= goal < table.whole_ms and found.dropped == ()
    assert found.predicted_ms == pytest.approx(table.predictor()(found.keep))
    for name, kept in found.keep.items():
        assert kept == table.original[name] or kept % table.step == 0
    paths = checkpoints["yolov8n"], tmp_path / "model.pt"
    sized = [(path, 64) for path in paths]
    report = describe_descent(ADAPTER, *sized, PruneRecipe(), table.step, "60 FPS")
    assert (report.goal, report.step) == ("60 FPS", table.step)
    assert report.params_after < report.params_before and report.macs_after < report.macs_before
    widths = {layer.layer: layer.after for layer in report.layers}
    assert all(widths[name] == kept for name, kept in found.keep.items())
    assert 0 < report.ratio < 1

    run = race_checkpoints(ADAPTER, checkpoints["yolov8n"], tmp_path / "model.pt", 64, ORT, table, quickly())
    assert run.pairs in (6, 10)
    assert run.before_ms > 0 and run.after_ms > 0
    both = [checkpoints["yolov8n"], tmp_path / "model.pt"]
    (gain,) = compare_networks(ADAPTER, [(path, 64) for path in both], ORT, table, quickly())
    assert gain.times > 0 and gain.turns > 0


@pytest.fixture(scope="module")
def useless(checkpoints: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a detector in which two residual branches are all but zero: nothing is lost without them."""
    model = ADAPTER.load(checkpoints["yolov8n"])
    for name in USELESS:
        nn.init.constant_(model.get_submodule(f"{name}.cv2.bn").get_parameter("weight"), 1e-6)
        nn.init.zeros_(model.get_submodule(f"{name}.cv2.bn").get_parameter("bias"))
    path = tmp_path_factory.mktemp("useless") / "model.pt"
    ADAPTER.save(model, path)
    return path


def test_blocks_that_are_worth_nothing_go_and_what_is_left_can_be_cut_further(
    table: LatencyTable, useless: Path, tiny: Dataset, tmp_path: Path
) -> None:
    first = cut(table, useless, tiny, 0.8 * table.whole_ms, tmp_path / "first")
    assert set(USELESS) <= set(first.dropped) and first.predicted_ms <= 0.8 * table.whole_ms
    assert not {name for name in first.keep if name.startswith(f"{USELESS[0]}.cv1")}
    second = cut(table, tmp_path / "first" / "model.pt", tiny, 0.6 * table.whole_ms, tmp_path / "second")
    assert second.predicted_ms <= 0.6 * table.whole_ms and not set(second.dropped) & set(first.dropped)
    assert all(kept <= first.keep.get(name, kept) for name, kept in second.keep.items())

    whole, small = (ADAPTER.prunable(ADAPTER.load(path)) for path in (useless, tmp_path / "second/model.pt"))
    gone = set(first.dropped) | set(second.dropped)
    assert set(blocks_gone(whole, small)) == gone
    # what is predicted is what its own layers cost
    layers, widths = deployed_layers(ADAPTER, small, 64)
    own = sum(table.layer_ms(layer.shape, layer.cin, layer.cout) for layer in layers)
    assert second.predicted_ms == pytest.approx(own)
    assert sorted(widths.values()) == sorted(second.keep.values())

    report = describe_descent(
        ADAPTER, (useless, 64), (tmp_path / "second" / "model.pt", 64), PruneRecipe(), table.step, "60 FPS"
    )
    assert set(report.dropped) == gone and report.macs_after < report.macs_before
    assert {layer.after for layer in report.layers if layer.layer.startswith(f"{USELESS[0]}.")} == {0}


@pytest.mark.parametrize("settings", [{"depth": 0}, {"skip": USELESS}, {"criterion": "l1"}])
def test_blocks_stay_where_the_recipe_says_so_or_the_criterion_cannot_tell(
    table: LatencyTable, useless: Path, tiny: Dataset, tmp_path: Path, settings: dict[str, Any]
) -> None:
    found = cut(table, useless, tiny, 0.8 * table.whole_ms, tmp_path, **settings)
    assert not set(found.dropped) & set(USELESS)


def test_with_blocks_the_least_that_may_be_left_is_less(
    table: LatencyTable, checkpoints: dict[str, Path], tiny: Dataset
) -> None:
    least = [
        least_latency(
            PruneContext(ADAPTER, tiny, SPEC, Recipe(prune=PruneRecipe(depth=depth))),
            checkpoints["yolov8n"],
            table,
        )
        for depth in (0, None)
    ]
    keep = {name: on_step(width * 0.25, table.step, width) for name, width in table.original.items()}
    assert least[0] == pytest.approx(table.predictor()(keep)) and least[1] < least[0]


def test_an_impossible_goal_names_the_fastest(
    table: LatencyTable, checkpoints: dict[str, Path], tiny: Dataset, tmp_path: Path
) -> None:
    with pytest.raises(BudgetError, match=r"no widths reach 0\.00 ms: the least .* predicted to be"):
        cut(table, checkpoints["yolov8n"], tiny, 1e-6, tmp_path)
    assert not (tmp_path / "model.pt").exists()


def test_a_table_of_another_network_is_refused(
    table: LatencyTable, checkpoints: dict[str, Path], tiny: Dataset, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match="it is of another network"):
        cut(table, checkpoints["yolo11n"], tiny, table.whole_ms, tmp_path)
