"""A data set as trainers see it: links to its images and label files of our own, in a folder that they may
write to. What a trainer mends, caches or leaves beside an image stays there.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from edgeprune.core.errors import OutputError
from edgeprune.core.files import reason, write_text_atomically
from edgeprune.images.dataset import Dataset
from edgeprune.images.reading.labels import Labels
from edgeprune.images.reading.pictures import JPEG_END


def write_view(dataset: Dataset, folder: Path) -> Path:
    """Write a view of a data set into an empty folder, and return what a trainer is given.

    That is a `data.yaml`, or the folder itself for a classifier. Images are numbered in their order.

    Raises:
        OutputError: the folder cannot be written.
    """
    try:
        for split, images in dataset.images.items():
            if dataset.is_folders:
                for name in dataset.names:
                    (folder / split / name).mkdir(parents=True)
            else:
                for kind in ("images", "labels"):
                    (folder / kind / split).mkdir(parents=True)
            for number, image in enumerate(images):
                _show(dataset, image, folder, split, number)
    except OSError as exc:
        raise OutputError(f"{folder}: the view of the data set cannot be written: {reason(exc)}") from exc
    if dataset.is_folders:
        return folder
    config = {
        "path": str(folder.absolute()),
        **{split: f"images/{split}" for split in dataset.images},
        "names": dict(enumerate(dataset.names)),
        **_skeleton(dataset),
    }
    path = folder / "data.yaml"
    write_text_atomically(path, yaml.safe_dump(config, sort_keys=False, allow_unicode=True))
    return path


def _skeleton(dataset: Dataset) -> dict[str, Any]:
    """Return the keys of the keypoints, where they are learnt; of a view for boxes the rows hold none."""
    skeleton = dataset.labelling and dataset.labelling.skeleton
    if not skeleton or dataset.labelling is None or dataset.labelling.shows != "keypoints":
        return {}
    told = {"flip_idx": list(skeleton.flip), "kpt_oks_sigmas": list(skeleton.sigmas)}
    return {"kpt_shape": list(skeleton.shape), **{key: value for key, value in told.items() if value}}


def _show(dataset: Dataset, image: Path, folder: Path, split: str, number: int) -> None:
    name = f"{number:07d}"
    if dataset.is_folders:
        place = folder / split / dataset.names[dataset.class_of(image)]
    else:
        place = folder / "images" / split
        if len((found := dataset.labels(image)).boxes):
            (folder / "labels" / split / f"{name}.txt").write_text(_rows(found), encoding="ascii")
    link = place / f"{name}{image.suffix}"
    if not dataset.index.picture(image).is_ragged:
        _link(image, link)
        return
    # ultralytics writes a JPEG anew that does not end as one; with an end behind it, it is left as it is.
    with image.open("rb") as source, link.open("xb") as copy:
        shutil.copyfileobj(source, copy)
        copy.write(JPEG_END)


def _link(image: Path, link: Path) -> None:
    try:
        link.symlink_to(image.absolute())
    except OSError:  # a file system without links
        shutil.copyfile(image, link)


def _rows(labels: Labels) -> str:
    """Write labels so that a reader finds the very same float32 numbers."""
    values = [points.ravel() for points in labels.polygons] or [row[1:] for row in labels.boxes]
    if labels.keypoints is not None:
        values = [
            np.concatenate(pair)
            for pair in zip(values, labels.keypoints.reshape(len(values), -1), strict=True)
        ]
    return "".join(
        f"{int(row[0])} {' '.join(f'{value:.9g}' for value in numbers)}\n"
        for row, numbers in zip(labels.boxes, values, strict=True)
    )
