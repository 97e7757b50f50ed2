"""Data sets: all the forms that YOLO users write, and one line for everything that is wrong with one."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from conftest import DIGITS, NAMES, write_dataset, write_digits
from edgeprune.core.errors import DataError
from edgeprune.images.dataset import Dataset, label_path, load_dataset, load_folders


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Return the data.yaml of a data set that the test may change."""
    return write_dataset(tmp_path)


def change(path: Path, /, **keys: Any) -> Path:
    config = yaml.safe_load(path.read_text())
    config.update(keys)
    path.write_text(yaml.safe_dump({key: value for key, value in config.items() if value is not None}))
    return path


def complaint(path: Path, classes: int | None = None) -> str:
    with pytest.raises(DataError) as caught:
        load_dataset(path, classes)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_missing_path_key_means_the_folder_of_the_file(tiny: Dataset) -> None:
    assert {split: len(images) for split, images in tiny.images.items()} == {"train": 12, "val": 5, "test": 3}
    assert tiny.names == NAMES
    assert tiny.report_split == "test"
    assert all(image.is_file() for images in tiny.images.values() for image in images)


def test_the_test_split_is_optional(data: Path) -> None:
    dataset = load_dataset(change(data, test=None))
    assert sorted(dataset.images) == ["train", "val"]
    assert dataset.report_split == "val"


@pytest.mark.parametrize("root", ["absolute", "relative"])
def test_the_path_key_is_the_root_of_the_splits(data: Path, root: str) -> None:
    inner = data.parent / "inner"
    inner.mkdir()
    moved = data.rename(inner / "data.yaml")
    change(moved, path=str(data.parent) if root == "absolute" else "..")
    assert len(load_dataset(moved).images["train"]) == 12


def test_a_split_may_be_a_text_file_or_a_list(data: Path) -> None:
    images = sorted((data.parent / "images" / "train").iterdir())
    (data.parent / "lists").mkdir()
    listed = data.parent / "lists" / "train.txt"
    listed.write_text(f"../images/train/{images[0].name}\n\n{images[1]}\n")
    change(data, train="lists/train.txt", val=["images/val", "images/test"])
    dataset = load_dataset(data)
    assert {image.resolve() for image in dataset.images["train"]} == set(images[:2])
    assert len(dataset.images["val"]) == 8


def test_names_may_be_a_list(data: Path) -> None:
    assert load_dataset(change(data, names=list(NAMES)), classes=3).names == NAMES


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    assert complaint(tmp_path / "none.yaml").startswith(f"{tmp_path / 'none.yaml'}: cannot be read")


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({"val": None}, "val: this split is required"),
        ({"train": None}, "train: this split is required"),
        ({"train": "images/trian"}, "images/trian is neither a folder of images nor a list of them"),
        ({"train": "images\\train"}, "write / for \\ between folders"),
        ({"train": "images/train/*.png"}, "patterns are not replaced"),
        ({"val": "images/val/00.png"}, "00.png is an image; name its folder, or a list of images"),
        ({"val": "https://example.invalid/data.zip"}, "nothing is downloaded"),
        ({"path": "~/data"}, "~ and variables are not replaced: write the path in full"),
        ({"path": "$DATA"}, "~ and variables are not replaced: write the path in full"),
        ({"train": "labels/train"}, "train: no images in 'labels/train'"),
        ({"train": 7}, "train: "),
        ({"names": None}, "names: a list of class names is required"),
        ({"train": ["images/train", 7]}, "train: a path is expected"),
        ({"val": "images/val\0"}, "val: a path is expected"),
        ({"path": "/nowhere/at/all"}, "path: there is no /nowhere/at/all"),
        ({"nc": 4}, "names: 3 are listed, but nc is 4"),
        ({"nc": "many"}, "nc: a whole number of classes is expected"),
        ({"channels": 1}, "channels: images of 3 channels are read, not of 1"),
        ({"names": {0: "ant", 2: "cat"}}, "names: the keys must be 0 to 1"),
        ({"names": {"a": "ant", 1: "cat"}}, "names: the keys must be 0 to 1"),
        ({"names": 3}, "names: a list of class names is required"),
    ],
)
def test_a_mistake_in_the_file_names_its_key(data: Path, keys: dict[str, Any], expected: str) -> None:
    message = complaint(change(data, **keys))
    assert message.startswith(f"{data}: ")
    assert expected in message


def test_lines_of_a_list_as_windows_writes_them_are_named(data: Path) -> None:
    (data.parent / "train.txt").write_text("images\\train\\00.png\n")
    assert "write / for \\ between folders" in complaint(change(data, train="train.txt"))


def test_labels_in_another_format_are_named(data: Path) -> None:
    for label in (data.parent / "labels" / "val").iterdir():
        label.rename(label.with_suffix(".xml"))
    assert f"{data.parent / 'labels' / 'val' / '00.xml'} is in another format" in complaint(data)


def test_another_class_count_than_the_models_is_refused(data: Path) -> None:
    assert complaint(data, classes=80) == f"{data}: names: 3 classes are listed, but the model has 80"


