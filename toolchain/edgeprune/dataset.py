"""Data sets in YOLO's layouts.

Detection: a `data.yaml`, folders or lists of images, a label file an image. Classification: a folder with one
folder a split, and in it one a class.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import yaml

from edgeprune.documents import read_mapping
from edgeprune.errors import DataError
from edgeprune.files import write_text_atomically

IMAGE_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})
SPLITS = ("train", "val", "test")
_VAL_FOLDERS = ("val", "validation", "valid")


@dataclass(frozen=True)
class Dataset:
    """A checked data set.

    Attributes:
        source: the `data.yaml` it was read from; of a classifier the folder that holds the splits.
        names: class names by index; of a classifier those of the folders.
        images: image paths by split, sorted; `test` may be absent.
    """

    source: Path
    names: tuple[str, ...]
    images: dict[str, tuple[Path, ...]]

    @property
    def report_split(self) -> str:
        """The split whose accuracy is reported: `test` where there is one, else `val`."""
        return "test" if "test" in self.images else "val"

    def fingerprint(self, split: str) -> str:
        """Return a hash of a split's images and labels: names, sizes and modification times."""
        total = hashlib.sha256(repr(self.names).encode())
        for image in self.images[split]:
            for file in (image, label_path(image)):
                if file.exists():
                    stat = file.stat()
                    total.update(f"{file}\0{stat.st_size}\0{stat.st_mtime_ns}\0".encode())
        return total.hexdigest()

    def sample(self, split: str, count: int, seed: int) -> tuple[Path, ...]:
        """Draw up to `count` images of a split without replacement, the same ones for the same seed."""
        images = self.images[split]
        order = np.random.default_rng(seed).permutation(len(images))[:count]
        return tuple(images[index] for index in sorted(order))

    def class_of(self, image: Path) -> int:
        """Return the class of a classifier's image: the folder that it lies in."""
        return self.names.index(image.relative_to(self.source).parts[1])

    def label(self, image: Path) -> str:
        """Return what the data say of an image: its class, or the text of its label file ("" without one)."""
        if self.source.is_dir():
            return self.names[self.class_of(image)]
        path = label_path(image)
        return path.read_text(encoding="utf-8") if path.exists() else ""


def load_dataset(path: Path, classes: int | None = None) -> Dataset:
    """Read and check a `data.yaml`.

    A missing `path` key means the folder of the file itself; a split may be a folder, a text file that lists
    images, or a list of those.

    Args:
        classes: class count of the model that the data must fit, if known.

    Raises:
        DataError: no images, no labels, or another class count than the model's.
    """
    config = read_mapping(path, DataError)
    names = _names(path, config)
    if classes is not None and classes != len(names):
        raise DataError(f"{path}: names: {len(names)} classes are listed, but the model has {classes}")
    root = path.parent / str(config.get("path") or "")
    images = {split: _images(path, root, split, config[split]) for split in SPLITS if config.get(split)}
    for split in ("train", "val"):
        if split not in images:
            raise DataError(f"{path}: {split}: this split is required")
    for split, found in images.items():
        if not any(label_path(image).is_file() for image in found):
            raise DataError(
                f"{path}: {split}: {len(found)} images but no label file; "
                f"the first is looked for at {label_path(found[0])}"
            )
    return Dataset(path, names, images)


def load_folders(path: Path, names: tuple[str, ...]) -> Dataset:
    """Read and check a classifier's folder: `train`, `val` and maybe `test`, each with one folder a class.

    Folders are matched to the model's classes by name, as ultralytics does; when none is called as a class is
    (ImageNet's are codes), the sorted folders are the classes in their order.

    Raises:
        DataError: not such a folder, no images, or other classes than the model's.
    """
    if not path.is_dir():
        raise DataError(
            f"{path}: a classifier's data is a folder with train/ and val/, one folder a class in each"
        )
    places = {"train": path / "train", "test": path / "test"}
    places["val"] = next((path / name for name in _VAL_FOLDERS if (path / name).is_dir()), path / "val")
    for split in ("train", "val"):
        if not places[split].is_dir():
            raise DataError(f"{path}: {split}: this split is required, as a folder of its own")
    folders = _class_folders(places["train"])
    if set(folders).isdisjoint(names) and len(folders) == len(names):
        names = folders
    images = {}
    for split in SPLITS:
        if places[split].is_dir():
            found = set(_class_folders(places[split]))
            if odd := sorted(found - set(names) or (set(names) - found if split == "train" else ())):
                raise DataError(
                    f"{path}: {split}: {len(found)} folders of classes, but the model has {len(names)}; "
                    f"{odd[0]!r} is only in one of the two"
                )
            images[split] = _images(
                path, path, split, [f"{places[split].name}/{name}" for name in sorted(found)]
            )
    return Dataset(path, names, images)


