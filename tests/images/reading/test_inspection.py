"""All faults of a data set at load, together, and what of it was hardly meant."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from conftest import DIGITS, write_dataset, write_digits
from edgeprune.core.errors import DataError
from edgeprune.images.dataset import Dataset, load_dataset, load_folders
from edgeprune.images.reading import index as indexing
from edgeprune.images.reading.index import FILE, Index
from edgeprune.images.reading.inspection import inspect_images


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Return the data.yaml of a data set that the test may change."""
    return write_dataset(tmp_path / "data")


def load(data: Path, skip: bool = False, index: Path | None = None) -> Dataset:
    dataset = load_dataset(data) if data.is_file() else load_folders(data, DIGITS)
    return inspect_images(replace(dataset, index=Index(index)), skip, lambda share, text: None)


def codes(dataset: Dataset) -> list[str]:
    return [note.code for note in dataset.notes]


def ruin(data: Path) -> list[Path]:
    """Make 12 images unusable, each in its own way; return them."""
    images = sorted((data.parent / "images" / "train").iterdir())
    contents = [b"", b"no image", b"GIF89a\1\0\1\0\0\0\0;", images[0].read_bytes()[:-20]]
    for image, content in zip(images, contents, strict=False):
        image.write_bytes(content)
    labels = ["9 0.5 0.5 0.1 0.1", "0 0.5", "0 0.5 0.5 0.1 nan", "0 a b c d", "\0"]
    for image, label in zip(images[4:9], labels, strict=True):
        (data.parent / "labels" / "train" / f"{image.stem}.txt").write_text(label)
    cv2.imwrite(str(images[9]), np.zeros((8, 40, 3), np.uint8))
    images[10].unlink()
    images[10].symlink_to("nowhere")
    images[11].unlink()
    os.mkfifo(images[11])
    return images


def test_a_sound_data_set_gives_no_notes(data: Path) -> None:
    assert codes(load(data)) == []


def test_all_faults_come_together_the_first_ten_by_name(data: Path) -> None:
    images = ruin(data)
    with pytest.raises(DataError) as caught:
        load(data)
    message = str(caught.value)
    assert message.startswith(f"{data}: 12 images cannot be used: {images[0]}: the file is empty; ")
    assert message.count(str(data.parent / "images")) + message.count(str(data.parent / "labels")) == 10
    assert "; and 2 more; mend or remove what is named, or leave it out by --skip-bad-images" in message
    assert "\n" not in message


def test_the_user_may_go_on_without_them_and_each_is_named(data: Path) -> None:
    for image in ruin(data)[:11]:
        good = image.with_name(f"good{image.name}")
        shutil.copy(data.parent / "images" / "val" / "00.png", good)
        shutil.copy(
            data.parent / "labels" / "val" / "00.txt", data.parent / "labels" / "train" / f"{good.stem}.txt"
        )
    dataset = load(data, skip=True)
    assert len(dataset.images["train"]) == 11
    (note,) = (note for note in dataset.notes if note.code == "images_skipped")
    assert note.text.startswith("12 images left out by --skip-bad-images: ")
    assert len(dataset.skipped) == 12
    ruined = sorted((data.parent / "images" / "train").glob("[01]*"))
    assert all(image.stem in skipped for image, skipped in zip(ruined, dataset.skipped, strict=True))


