"""Pictures without labels fall into splits by what they show, wherever they lie and whatever their names."""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgeprune.core.errors import DataError
from edgeprune.images.dataset import Dataset, load_pictures


def draw(folder: Path, count: int, name: str = "{}.png") -> Path:
    """Write pictures that all differ."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        cv2.imwrite(str(folder / name.format(number)), np.full((8, 8, 3), number, dtype=np.uint8))
    return folder


def digests(dataset: Dataset) -> dict[str, set[str]]:
    return {split: {dataset.index.digest(one) for one in found} for split, found in dataset.images.items()}


def test_a_heap_is_split_the_same_under_other_names(tmp_path: Path) -> None:
    first = load_pictures(draw(tmp_path / "a", 20), ())
    second = load_pictures(draw(tmp_path / "b" / "deep", 20, "other-{}.png").parent, ())
    assert digests(first) == digests(second)
    assert {split: len(found) for split, found in first.images.items()} == {"train": 14, "val": 3, "test": 3}
    assert first.fingerprint("val") == second.fingerprint("val")
    assert all(first.class_of(image) == 0 for image in first.images["train"])


def test_copies_of_a_picture_stay_together(tmp_path: Path) -> None:
    folder = draw(tmp_path, 6)
    for number in range(6):
        shutil.copy(folder / f"{number}.png", folder / f"copy-{number}.png")
    found = digests(load_pictures(folder, ()))
    assert not found["train"] & found["val"] and not found["val"] & found["test"]


def test_folders_of_splits_and_a_data_yaml_are_taken_as_they_are(
    tmp_path: Path, digits: Dataset, tiny: Dataset
) -> None:
    assert load_pictures(digits.source, ()).images == {
        split: tuple(sorted(found, key=str)) for split, found in digits.images.items()
    }
    copy = shutil.copytree(tiny.source.parent, tmp_path / "tiny")
    shutil.rmtree(copy / "labels")
    (copy / "data.yaml").write_text("train: images/train\nval: images/val\n")
    counts = {split: len(found) for split, found in load_pictures(copy / "data.yaml", ()).images.items()}
    assert counts == {"train": 12, "val": 5}


def test_too_few_pictures_or_none_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"2 different pictures; at least 3 are needed"):
        load_pictures(draw(tmp_path / "two", 2), ())
    (tmp_path / "none").mkdir()
    (tmp_path / "none" / "a.gif").touch()
    with pytest.raises(DataError, match=r"no pictures in this folder; .*a\.gif is in no format"):
        load_pictures(tmp_path / "none", ())