def test_images_without_any_label_are_refused(data: Path) -> None:
    for label in (data.parent / "labels" / "val").iterdir():
        label.unlink()
    message = complaint(data)
    assert "val: 5 images but no label file" in message
    assert str(data.parent / "labels" / "val" / "00.txt") in message


def test_only_the_last_images_folder_becomes_labels() -> None:
    assert label_path(Path("/images/set/images/a/b.jpg")) == Path("/images/set/labels/a/b.txt")


def test_the_fingerprint_changes_with_a_label(data: Path) -> None:
    dataset = load_dataset(data)
    before = {split: dataset.fingerprint(split) for split in dataset.images}
    label = label_path(dataset.images["val"][0])
    label.write_text(label.read_text() + "1 0.9 0.9 0.1 0.1\n")
    again = load_dataset(data)
    after = {split: again.fingerprint(split) for split in dataset.images}
    assert [split for split in before if before[split] != after[split]] == ["val"]


def test_the_fingerprint_is_that_of_the_content_wherever_it_lies(data: Path, tmp_path: Path) -> None:
    before = {split: load_dataset(data).fingerprint(split) for split in ("train", "val")}
    for file in data.parent.rglob("*"):
        os.utime(file)
    assert {split: load_dataset(data).fingerprint(split) for split in before} == before
    moved = data.parent.rename(tmp_path.parent / f"{tmp_path.name}-moved") / data.name
    assert {split: load_dataset(moved).fingerprint(split) for split in before} == before


def test_the_fingerprint_sees_an_edit_of_the_same_size(data: Path) -> None:
    before = load_dataset(data).fingerprint("val")
    image = load_dataset(data).images["val"][0]
    content = bytearray(image.read_bytes())
    content[-20] ^= 1
    image.write_bytes(content)
    assert load_dataset(data).fingerprint("val") != before


@given(count=st.integers(0, 20), seed=st.integers(0, 2**32 - 1))
def test_a_sample_is_drawn_without_replacement_and_by_the_seed(tiny: Dataset, count: int, seed: int) -> None:
    drawn = tiny.sample("train", count, seed)
    assert drawn == tiny.sample("train", count, seed)
    assert len(set(drawn)) == len(drawn) == min(count, 12)
    assert set(drawn) <= set(tiny.images["train"])


def test_seeds_draw_different_samples(tiny: Dataset) -> None:
    assert len({tiny.sample("train", 4, seed) for seed in range(5)}) > 1


def test_folders_are_classes_in_the_order_of_the_model(digits: Dataset) -> None:
    assert digits.names == DIGITS
    assert {split: len(images) for split, images in digits.images.items()} == {
        "train": 24,
        "val": 12,
        "test": 9,
    }
    for images in digits.images.values():
        assert all(DIGITS[digits.class_of(image)] == image.parent.name for image in images)


def test_folders_that_are_called_otherwise_are_classes_in_their_own_order(digits: Dataset) -> None:
    assert load_folders(digits.source, ("nought", "one", "three")).names == ("0", "1", "3")


def test_the_fingerprint_of_folders_sees_an_image_change_its_class(tmp_path: Path) -> None:
    data = write_digits(tmp_path)
    before = load_folders(data, DIGITS).fingerprint("val")
    (data / "val" / "0" / "1.png").rename(data / "val" / "3" / "9.png")
    assert load_folders(data, DIGITS).fingerprint("val") != before


def remove_train(data: Path) -> None:
    (data / "train").rename(data / "trian")


def remove_val(data: Path) -> None:
    for name in ("val", "test"):
        (data / name).rename(data / f"old {name}")


def empty_val(data: Path) -> None:
    for image in (data / "val").glob("*/*"):
        image.unlink()


@pytest.mark.parametrize(
    ("change", "names", "expected"),
    [
        (remove_train, DIGITS, "train: this split is required, as a folder of its own"),
        (
            lambda data: [(data / name).rename(data / f"old {name}") for name in ("val", "test")],
            DIGITS,
            "val: this",
        ),
        (lambda data: None, (*DIGITS, "4"), "3 folders of classes, but the model has 4; '4' is only in one"),
        (lambda data: None, DIGITS[:2], "3 folders of classes, but the model has 2; '1' is only in one"),
        (lambda data: (data / "test" / "7").mkdir(), DIGITS, "test: 4 folders of classes"),
        (empty_val, DIGITS, "val: no images in"),
    ],
)
def test_a_mistake_in_the_folders_is_named(
    tmp_path: Path, change: Callable[[Path], object], names: tuple[str, ...], expected: str
) -> None:
    data = write_digits(tmp_path / "data")
    change(data)
    with pytest.raises(DataError) as caught:
        load_folders(data, names)
    assert str(caught.value).startswith(f"{data}: ")
    assert expected in str(caught.value)


def test_a_classifier_is_not_given_a_file(data: Path) -> None:
    with pytest.raises(DataError, match="a classifier's data is a folder with train/ and val/"):
        load_folders(data, NAMES)
