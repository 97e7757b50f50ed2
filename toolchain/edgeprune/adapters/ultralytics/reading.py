"""Our reading of a data set held against ultralytics' own loader, before anything is trained.

The user's folder is only listed. What writes (label caches, mended JPEGs) runs on a view of it.
"""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from ultralytics.cfg import get_cfg
from ultralytics.data import base as ultralytics_base
from ultralytics.data import utils as ultralytics_data
from ultralytics.data.base import BaseDataset
from ultralytics.data.dataset import ClassificationDataset, YOLODataset
from ultralytics.data.utils import check_det_dataset
from ultralytics.utils import LOGGER

from edgeprune.core.errors import DataError
from edgeprune.images.dataset import Dataset
from edgeprune.images.reading.labels import Labels
from edgeprune.images.reading.listing import COMPANION, IMAGE_SUFFIXES, suffix_of
from edgeprune.images.reading.notes import Note, join_first
from edgeprune.images.reading.view import write_view

_NUMBER = re.compile(r"(\d{7,})\.")
"""What `write_view` calls an image and its label file."""
_ADVICE = "Look at the paths of the data set; what is read here is also what is trained on."


def note_differences(dataset: Dataset) -> Dataset:
    """Return a data set with a note where ultralytics would find other images; nothing is written there."""
    return replace(dataset, notes=(*dataset.notes, *_listing_notes(dataset)))


def _listing_notes(dataset: Dataset) -> tuple[Note, ...]:
    try:
        found = _listed_detector(dataset) if not dataset.is_folders else _listed_classifier(dataset)
    except Exception as exc:  # ultralytics raises whatever comes
        said = " ".join(str(exc).split()) or type(exc).__name__
        text = f"ultralytics itself does not read this data set: {said}"
        return (Note("reading_differs", text if text.endswith(".") else f"{text}.", _ADVICE),)
    notes = []
    for split, theirs in found.items():
        ours = Counter(str(image) for image in dataset.images[split])
        if more := sorted(((theirs - ours) | (ours - theirs)).elements()):
            text = f"{split}: {sum(ours.values())} images are read, and ultralytics' own loader finds "
            text += f"{sum(theirs.values())}; only one of the two has {more[0]}."
            notes.append(Note("reading_differs", text, _ADVICE))
    return tuple(notes)


def compare_reading(dataset: Dataset, work: Path) -> None:
    """Let ultralytics load a view of the data set, and hold its images and labels against ours.

    Args:
        work: an empty folder for the view.

    Raises:
        DataError: it finds other images, boxes or classes.
    """
    write_view(dataset, work)
    faults: list[str] = []
    for split, images in dataset.images.items():
        with _heard() as said:
            loaded = _classifier_labels if dataset.is_folders else _detector_labels
            try:
                theirs = loaded(dataset, work, split)
            except Exception as exc:  # ultralytics raises whatever comes
                text = " ".join(str(exc).split())
                raise DataError(f"{dataset.source}: {split}: ultralytics cannot load it: {text}") from exc
        why = {number: text for text in reversed(said) for number in _NUMBER.findall(text)}
        for number, image in enumerate(images):
            found, ours = theirs.get(number), _ours(dataset, image)
            if found is None:
                reason = _because(why.get(f"{number:07d}", ""))
                faults.append(f"{image}: ultralytics leaves this image out{reason}")
            elif not np.array_equal(found[0], ours[0]):
                faults.append(f"{image}: ultralytics reads {len(found[0])} boxes, not these {len(ours[0])}")
            elif found[1] != ours[1]:
                faults.append(f"{image}: ultralytics reads other polygons or keypoints")
    if faults:
        raise DataError(f"{dataset.source}: {len(faults)} images are read differently: {join_first(faults)}")


@contextmanager
def without_fonts() -> Iterator[None]:
    """Keep ultralytics from downloading fonts for plots that nobody asked for."""
    kept = ultralytics_data.check_font
    ultralytics_data.check_font = lambda *given: None
    try:
        yield
    finally:
        ultralytics_data.check_font = kept


