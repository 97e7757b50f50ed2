"""Data sets, read as ultralytics reads them.

Detection: a `data.yaml`, folders or lists of images, a label file an image. Classification: a folder with one
folder a split, and in it one a class. Without labels: pictures in a folder, or in either of these.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from edgeprune.core.errors import DataError
from edgeprune.images.reading import labels
from edgeprune.images.reading.classes import counted_classes, distinct_names, labelling_of
from edgeprune.images.reading.folders import read_folders
from edgeprune.images.reading.index import Index
from edgeprune.images.reading.labels import Boxes, Labelling, Labels, Shows, label_path
from edgeprune.images.reading.layout import SPLITS, Layout, read_layout
from edgeprune.images.reading.notes import Note, refuse
from edgeprune.images.reading.unlabelled import read_pictures

__all__ = [
    "SPLITS",
    "Dataset",
    "label_path",
    "load_dataset",
    "load_folders",
    "load_pictures",
    "read_dataset",
]


@dataclass(frozen=True)
class Dataset:
    """A data set of one model: what a file or a label says is remembered as it was read first.

    Attributes:
        source: the `data.yaml` it was read from; of a classifier the folder that holds the splits.
        names: class names by index, those of the model; of a classifier those of the folders.
        images: image paths by split, sorted; `test` may be absent.
        labelling: how label files are read; None of a classifier.
        notes: what a user may not have meant.
        skipped: images that were left out since they cannot be used, each with its fault.
        index: what is known of the files by content.
        is_unlabelled: whether nothing is known of what the images show: each shows one thing of one class.
    """

    source: Path
    names: tuple[str, ...]
    images: dict[str, tuple[Path, ...]]
    labelling: Labelling | None = None
    notes: tuple[Note, ...] = ()
    skipped: tuple[str, ...] = ()
    index: Index = field(default_factory=Index, compare=False, repr=False)
    is_unlabelled: bool = False
    _read: dict[Any, Any] = field(default_factory=dict, compare=False, repr=False)

    @property
    def report_split(self) -> str:
        """The split whose accuracy is reported: `test` where there is one, else `val`."""
        return "test" if "test" in self.images else "val"

    @property
    def distinct_names(self) -> tuple[str, ...]:
        """Class names that tell classes apart, also where several have the same."""
        return distinct_names(self.names)

    @property
    def is_folders(self) -> bool:
        """Whether it is a classifier's: one folder a class."""
        return self.labelling is None

    def fingerprint(self, split: str) -> str:
        """Return a hash of a split's images and labels by content, the same wherever the data set lies.

        Raises:
            DataError: a file cannot be read.
        """
        key = ("fingerprint", split)
        if key not in self._read:
            total = hashlib.sha256(repr(self.names).encode())
            for image in self.images[split]:
                total.update(self.index.digest(image).encode())
                total.update(self.boxes(image).tobytes() + b"\0")
                if self.labelling and self.labelling.shows != "boxes":
                    total.update(self.labels(image).outlines() + b"\0")
            self._read[key] = total.hexdigest()
        return str(self._read[key])

    def sample(self, split: str, count: int, seed: int) -> tuple[Path, ...]:
        """Draw up to `count` images of a split without replacement, the same ones for the same seed."""
        images = self.images[split]
        order = np.random.default_rng(seed).permutation(len(images))[:count]
        return tuple(images[index] for index in sorted(order))

    def class_of(self, image: Path) -> int:
        """Return the class of a classifier's image: the folder that it lies in; 0 without labels."""
        if self.is_unlabelled:
            return 0
        return self.names.index(image.relative_to(self.source).parts[1])

    def boxes(self, image: Path) -> Boxes:
        """Return what an image shows: float32 (n, 5) of class, centre x and y, width, height, in [0, 1].

        A classifier's image shows one box over all of it.

        Raises:
            DataError: its label file cannot be used.
        """
        if self.labelling is None:
            return np.array([[self.class_of(image), 0.5, 0.5, 1, 1]], dtype=np.float32)
        key = ("boxes", image)
        if key not in self._read:
            self._read[key] = self.labels(image).boxes
        boxes: Boxes = self._read[key]
        return boxes

    def labels(self, image: Path) -> Labels:
        """Return the boxes of an image that has a label file, with the polygons or keypoints beside them.

        Raises:
            DataError: its label file cannot be used.
        """
        return labels.read_labels(image, self.labelling or Labelling(len(self.names)))


