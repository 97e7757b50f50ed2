"""What the user says of a model leads to its adapter, or to one line that says why not."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeprune.config.recipe import Recipe, load_recipe
from edgeprune.core.errors import ConfigError
from edgeprune.models import get_adapter
from edgeprune.models.source import ModelSource, choose_adapter, is_architecture


def test_the_file_tells_or_the_user_does(checkpoints: dict[str, Path], classifiers: dict[str, Path]) -> None:
    detector, classifier = checkpoints["yolov8n"], classifiers["yolov8n-cls"]
    assert choose_adapter(ModelSource(detector), Recipe()) is get_adapter("ultralytics")
    assert choose_adapter(ModelSource(classifier), Recipe()) is get_adapter("ultralytics-classify")
    named = ModelSource(detector, adapter="ultralytics-classify")
    assert choose_adapter(named, Recipe()) is get_adapter("ultralytics-classify")


def test_what_is_unknown_is_told_with_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"unknown kind of model 'ultralytic'.*ultralytics"):
        choose_adapter(ModelSource(tmp_path / "x.pt", adapter="ultralytic"), Recipe())
    with pytest.raises(ConfigError, match=r"torchvison:resnet18: no such collection.*torchvision:NAME"):
        choose_adapter(ModelSource(tmp_path / "x.pt", architecture="torchvison:resnet18"), Recipe())


def test_a_network_that_knows_its_input_is_not_told_of_it(checkpoints: dict[str, Path]) -> None:
    recipe = load_recipe(None, ("input.colour=BGR",))
    with pytest.raises(ConfigError, match=r"^input: .*leave this section out"):
        choose_adapter(ModelSource(checkpoints["yolov8n"]), recipe)


def test_a_name_of_a_collection_is_told_from_a_file(tmp_path: Path) -> None:
    there = tmp_path / "timm:mine"
    there.touch()
    asked = ("torchvision:resnet18", "timm:x", "best.pt", "C:/best.pt", "folder/a:b", str(there))
    assert [is_architecture(model) for model in asked] == [True, True, False, False, False, False]
