"""Sparse training where no framework trains: it presses the scales, and its record says so."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision

from edgeprune.config.recipe import load_recipe
from edgeprune.core.errors import ConfigError
from edgeprune.images.dataset import Dataset
from edgeprune.models import Training
from edgeprune.models.source import ModelSource, choose_adapter
from edgeprune.prune.scales import RECORD
from edgeprune.records.pruning import SparseTraining


def asked(folder: Path, name: str, *settings: str) -> Any:
    """Return torchvision's adapter of an untrained network of three classes, 32 px, and its file."""
    file = folder / f"{name}.pth"
    torch.manual_seed(0)
    torch.save(torchvision.models.get_model(name, num_classes=3).state_dict(), file)
    recipe = load_recipe(None, ("finetune.batch=8", "finetune.device=cpu", *settings))
    return choose_adapter(ModelSource(file, f"torchvision:{name}"), recipe), recipe, file


def trained(digits: Dataset, folder: Path, name: str, *settings: str) -> tuple[Any, SparseTraining]:
    adapter, recipe, file = asked(folder, name, "sparse.epochs=2", "prune.criterion=slim", *settings)
    data = adapter.dataset(digits.source, adapter.info(adapter.load(file)))
    out = folder / f"out{len(list(folder.iterdir()))}"
    out.mkdir()
    adapter.sparsify(Training(file, None, data, 32, recipe, out, lambda share, text: None))
    return adapter.load(out / "model.pt"), SparseTraining.model_validate_json((out / RECORD).read_text())


def scales(model: Any) -> float:
    return float(sum(norm.weight.detach().abs().sum() for norm in model.modules() if hasattr(norm, "eps")))


def test_scales_are_pressed_and_the_record_tells_every_epoch(digits: Dataset, tmp_path: Path) -> None:
    name = "mnasnet0_5"
    free, _ = trained(digits, tmp_path, name, "sparse.strength=0.00001")
    pressed, record = trained(digits, tmp_path, name, "sparse.strength=1")
    assert [epoch.epoch for epoch in record.epochs] == [0, 1, 2]
    assert [epoch.strength for epoch in record.epochs] == [None, 1.0, 0.5]
    assert all(0 <= (epoch.score or 0) <= 1 for epoch in record.epochs[1:])
    assert scales(pressed) < scales(free)


def test_a_network_without_batch_norms_is_refused_before_it_is_trained(
    digits: Dataset, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=r"^sparse\.epochs: no layer that can be pruned has a batch norm"):
        trained(digits, tmp_path, "squeezenet1_1")
    assert not list(tmp_path.glob("out*/*"))


def test_what_a_kind_of_model_lacks_is_said_when_it_is_chosen(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^quantize\.aware_epochs: this kind of model has no"):
        asked(tmp_path, "squeezenet1_1", "quantize.aware_epochs=1")
