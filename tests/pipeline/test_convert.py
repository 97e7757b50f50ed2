"""The int8 stages: what is in their keys, and the account of the calibration beside each file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import pytest

from conftest import write_dataset
from edgeprune.config.recipe import load_recipe
from edgeprune.core.artifact import Artifact, Store
from edgeprune.core.errors import DataError
from edgeprune.images.preprocess import read_image
from edgeprune.models.source import ModelSource
from edgeprune.pipeline.build import start
from edgeprune.pipeline.context import Build, BuildRequest
from edgeprune.pipeline.convert import calibrate_model
from edgeprune.quantize.selection import images_sha256
from edgeprune.records.summary import ExportCheck


@pytest.fixture
def make(checkpoints: dict[str, Path], tmp_path: Path) -> Any:
    """Return a function that starts a build of the tiny detector with some settings, always in one folder."""
    data = write_dataset(tmp_path / "data")

    def made(*settings: str) -> Build:
        recipe = load_recipe(None, ("quantize.images=4", *settings), imgsz=64)
        request = BuildRequest(
            ModelSource(checkpoints["yolov8n"]), data, (), recipe, tmp_path, "edgeprune build"
        )
        (tmp_path / "stages").mkdir(exist_ok=True)
        return start(request, Store(tmp_path / "stages"), lambda *_: None)[1]

    return made


def ranges_of(context: Build, onnx: Artifact) -> Path:
    calibration, account = calibrate_model(context, "ort-u8s8", onnx)
    assert calibration.table is not None
    assert account["images"] == [str(image) for image in calibration.images]
    assert account["images_sha256"] == images_sha256(calibration.images)
    return calibration.table


def test_ranges_are_read_once(make: Any, float_models: dict[str, tuple[Artifact, ExportCheck]]) -> None:
    onnx = float_models["yolov8n"][0]
    first = ranges_of(make(), onnx)
    again = make()
    assert ranges_of(again, onnx) == first
    assert again.store.reused[-2:] == ["calibration-images", "calibration"]
    others = {ranges_of(make(text), onnx) for text in ("quantize.method=mse", "quantize.images=5", "seed=1")}
    assert len(others | {first}) == 4


def test_another_picture_under_the_same_name_is_noticed(
    make: Any, float_models: dict[str, tuple[Artifact, ExportCheck]]
) -> None:
    onnx, context = float_models["yolov8n"][0], make()
    first = ranges_of(context, onnx)
    image = context.calibration_images()[0]
    cv2.imwrite(str(image), 255 - read_image(image))
    assert ranges_of(make(), onnx) != first


@pytest.mark.parametrize("select", ["diverse", "balanced"])
def test_the_choice_is_the_same_at_any_input_size(make: Any, select: str) -> None:
    context = make(f"quantize.select={select}")
    images = context.calibration_images()
    assert len(images) == 4
    assert context.at(96).calibration_images() == images


def test_an_unreadable_image_in_the_split_is_named(make: Any) -> None:
    context = make("quantize.select=diverse")
    broken = context.dataset.images["train"][3]
    broken.write_bytes(b"nothing")
    with pytest.raises(DataError, match=f"1 image cannot be used: {broken}: not a whole image"):
        make("quantize.select=diverse")
