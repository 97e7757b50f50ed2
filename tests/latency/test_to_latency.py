"""A cut to a latency on a tiny model, for real: table, widths, pairs on this machine, and the account."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeprune.bench.testbed import local
from edgeprune.config.recipe import PruneRecipe, Recipe
from edgeprune.config.targets import resolve_targets
from edgeprune.core.errors import BudgetError, ConfigError
from edgeprune.images.dataset import Dataset
from edgeprune.images.preprocess import Preprocess
from edgeprune.latency.shipped import key_of, subject_of
from edgeprune.latency.to_latency import (
    Cut,
    compare_checkpoints,
    cut_to_latency,
    describe_descent,
    race_checkpoints,
)
from edgeprune.models import get_adapter
from edgeprune.prune.stages import PruneContext
from edgeprune.records.latency_table import LatencyTable
from made_effort import quickly
from made_tables import made_table

ADAPTER = get_adapter("ultralytics")
ORT = resolve_targets(("x86-ort",))[0]
SPEC = Preprocess(64)


@pytest.fixture(scope="module")
def table(checkpoints: dict[str, Path]) -> LatencyTable:
    subject = subject_of(ADAPTER, checkpoints["yolov8n"], 64, ORT, "int8", 1)
    return made_table(ADAPTER, subject.model, 64, key_of(subject, {}, local()))


def cut(table: LatencyTable, source: Path, data: Dataset, goal_ms: float, out: Path) -> Cut:
    return cut_to_latency(PruneContext(ADAPTER, data, SPEC, Recipe()), source, table, goal_ms, out)


def test_a_cut_keeps_to_its_goal_and_is_measured(
    table: LatencyTable, checkpoints: dict[str, Path], tiny: Dataset, tmp_path: Path
) -> None:
    goal = 0.7 * table.whole_ms
    found = cut(table, checkpoints["yolov8n"], tiny, goal, tmp_path)
    assert found.predicted_ms <= goal < table.whole_ms
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
    (gain,) = compare_checkpoints(ADAPTER, [(path, 64) for path in both], ORT, table, quickly())
    assert gain.times > 0 and gain.turns > 0


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
