"""Sparse training on real data: scales shrink against the same run without, and the record tells it."""

from __future__ import annotations

import shutil
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from edgeprune.adapters.ultralytics import detect as adapter
from edgeprune.config.recipe import Recipe, load_recipe
from edgeprune.core.errors import EdgepruneError
from edgeprune.images.dataset import Dataset
from edgeprune.models import Training
from edgeprune.prune.groups import find_groups, trace
from edgeprune.prune.sparse import couple
from edgeprune.records.pruning import GAMMA_QUANTILES, SparseTraining


def recipe(criterion: str, strength: float, epochs: int = 2) -> Recipe:
    return load_recipe(
        None,
        (f"sparse.epochs={epochs}", f"sparse.strength={strength}", "finetune.batch=6", "finetune.device=cpu"),
        prune__criterion=criterion,
    )


def trained(
    checkpoint: Path, dataset: Dataset, out: Path, criterion: str, strength: float
) -> tuple[torch.nn.Module, SparseTraining]:
    out.mkdir()
    settings = recipe(criterion, strength)
    adapter.sparsify(Training(checkpoint, None, dataset, 64, settings, out, lambda share, words: None))
    record = SparseTraining.model_validate_json((out / "sparse.json").read_text())
    return adapter.load(out / "model.pt"), record


def norms(model: torch.nn.Module, criterion: str) -> float:
    """Return the mean of what the criterion's regulariser presses on."""
    fixed = adapter.unprunable(model)
    coupled = couple(find_groups(trace(model, torch.zeros(1, 3, 64, 64), fixed), model, fixed), 0.3)
    parts = [
        part.squares(group.width).sum().sqrt()
        for group in coupled
        for part in (group.scales if "slim" in criterion else group.parts)
    ]
    return float(torch.stack(parts).mean())


@pytest.mark.parametrize(
    ("family", "criterion"),
    [("yolov8n", "slim"), ("yolo26n", "group_slim"), ("yolo11n", "group_sl"), ("yolov5n", "growing_reg")],
)
def test_the_regulariser_shrinks_what_it_presses_on(
    checkpoints: dict[str, Path], tiny: Dataset, tmp_path: Path, family: str, criterion: str
) -> None:
    free, _ = trained(checkpoints[family], tiny, tmp_path / "free", criterion, 1e-12)
    pressed, record = trained(checkpoints[family], tiny, tmp_path / "pressed", criterion, 30.0)
    assert norms(pressed, criterion) < norms(free, criterion)
    assert [name for name, _ in pressed.named_modules()] == [
        name for name, _ in adapter.prunable(adapter.load(checkpoints[family])).named_modules()
    ]
    assert [entry.epoch for entry in record.epochs] == [0, 1, 2]
    assert (record.epochs[0].strength, record.epochs[0].score) == (None, None)
    strengths = [entry.strength for entry in record.epochs[1:]]
    assert strengths == pytest.approx([15.0, 30.0] if criterion == "growing_reg" else [30.0, 15.0])
    for entry in record.epochs:
        assert len(entry.quantiles) == len(GAMMA_QUANTILES)
        assert list(entry.quantiles) == sorted(entry.quantiles)
        assert 0 <= entry.share_small <= 1
    assert all(entry.score is not None for entry in record.epochs[1:])
    if "slim" in criterion:
        assert record.epochs[-1].quantiles[2] < record.epochs[0].quantiles[2]
    assert {path.name for path in (tmp_path / "pressed").iterdir()} >= {
        "model.pt",
        "sparse.json",
        "sparse.log",
    }


def test_tensorboard_gets_scalars_and_histograms(
    checkpoints: dict[str, Path], tiny: Dataset, tmp_path: Path
) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    _, record = trained(checkpoints["yolov8n"], tiny, tmp_path / "out", "slim", 0.1)
    events = EventAccumulator(str(tmp_path / "out" / "tensorboard"), {"histograms": 0})
    events.Reload()
    assert [entry.step for entry in events.Histograms("sparse/gamma")] == [1, 2]
    medians = [entry.value for entry in events.Scalars("sparse/gamma/q0.5")]
    assert medians == pytest.approx([entry.quantiles[2] for entry in record.epochs[1:]])


def test_without_tensorboard_it_trains_all_the_same(
    checkpoints: dict[str, Path], tiny: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    trained(checkpoints["yolov8n"], tiny, tmp_path / "out", "slim", 0.1)
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"model.pt", "sparse.json", "sparse.log"}


def test_a_training_that_cannot_start_is_one_line_with_its_log(
    checkpoints: dict[str, Path], tiny: Dataset, tmp_path: Path
) -> None:
    unlabelled = tmp_path / "none.png"
    shutil.copy(tiny.images["train"][0], unlabelled)
    missing = replace(tiny, images=tiny.images | {"train": (unlabelled,)})
    with pytest.raises(EdgepruneError, match=r"more in sparse\.log of the build folder"):
        trained(checkpoints["yolov8n"], missing, tmp_path / "out", "slim", 0.1)
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"sparse.log"}


def test_ctrl_c_leaves_no_half_written_record(
    checkpoints: dict[str, Path], tiny: Dataset, tmp_path: Path
) -> None:
    def press(share: float, words: str) -> None:
        if words.startswith("epoch 2/2"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        adapter.sparsify(
            Training(checkpoints["yolov8n"], None, tiny, 64, recipe("slim", 0.1), tmp_path, press)
        )
    assert {path.name for path in tmp_path.iterdir()} == {"sparse.log"}