def load_dataset(
    path: Path,
    classes: int | Sequence[str] | None = None,
    is_single: bool = False,
    datasets: Path | None = None,
    shows: Shows = "boxes",
    keypoints: tuple[int, int] | None = None,
) -> Dataset:
    """Read a `data.yaml` and list its images; neither they nor their labels are looked into.

    Args:
        classes: names of the model that the data must fit, or only their number; None takes them as they are.
        is_single: whether that model was trained with `single_cls`.
        datasets: where ultralytics looks for a `path` that the working folder does not have.
        shows: what the model learns of an object.
        keypoints: of that model: how many, and how many numbers each.

    Raises:
        DataError: no images, no label file in train or val, or other classes than the model's.
    """
    layout = read_layout(path, datasets)
    faults = list(layout.faults)
    names = layout.names or tuple(f"class_{index}" for index in range(layout.count))
    labelling, notes = Labelling(layout.count), tuple(layout.notes)
    if shows == "keypoints":
        faults += [*layout.skeleton_faults, *_other_skeleton(layout, keypoints)]
    if isinstance(classes, int) and names and classes != len(names):
        faults.append(f"names: {counted_classes(len(names))} listed, but the model has {classes}")
    elif classes is not None and not isinstance(classes, int) and names:
        try:
            labelling, more = labelling_of(layout.names, layout.count, classes, is_single)
            names, notes = tuple(classes), (*notes, *more)
        except DataError as exc:
            faults.append(str(exc))
    for split in ("train", "val"):
        found = layout.images.get(split, ())
        if found and not any(label_path(image).is_file() for image in found):
            faults.append(
                f"{split}: {len(found)} images but no label file; "
                f"the first is looked for at {label_path(found[0])}{_other_labels(found[0])}"
            )
    refuse(path, faults)
    labelling = replace(labelling, skeleton=layout.skeleton, shows=shows)
    return Dataset(path, names, layout.images, labelling, notes)


def _other_skeleton(layout: Layout, keypoints: tuple[int, int] | None) -> Iterator[str]:
    if layout.skeleton is None:
        if not layout.skeleton_faults:
            yield "kpt_shape: the model learns keypoints, and the file does not say how many there are"
    elif keypoints is not None and layout.skeleton.shape != keypoints:
        yield f"kpt_shape: {list(layout.skeleton.shape)} here, and {list(keypoints)} of the model"


def read_dataset(path: Path, names: tuple[str, ...]) -> Dataset:
    """Read the data at a path in the form that it has: a folder of classes, or a `data.yaml`.

    Args:
        names: classes of the model, which such folders are matched to.

    Raises:
        DataError: as `load_dataset` and `load_folders`.
    """
    if not path.is_dir():
        return load_dataset(path)
    return load_folders(path, names)


def _other_labels(image: Path) -> str:
    for folder in dict.fromkeys((label_path(image).parent, image.parent)):
        for ending in ("xml", "json", "csv"):
            if other := next(iter(sorted(folder.glob(f"*.{ending}"))), None):
                return f"; {other} is in another format: convert it to YOLO's"
    return ""


def load_folders(path: Path, names: tuple[str, ...]) -> Dataset:
    """Read a classifier's folder: `train`, `val` and maybe `test`, each with one folder a class.

    Folders are matched to the model's classes by name, as ultralytics does; when none is called as a class is
    (ImageNet's are codes), the sorted folders are the classes in their order.

    Raises:
        DataError: not such a folder, no images, or other classes than the model's.
    """
    found = read_folders(path, names)
    refuse(path, found.faults)
    return Dataset(path, found.names, found.images, None, tuple(found.notes))


def load_pictures(path: Path, names: tuple[str, ...]) -> Dataset:
    """List pictures whose labels are not known, or not to be read: see `read_pictures`.

    Args:
        path: a folder of pictures, a classifier's folder, or a `data.yaml`.
        names: classes of the model.

    Raises:
        DataError: no pictures, too few of them, or a folder that cannot be read.
    """
    index = Index()
    images, notes = read_pictures(path, index)
    return Dataset(path, names, images, None, notes, index=index, is_unlabelled=True)
