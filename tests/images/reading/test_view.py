"""What trainers see of a data set: the same pixels and labels, in a folder of ours."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from ultralytics.data.dataset import ClassificationDataset, YOLODataset

from conftest import DIGITS, NAMES, write_dataset, write_digits
from edgeprune.adapters.ultralytics.reading import compare_reading
from edgeprune.core.artifact import digest
from edgeprune.images.dataset import label_path, load_dataset, load_folders
from edgeprune.images.preprocess import read_image
from edgeprune.images.reading.view import write_view


def jpeg(path: Path, tail: bytes) -> Path:
    """Write the picture at a path as a JPEG that ends otherwise, in its place."""
    pixels = cv2.imread(str(path))
    path.unlink()
    path.with_suffix(".jpg").write_bytes(cv2.imencode(".jpg", pixels)[1].tobytes() + tail)
    return path.with_suffix(".jpg")


@pytest.mark.parametrize("tail", [b"", b"trailing", b"\xff", b"\0" * 64])
def test_a_loader_sees_the_same_pixels_and_leaves_the_image_as_it_is(tmp_path: Path, tail: bytes) -> None:
    data = write_dataset(tmp_path / "data")
    image = jpeg(tmp_path / "data" / "images" / "val" / "00.png", tail)
    before = digest(tmp_path / "data")
    dataset = load_dataset(data)
    (work := tmp_path / "work").mkdir()
    write_view(dataset, work)
    loaded = YOLODataset(
        str(work / "images" / "val"), imgsz=64, augment=False, data={"names": dict(enumerate(dataset.names))}
    )
    number = dataset.images["val"].index(image)
    seen = read_image(Path(loaded.im_files[number]))
    np.testing.assert_array_equal(seen, read_image(image))
    assert digest(tmp_path / "data") == before


def test_polygons_stay_polygons(tmp_path: Path) -> None:
    data = write_dataset(tmp_path / "data")
    for image in load_dataset(data).images["val"]:
        label_path(image).write_text("2 0.2 0.3 0.6 0.3 0.6 0.7\n1 0.123456789 0.3 0.6 0.3 0.6 0.7\n")
    (work := tmp_path / "work").mkdir()
    write_view(load_dataset(data), work)
    names = dict(enumerate(NAMES))
    loaded = YOLODataset(str(work / "images" / "val"), imgsz=64, augment=False, data={"names": names})
    assert [len(label["segments"]) for label in loaded.labels] == [2] * 5


def test_classes_are_written_in_the_models_order(tmp_path: Path) -> None:
    data = write_dataset(tmp_path / "data")
    dataset = load_dataset(data, ("cat", "ant", "bee"))
    compare_reading(dataset, made(tmp_path / "work"))
    number = 0
    image = dataset.images["val"][number]
    theirs = [int(line.split()[0]) for line in label_path(image).read_text().splitlines()]
    seen = (tmp_path / "work" / "labels" / "val" / f"{number:07d}.txt").read_text().splitlines()
    assert [int(line.split()[0]) for line in seen] == [(index + 1) % 3 for index in theirs]


def test_a_classifiers_view_has_every_class_in_every_split(tmp_path: Path) -> None:
    data = write_digits(tmp_path / "data")
    before = digest(data)
    dataset = load_folders(data, DIGITS)
    compare_reading(dataset, work := made(tmp_path / "work"))
    from ultralytics.cfg import get_cfg

    loaded = ClassificationDataset(str(work / "val"), get_cfg(), names=dict(enumerate(DIGITS)))
    assert sorted(loaded.base.classes) == sorted(DIGITS)
    assert digest(data) == before


def made(folder: Path) -> Path:
    folder.mkdir()
    return folder