def test_a_jpeg_that_is_cut_off_is_a_fault_and_one_with_bytes_behind_it_is_not(data: Path) -> None:
    first, second = sorted((data.parent / "images" / "val").iterdir())[:2]
    for path in (first, second):
        pixels = cv2.imread(str(path))
        path.unlink()
        (path.with_suffix(".jpg")).write_bytes(cv2.imencode(".jpg", pixels)[1].tobytes())
    whole = first.with_suffix(".jpg").read_bytes()
    first.with_suffix(".jpg").write_bytes(whole[: len(whole) // 2])
    second.with_suffix(".jpg").write_bytes(second.with_suffix(".jpg").read_bytes() + b"trailing")
    with pytest.raises(DataError, match=r"1 image cannot be used: .*00\.jpg: not a whole image: .*truncated"):
        load(data)


def unlabel(data: Path, split: str) -> None:
    for label in (data.parent / "labels" / split).iterdir():
        label.write_text("")


def test_a_split_without_a_box_says_nothing(data: Path) -> None:
    unlabel(data, "val")
    with pytest.raises(DataError, match="val: none of its 5 images has a box"):
        load(data)


def test_a_test_split_without_a_box_is_left_out(data: Path) -> None:
    unlabel(data, "test")
    dataset = load(data)
    assert codes(dataset) == ["split_left_out"]
    assert dataset.report_split == "val"


def share(data: Path) -> None:
    shutil.copy(data.parent / "images" / "train" / "00.png", data.parent / "images" / "val" / "00.png")


def hide(data: Path) -> None:
    inner = data.parent / "images" / "val" / ".ipynb_checkpoints"
    inner.mkdir()
    shutil.copy(data.parent / "images" / "val" / "00.png", inner / "00-checkpoint.png")
    (data.parent / "images" / "val" / "._01.png").write_bytes(b"\0\5\x16\7")


def convert(data: Path) -> None:
    image = data.parent / "images" / "val" / "00.png"
    image.rename(image.with_suffix(".gif"))


def strip(data: Path) -> None:
    for label in sorted((data.parent / "labels" / "val").iterdir())[1:]:
        label.unlink()


def shrink(data: Path) -> None:
    for image in sorted((data.parent / "images" / "train").iterdir())[4:]:
        image.unlink()


def list_twice(data: Path) -> None:
    data.write_text(data.read_text().replace("val: images/val", "val: [images/val, images/val]"))


@pytest.mark.parametrize(
    ("change", "expected", "count"),
    [
        (share, "split_shared", 5),
        (hide, "hidden_files", 5),
        (convert, "not_read", 4),
        (strip, "few_labels", 5),
        (shrink, "few_images", 5),
        (list_twice, "duplicate_images", 10),
    ],
)
def test_what_was_hardly_meant_is_noted(
    data: Path, change: Callable[[Path], None], expected: str, count: int
) -> None:
    change(data)
    dataset = load(data)
    assert expected in codes(dataset)
    assert len(dataset.images["val"]) == count
    assert all(note.text.endswith((".", "txt.")) and note.advice for note in dataset.notes)


def test_labels_whose_images_are_not_read_are_noted(data: Path) -> None:
    convert(data)
    (note,) = (note for note in load(data).notes if note.code == "stray_labels")
    assert note.text == "val: 1 label file without an image that is read: 00.txt."


def test_a_label_file_whose_suffix_is_in_capitals_is_noted(data: Path) -> None:
    label = data.parent / "labels" / "val" / "00.txt"
    label.rename(label.with_suffix(".TXT"))
    (note,) = load(data).notes
    assert (note.code, "00.TXT" in note.text) == ("stray_labels", True)


@pytest.mark.parametrize("put", [Path.mkdir, lambda label: label.symlink_to("nowhere.txt"), os.mkfifo])
def test_what_lies_in_place_of_a_label_file_does_not_make_background(
    data: Path, put: Callable[[Path], None]
) -> None:
    label = data.parent / "labels" / "val" / "00.txt"
    label.unlink()
    put(label)
    with pytest.raises(DataError, match=r"1 image cannot be used: .*00.txt: "):
        load(data)


def test_a_link_that_leads_back_is_a_fault(data: Path) -> None:
    (data.parent / "images" / "val" / "again").symlink_to(data.parent / "images")
    with pytest.raises(DataError, match="again/val: this link leads back to a folder that it lies in"):
        load(data)


def test_images_are_decoded_once_whatever_their_dates(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded: list[str] = []

    def examine(path: Path) -> object:
        decoded.append(path.name)
        return examined(path)

    examined = indexing.examine
    monkeypatch.setattr(indexing, "examine", examine)
    load(data, index=tmp_path / FILE)
    assert len(decoded) == 20
    load(data, index=tmp_path / FILE)
    for file in data.parent.rglob("*"):
        os.utime(file)
    load(data, index=tmp_path / FILE)
    assert len(decoded) == 20
    image = data.parent / "images" / "val" / "03.png"
    cv2.imwrite(str(image), cv2.imread(str(image))[::-1])
    load(data, index=tmp_path / FILE)
    assert decoded[20:] == ["03.png"]
    (tmp_path / FILE).write_text("{")
    load(data, index=tmp_path / FILE)
    assert len(decoded) == 41


def test_a_classifiers_images_are_inspected_too(tmp_path: Path) -> None:
    data = write_digits(tmp_path / "data")
    (data / "val" / "0" / "._0.png").write_bytes(b"\0\5\x16\7")
    (data / "val" / ".ipynb_checkpoints").mkdir()
    dataset = load(data)
    assert codes(dataset) == ["hidden_files"] * 2
    assert len(dataset.images["val"]) == 12
    (data / "val" / "0" / "0.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"1 image cannot be used: .*val/0/0\.png: not a whole image"):
        load(data)