def _class_folders(place: Path) -> tuple[str, ...]:
    return tuple(sorted(entry.name for entry in place.iterdir() if entry.is_dir()))


def label_path(image: Path) -> Path:
    """Return where YOLO's layout keeps an image's labels: the last `images` folder becomes `labels`."""
    parts = list(image.parts)
    for index in range(len(parts) - 2, -1, -1):
        if parts[index] == "images":
            parts[index] = "labels"
            break
    return Path(*parts).with_suffix(".txt")


def load_labels(image: Path, classes: int) -> npt.NDArray[np.float32]:
    """Read an image's boxes: float32 (n, 5) of class, centre x, centre y, width, height, in [0, 1].

    An image without a label file is background: shape (0, 5). A polygon becomes the box around it.

    Raises:
        DataError: a line that is not numbers, a class outside the model's, or a coordinate outside [0, 1].
    """
    path = label_path(image)
    if not path.is_file():
        return np.zeros((0, 5), dtype=np.float32)
    boxes: set[tuple[float, ...]] = set()
    rows: list[tuple[float, ...]] = []
    for number, line in enumerate(_lines(path), start=1):
        if not line.strip():
            continue
        row = _box(line, where=f"{path}:{number}", classes=classes)
        if row not in boxes:  # ultralytics drops exact duplicates, so agreement needs it too
            boxes.add(row)
            rows.append(row)
    return np.asarray(rows, dtype=np.float32).reshape(-1, 5)


def write_yaml(dataset: Dataset, folder: Path) -> Path:
    """Write a `data.yaml` with absolute image lists, for trainers that resolve paths their own way."""
    for split, images in dataset.images.items():
        write_text_atomically(folder / f"{split}.txt", "".join(f"{image.absolute()}\n" for image in images))
    config = {
        "path": str(folder.absolute()),
        **{split: f"{split}.txt" for split in dataset.images},
        "names": dict(enumerate(dataset.names)),
    }
    path = folder / "data.yaml"
    write_text_atomically(path, yaml.safe_dump(config, sort_keys=False, allow_unicode=True))
    return path


def link_folders(dataset: Dataset, folder: Path) -> Path:
    """Link a classifier's splits into a folder, for trainers that write their caches beside them."""
    for split, images in dataset.images.items():
        place = dataset.source / images[0].relative_to(dataset.source).parts[0]
        (folder / split).symlink_to(place.absolute(), target_is_directory=True)
    return folder


def _names(path: Path, config: dict[str, Any]) -> tuple[str, ...]:
    names = config.get("names")
    if isinstance(names, dict):
        if set(names) != set(range(len(names))):
            raise DataError(f"{path}: names: the keys must be 0 to {len(names) - 1}")
        names = [names[index] for index in range(len(names))]
    if not isinstance(names, list) or not names:
        raise DataError(f"{path}: names: a list of class names is required")
    return tuple(str(name) for name in names)


def _images(path: Path, root: Path, split: str, entries: Any) -> tuple[Path, ...]:
    found: set[Path] = set()
    for entry in entries if isinstance(entries, list) else [entries]:
        place = root / str(entry)
        if place.is_dir():
            found.update(file for file in place.rglob("*") if file.suffix.lower() in IMAGE_SUFFIXES)
        elif place.suffix == ".txt" and place.is_file():
            found.update(place.parent / line.strip() for line in _lines(place) if line.strip())
        else:
            raise DataError(f"{path}: {split}: {place} is neither a folder of images nor a .txt list of them")
    if not found:
        raise DataError(f"{path}: {split}: no images in {entries!r} (looked in {root})")
    return tuple(sorted(found))


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as exc:
        raise DataError(f"{path}: cannot be read as text: {exc}") from exc


def _box(line: str, where: str, classes: int) -> tuple[float, ...]:
    try:
        values = [float(word) for word in line.split()]
    except ValueError as exc:
        raise DataError(f"{where}: a label is 'class x y w h' in numbers, not {line.strip()!r}") from exc
    if len(values) > 6 and len(values) % 2:  # a segmentation polygon: class x1 y1 x2 y2 ...
        xs, ys = values[1::2], values[2::2]
        width, height = max(xs) - min(xs), max(ys) - min(ys)
        values = [values[0], min(xs) + width / 2, min(ys) + height / 2, width, height]
    if len(values) != 5 or not all(0 <= value <= 1.01 for value in values[1:]):
        raise DataError(
            f"{where}: a label is 'class x y w h' with coordinates in [0, 1], not {line.strip()!r}"
        )
    if values[0] not in range(classes):
        raise DataError(f"{where}: class {values[0]:g} is not one of the model's {classes} classes (0-based)")
    return tuple(values)
