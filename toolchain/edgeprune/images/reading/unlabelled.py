"""Pictures without labels: a plain folder, folders of splits, or a `data.yaml` whose labels are not read.

A plain folder is split by content: the same pictures fall into the same splits, whatever they are called and
wherever they lie.
"""

from __future__ import annotations

from pathlib import Path

from edgeprune.core.errors import DataError
from edgeprune.images.reading.index import Index
from edgeprune.images.reading.layout import SPLITS, notes_of, read_layout
from edgeprune.images.reading.listing import Found, images_in
from edgeprune.images.reading.notes import Note, count_nouns, refuse

SHARES = {"train": 0.7, "val": 0.15, "test": 0.15}
"""Of the different pictures of a plain folder."""
LEAST = len(SHARES)
"""So many different pictures make one a split."""


def read_pictures(path: Path, index: Index) -> tuple[dict[str, tuple[Path, ...]], tuple[Note, ...]]:
    """List pictures by split, sorted, with what was noted of them.

    Folders `train` and `val` are splits, with or without folders of classes in them. Any other folder is one
    heap that is split by the pictures' digests; equal pictures stay together.

    Args:
        path: a folder, or a `data.yaml`.
        index: gives the digests.

    Raises:
        DataError: no pictures, too few of them, or a folder that cannot be read.
    """
    if not path.is_dir():
        layout = read_layout(path, None)
        refuse(path, [fault for fault in layout.faults if not fault.startswith(("names", "nc"))])
        return layout.images, tuple(layout.notes)
    places = {split: path / split for split in SPLITS if (path / split).is_dir()}
    if {"train", "val"} <= places.keys():
        found = {split: images_in(place) for split, place in places.items()}
        _require(path, found)
        notes = tuple(note for split, one in found.items() for note in notes_of(split, one))
        return {split: tuple(sorted(one.images, key=str)) for split, one in found.items()}, notes
    whole = images_in(path)
    _require(path, {"pictures": whole})
    return _split(path, whole, index), tuple(notes_of("pictures", whole))


def _require(path: Path, found: dict[str, Found]) -> None:
    """Refuse folders that cannot be read, or that hold no picture."""
    faults = [fault for one in found.values() for fault in one.faults]
    for split, one in found.items():
        if not one.images and not one.faults:
            other = f"; {one.unread[0]} is in no format that is read" if one.unread else ""
            faults.append(f"{split}: no pictures in this folder{other}")
    refuse(path, faults)


def _split(path: Path, whole: Found, index: Index) -> dict[str, tuple[Path, ...]]:
    """Cut the different pictures, in the order of their digests, into the shares of `SHARES`."""
    by_content: dict[str, list[Path]] = {}
    for image in whole.images:
        by_content.setdefault(index.digest(image), []).append(image)
    order = sorted(by_content)
    if len(order) < LEAST:
        raise DataError(
            f"{path}: {count_nouns(len(order), 'different picture')}; at least {LEAST} are needed, one a "
            "split, and some hundreds for a good recovery"
        )
    counts = {split: max(1, round(share * len(order))) for split, share in SHARES.items() if split != "train"}
    images: dict[str, tuple[Path, ...]] = {}
    start = 0
    for split in SPLITS:
        count = counts.get(split, len(order) - sum(counts.values()))
        chosen = [image for digest in order[start : start + count] for image in by_content[digest]]
        images[split] = tuple(sorted(chosen, key=str))
        start += count
    return images
