"""A classifier's folder: the images and classes that ultralytics' own loader finds."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ultralytics.cfg import get_cfg
from ultralytics.data.dataset import ClassificationDataset
from ultralytics.data.utils import check_cls_dataset

from conftest import DIGITS, write_digits
from edgeprune.core.errors import DataError
from edgeprune.images.dataset import Dataset, load_folders
from edgeprune.images.reading.index import Index
from edgeprune.images.reading.inspection import inspect_images
from made_data import PICTURES


def ours(data: Path) -> Dataset:
    dataset = replace(load_folders(data, DIGITS), index=Index())
    return inspect_images(dataset, skip=True, say=lambda share, text: None)


def theirs(data: Path) -> dict[str, dict[str, int]]:
    """Return the class of each image by split, as ultralytics' trainer and validator load them."""
    found = check_cls_dataset(data, split="val")
    names = dict(enumerate(DIGITS))
    return {
        split: {
            name: index
            for name, index, *_ in ClassificationDataset(found[split], get_cfg(), names=names).samples
        }
        for split in ("train", "val", "test")
        if found[split] is not None
    }


@st.composite
def folders(draw: st.DrawFn, root: Path) -> Path:
    """Draw a classifier's folder with what people have in theirs, and write it."""
    splits = ["train", draw(st.sampled_from(("val", "valid", "validation", "test")))]
    splits += draw(st.sampled_from(([], ["test"])))
    for split in dict.fromkeys(splits):
        for name in DIGITS:
            place = root / split / name
            place.mkdir(parents=True)
            if draw(st.integers(0, 5)) or name == "3":
                (place / "sound.png").write_bytes(PICTURES[".png"][0])
            for number in range(draw(st.integers(0, 2))):
                suffix = draw(st.sampled_from(sorted(PICTURES)))
                inner = place / draw(st.sampled_from(("", "", "deep", ".ipynb_checkpoints")))
                inner.mkdir(exist_ok=True)
                hidden = draw(st.sampled_from(("", "", "._", ".")))
                (inner / f"{hidden}{number}{suffix}").write_bytes(draw(st.sampled_from(PICTURES[suffix])))
        if draw(st.booleans()):
            (root / split / ".ipynb_checkpoints").mkdir()
            (root / split / ".ipynb_checkpoints" / "copy.png").write_bytes(PICTURES[".png"][0])
        if draw(st.booleans()):
            (root / "far" / split).mkdir(parents=True)
            (root / "far" / split / "far.png").write_bytes(PICTURES[".png"][0])
            (root / split / DIGITS[0] / "linked").symlink_to(root / "far" / split)
    return root


@settings(deadline=None, max_examples=40, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_folders_are_read_as_ultralytics_reads_them(data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as place:
        root = data.draw(folders(Path(place).resolve() / "data"))
        mine, told = ours(root), theirs(root)
        if "test" not in mine.images and told.get("test") == told["val"]:
            del told["test"]  # a test split that takes the place of val is not reported a second time
        assert set(mine.images) == set(told)
        for split, images in mine.images.items():
            assert {str(image): mine.class_of(image) for image in images} == {
                # A companion of macOS is a picture only by mistake, and is left out with a note.
                name: index
                for name, index in told[split].items()
                if not Path(name).name.startswith("._")
            }


def codes(data: Path) -> list[str]:
    return [note.code for note in load_folders(data, DIGITS).notes]


def empty(data: Path) -> None:
    for image in (data / "val" / "0").iterdir():
        image.unlink()


def checkpoints(data: Path) -> None:
    (data / "val" / "0" / ".ipynb_checkpoints").mkdir()
    (data / "val" / "0" / ".ipynb_checkpoints" / "copy.png").write_bytes(PICTURES[".png"][0])


def rename(data: Path) -> None:
    for split in ("train", "val", "test"):
        for name in DIGITS:
            (data / split / name).rename(data / split / f"digit {name}")


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda data: (data / "val" / ".cache").mkdir(), "hidden_files"),
        (checkpoints, "hidden_files"),
        (empty, "classes_missing"),
        (lambda data: (data / "val" / "0" / "one.gif").write_bytes(b""), "not_read"),
        (lambda data: (data / "train" / "loose.png").write_bytes(PICTURES[".png"][0]), "not_read"),
        (lambda data: (data / "val").rename(data / "old"), "split_left_out"),
        (rename, "classes_unchecked"),
    ],
)
def test_what_was_hardly_meant_is_noted(
    tmp_path: Path, change: Callable[[Path], object], expected: str
) -> None:
    data = write_digits(tmp_path)
    assert codes(data) == []
    change(data)
    assert codes(data) == [expected]


def test_folders_that_differ_from_the_models_names_in_case_and_underscores_are_matched_by_name(
    tmp_path: Path,
) -> None:
    data = write_digits(tmp_path)
    for split in ("train", "val", "test"):
        for name, called in zip(DIGITS, ("big_zebra", "ant", "Cow"), strict=True):
            (data / split / name).rename(data / split / called)
    found = load_folders(data, ("Big Zebra", "Ant", "cow"))
    assert found.names == ("big_zebra", "ant", "Cow")
    assert not found.notes
    assert {found.class_of(image) for image in found.images["val"] if image.parent.name == "ant"} == {1}


def test_a_split_of_another_case_is_named(tmp_path: Path) -> None:
    data = write_digits(tmp_path)
    (data / "train").rename(data / "Train")
    with pytest.raises(DataError, match=r"train: this split is required.* the folders here are 'Train'"):
        load_folders(data, DIGITS)


def test_a_link_that_leads_back_is_a_fault(tmp_path: Path) -> None:
    data = write_digits(tmp_path)
    (data / "val" / "0" / "again").symlink_to(data / "val" / "0")
    with pytest.raises(DataError, match="this link leads back"):
        load_folders(data, DIGITS)
