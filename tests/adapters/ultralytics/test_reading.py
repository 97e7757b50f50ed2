"""Our reading of a data set held against ultralytics' own loader."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import ultralytics.data.base
import ultralytics.data.utils
from ultralytics.data.utils import IMG_FORMATS

from conftest import DIGITS, NAMES, write_dataset, write_digits
from edgeprune.adapters.ultralytics import classify as ultralytics_classify
from edgeprune.adapters.ultralytics import detect as adapter
from edgeprune.adapters.ultralytics.reading import compare_reading, without_fonts
from edgeprune.core.artifact import digest
from edgeprune.core.errors import DataError
from edgeprune.images.dataset import load_dataset, load_folders
from edgeprune.images.postprocess import detector
from edgeprune.images.reading.labels import Labelling
from edgeprune.images.reading.listing import IMAGE_SUFFIXES
from edgeprune.models import ModelInfo
from made_data import inside

INFO = ModelInfo("detect", "yolov8n", NAMES, 32, 64, "mAP50-95", detector(NAMES, end2end=False))


def test_the_suffixes_are_those_of_ultralytics() -> None:
    assert IMAGE_SUFFIXES == IMG_FORMATS


@pytest.mark.parametrize("kind", ["detect", "classify"])
def test_what_is_read_alike_is_silent_and_the_users_folder_stays_as_it_is(tmp_path: Path, kind: str) -> None:
    (work := tmp_path / "work").mkdir()
    if kind == "detect":
        dataset = adapter.dataset(write_dataset(tmp_path / "data"), INFO)
    else:
        info = replace(INFO, task="classify", names=DIGITS)
        dataset = ultralytics_classify.dataset(write_digits(tmp_path / "data"), info)
    before = digest(tmp_path / "data")
    compare_reading(dataset, work)
    assert dataset.notes == ()
    assert digest(tmp_path / "data") == before
    assert not list((tmp_path / "data").rglob("*.cache"))


def test_an_image_that_ultralytics_would_leave_out_is_named(tmp_path: Path) -> None:
    dataset = load_dataset(write_dataset(tmp_path / "data"), NAMES)
    lost = dataset.images["val"][1]
    lost.write_bytes(b"no image")
    (work := tmp_path / "work").mkdir()
    with pytest.raises(DataError) as caught:
        compare_reading(dataset, work)
    assert f"{lost}: ultralytics leaves this image out: " in str(caught.value)


def test_other_boxes_are_a_difference(tmp_path: Path) -> None:
    dataset = load_dataset(write_dataset(tmp_path / "data"), NAMES)
    image = dataset.images["val"][0]
    dataset.boxes(image)[0, 1] += 0.01  # what is remembered is no longer what the view says
    (work := tmp_path / "work").mkdir()
    with pytest.raises(DataError, match=r"1 images are read differently: .* ultralytics reads 1 boxes"):
        compare_reading(dataset, work)


def test_no_image_is_read_to_tell_how_fast_the_disk_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def hang(*given: object, **more: object) -> None:
        raise AssertionError("it opens files, and a pipe never answers")

    monkeypatch.setattr(ultralytics.data.base, "check_file_speeds", hang)
    assert adapter.dataset(write_dataset(tmp_path / "data"), INFO).notes == ()


def test_images_that_only_ultralytics_finds_are_noted(tmp_path: Path) -> None:
    data = write_dataset(tmp_path / "here" / "data")
    other = write_dataset(tmp_path / "there" / "data")
    (other.parent / "images" / "val" / "00.png").unlink()
    data.write_text(data.read_text() + "path: data\n")
    with inside(tmp_path / "there"):
        dataset = adapter.dataset(data, INFO)
    # The working folder's one is ultralytics' as well as ours.
    assert [len(images) for images in dataset.images.values()] == [12, 4, 3]
    with inside(tmp_path / "here"):
        dataset = adapter.dataset(data, INFO)
    assert [len(images) for images in dataset.images.values()] == [12, 5, 3]


def test_a_data_set_that_only_we_find_is_noted(tmp_path: Path) -> None:
    data = write_dataset(tmp_path / "data")
    data.rename(moved := data.parent / "inner.yaml")
    moved.write_text(moved.read_text() + "path: images/..\n")
    dataset = adapter.dataset(moved, INFO)
    codes = [note.code for note in dataset.notes]
    assert codes == ["read_elsewhere", "reading_differs"]
    assert "ultralytics would look in" in dataset.notes[0].text


def test_a_checkpoint_tells_that_it_was_trained_with_a_single_class(checkpoints: dict[str, Path]) -> None:
    model = adapter.load(checkpoints["yolov8n"])
    assert not adapter.info(model).is_single
    model.args = {"imgsz": 64, "single_cls": True}
    assert adapter.info(model).is_single


def test_a_single_class_checkpoint_reads_every_class_as_its_own(tmp_path: Path) -> None:
    data = write_dataset(tmp_path / "data")
    info = replace(INFO, names=("item",), is_single=True)
    dataset = adapter.dataset(data, info)
    (work := tmp_path / "work").mkdir()
    compare_reading(dataset, work)
    assert dataset.names == ("item",)
    assert {float(row[0]) for image in dataset.images["train"] for row in dataset.boxes(image)} == {0.0}
    assert [note.code for note in dataset.notes] == ["one_class"]


def test_no_font_is_asked_for_while_data_are_read() -> None:
    before = ultralytics.data.utils.check_font
    with without_fonts():
        assert ultralytics.data.utils.check_font("Arial.ttf") is None
    assert ultralytics.data.utils.check_font is before


def test_a_classifiers_box_is_the_whole_image(tmp_path: Path) -> None:
    dataset = load_folders(write_digits(tmp_path / "data"), DIGITS)
    image = dataset.images["val"][0]
    np.testing.assert_array_equal(dataset.boxes(image), [[dataset.class_of(image), 0.5, 0.5, 1, 1]])
    assert dataset.labelling is None and load_dataset(
        write_dataset(tmp_path / "other")
    ).labelling == Labelling(3)
