"""A classifier's folder as ultralytics reads it (`check_cls_dataset`, torchvision's `ImageFolder`)."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from edgeprune.core.errors import DataError
from edgeprune.images.reading.classes import plain_name
from edgeprune.images.reading.layout import SPLITS, notes_of
from edgeprune.images.reading.listing import IMAGE_SUFFIXES, Found, images_in, suffix_of
from edgeprune.images.reading.notes import Note, count_nouns, join_first

_VAL = ("val", "validation", "valid")
_HIDDEN = "Remove it, if it was left by a program."


@dataclass
class Folders:
    """What a classifier's folder holds.

    Attributes:
        names: of the classes in the model's order, each the name of a folder.
        images: by split, sorted.
    """

    names: tuple[str, ...]
    images: dict[str, tuple[Path, ...]] = field(default_factory=dict)
    notes: list[Note] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)


def read_folders(path: Path, names: tuple[str, ...]) -> Folders:
    """List the images of a classifier's folder; what is wrong with it is in `faults`.

    Args:
        names: of the model's classes, in its order.

    Raises:
        DataError: it is not a folder.
    """
    if not path.is_dir():
        raise DataError(
            f"{path}: a classifier's data is a folder with train/ and val/, one folder a class in each"
        )
    found = Folders(names)
    places = _places(path, found)
    for split in ("train", "val"):
        if split not in places:
            found.faults.append(f"{split}: this split is required, as a folder of its own{_instead(path)}")
    folders = {split: _class_folders(split, place, found) for split, place in places.items()}
    if "train" in folders:
        _match(folders["train"], names, found)
    for split, place in places.items():
        _read_split(split, place, folders[split], found)
    return found


def _instead(path: Path) -> str:
    names = sorted(repr(entry.name) for entry in os.scandir(path) if entry.is_dir())
    return f"; the folders here are {join_first(names)}" if names else ""


def _places(path: Path, found: Folders) -> dict[str, Path]:
    places = {split: path / split for split in ("train", "test") if (path / split).is_dir()}
    val = next((path / name for name in _VAL if (path / name).is_dir()), None)
    if val is None and "test" in places:
        val = places.pop("test")
        text = "There is no folder val: the images of test take its place, as in ultralytics."
        found.notes.append(Note("split_left_out", text, "Give the choice of a row a split of its own."))
    if val is not None:
        places["val"] = val
    return {split: places[split] for split in SPLITS if split in places}


def _class_folders(split: str, place: Path, found: Folders) -> tuple[str, ...]:
    """Return the folders of a split that stand for classes, sorted; hidden ones do not."""
    try:
        entries = sorted(os.scandir(place), key=lambda entry: entry.name)
        folders = [entry.name for entry in entries if entry.is_dir()]
    except OSError as exc:
        found.faults.append(f"{split}: {place} cannot be read: {exc.strerror}")
        return ()
    loose = [entry.name for entry in entries if suffix_of(entry.name) in IMAGE_SUFFIXES and entry.is_file()]
    if loose:
        text = f"{split}: {count_nouns(len(loose), 'image')} outside the folders of classes, such as "
        text += f"{place / loose[0]}, left out, as ultralytics does."
        found.notes.append(Note("not_read", text, "Move each into the folder of its class."))
    hidden = [name for name in folders if name.startswith(".")]
    if hidden:
        text = f"{split}: {place / hidden[0]} is hidden, and does not count as a class."
        found.notes.append(Note("hidden_files", text, _HIDDEN))
    return tuple(name for name in folders if name not in hidden)


def _match(folders: tuple[str, ...], names: tuple[str, ...], found: Folders) -> None:
    """Find the classes of a model among the folders of train, whatever their case, spaces and underscores."""
    plain = {plain_name(folder): folder for folder in folders}
    if len(plain) == len(folders) and len({plain_name(name) for name in names}) == len(names):
        names = tuple(name if name in folders else plain.get(plain_name(name), name) for name in names)
        found.names = names
    if set(folders).isdisjoint(names) and len(folders) == len(names):
        found.names = folders
        text = f"No folder is called as a class of the model: the sorted ones, from {folders[0]!r} on, are "
        text += f"taken to be its classes in order, from {names[0]!r} on."
        advice = "Call the folders as the classes of the checkpoint."
        found.notes.append(Note("classes_unchecked", text, advice))
    elif missing := sorted(set(names) - set(folders)):
        found.faults.append(_other_classes("train", folders, names, missing[0]))


def _other_classes(split: str, folders: Sequence[str], names: Sequence[str], odd: str) -> str:
    return (
        f"{split}: {len(folders)} folders of classes, but the model has {len(names)}; "
        f"{odd!r} is only in one of the two"
    )


def _read_split(split: str, place: Path, folders: tuple[str, ...], found: Folders) -> None:
    if odd := sorted(set(folders) - set(found.names)):
        found.faults.append(_other_classes(split, folders, found.names, odd[0]))
        return
    whole = Found()
    empty = [name for name in found.names if name not in folders]
    for name in folders:
        inside = images_in(place / name, hidden_too=True)
        inside.images.sort(key=str)
        whole.add(inside)
        empty += [] if inside.images else [name]
    if empty and whole.images:
        text = f"{split}: {count_nouns(len(empty), 'class')} of {len(found.names)} without an image, such as "
        found.notes.append(Note("classes_missing", f"{text}{empty[0]!r}.", "Accuracy says nothing of them."))
    if not whole.images:
        found.faults.append(f"{split}: no images in {place}")
    found.faults += whole.faults
    found.images[split] = tuple(whole.images)
    found.notes += notes_of(split, whole)