@contextmanager
def _without_reading() -> Iterator[None]:
    """Keep ultralytics from reading some files to tell how fast the disk is: a pipe would never answer."""
    kept = ultralytics_base.check_file_speeds
    ultralytics_base.check_file_speeds = lambda *given, **more: None
    try:
        yield
    finally:
        ultralytics_base.check_file_speeds = kept


@contextmanager
def _heard() -> Iterator[list[str]]:
    """Collect the lines of ultralytics' log, which go nowhere else meanwhile."""
    lines: list[str] = []

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.extend(record.getMessage().splitlines())

    handlers, level = LOGGER.handlers[:], LOGGER.level
    LOGGER.handlers[:] = [Listener()]
    LOGGER.setLevel(logging.INFO)
    try:
        yield lines
    finally:
        LOGGER.handlers[:] = handlers
        LOGGER.setLevel(level)


def _listed_detector(dataset: Dataset) -> dict[str, Counter[str]]:
    lister = SimpleNamespace(prefix="", fraction=1.0)
    with without_fonts(), _without_reading(), _heard():
        config = check_det_dataset(str(dataset.source), autodownload=False)
        return {
            split: Counter(
                str(Path(name).absolute()) for name in BaseDataset.get_img_files(lister, config[split])
            )
            for split in dataset.images
            if config.get(split)
        }


def _listed_classifier(dataset: Dataset) -> dict[str, Counter[str]]:
    from torchvision.datasets import ImageFolder

    found = {}
    for split, images in dataset.images.items():
        place = dataset.source / images[0].relative_to(dataset.source).parts[0]
        folder = ImageFolder(
            str(place), is_valid_file=lambda name: suffix_of(name) in IMAGE_SUFFIXES, allow_empty=True
        )
        found[split] = Counter(
            name
            for name, index in folder.samples
            if folder.classes[index] in dataset.names and not Path(name).name.startswith(COMPANION)
        )
    return found


_TASKS = {"boxes": "detect", "polygons": "segment", "keypoints": "pose", "rotated": "obb"}
"""Ultralytics' word for the task whose loader reads what a model learns."""


def _ours(dataset: Dataset, image: Path) -> tuple[Any, bytes]:
    """Return rows of class and box, and what is learnt beside them."""
    if dataset.labelling is None or dataset.labelling.shows == "boxes":
        return dataset.boxes(image), b""
    labels = dataset.labels(image)
    return labels.boxes, labels.outlines()


def _detector_labels(dataset: Dataset, work: Path, split: str) -> dict[int, Any]:
    """Return the rows of class and box that ultralytics has for each image of the view, by its number.

    With each, what it has beside them: polygons or keypoints.
    """
    labelling = dataset.labelling
    assert labelling is not None
    skeleton = labelling.skeleton if labelling.shows == "keypoints" else None
    data: dict[str, Any] = {"names": dict(enumerate(dataset.names)), "channels": 3}
    loaded = YOLODataset(
        img_path=str(work / "images" / split),
        imgsz=32,
        augment=False,
        data=data | ({"kpt_shape": list(skeleton.shape)} if skeleton else {}),
        task=_TASKS[labelling.shows],
    )

    def beside(label: dict[str, Any]) -> bytes:
        if labelling.shows == "boxes":
            return b""
        points = None if skeleton is None else label["keypoints"][..., : skeleton.numbers]
        return Labels(label["bboxes"], tuple(label["segments"]), points).outlines()

    return {
        int(Path(label["im_file"]).stem): (
            np.concatenate([label["cls"], label["bboxes"]], axis=1),
            beside(label),
        )
        for label in loaded.labels
    }


def _classifier_labels(dataset: Dataset, work: Path, split: str) -> dict[int, Any]:
    names = dict(enumerate(dataset.names))
    loaded = ClassificationDataset(str(work / split), get_cfg(), prefix=split, names=names)
    return {
        int(Path(name).stem): (np.array([[index, 0.5, 0.5, 1, 1]], dtype=np.float32), b"")
        for name, index, *_ in loaded.samples
    }


def _because(said: str) -> str:
    return f": {' '.join(said.partition('ignoring ')[2].split())}" if said else ""
