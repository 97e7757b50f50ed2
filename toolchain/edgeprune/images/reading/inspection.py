"""All faults of a data set at load: every image is decoded once, every label file read, and told together."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from edgeprune.core.errors import DataError
from edgeprune.images.dataset import Dataset, label_path
from edgeprune.images.reading.listing import COMPANION
from edgeprune.images.reading.notes import Note, count_nouns, join_first, refuse

THREADS = 4
"""Images that are decoded at a time, each in as much memory as it has pixels."""
FEW_LABELS = 0.5
LEAST_IMAGES = 16
OnShare = Callable[[float, str], None]


def inspect_images(dataset: Dataset, skip: bool, say: OnShare) -> Dataset:
    """Return a data set whose images and labels can all be used, with what was noted of them.

    Args:
        skip: leave out what cannot be used, and note it, instead of raising an error.
        say: told the share that is done, and a few words.

    Raises:
        DataError: images or labels that cannot be used, the first ten by name; a split without a box.
    """
    try:
        faults = dict(_faults(dataset, say))
    finally:
        dataset.index.save()
    companions = [image for image in faults if image.name.startswith(COMPANION)]
    bad = {image: fault for image, fault in faults.items() if not image.name.startswith(COMPANION)}
    if bad and not skip:
        raise DataError(
            f"{dataset.source}: {count_nouns(len(bad), 'image')} cannot be used: "
            f"{join_first(list(bad.values()))}; "
            "mend or remove what is named, or leave it out by --skip-bad-images"
        )
    images = {
        split: tuple(image for image in found if image not in faults)
        for split, found in dataset.images.items()
    }
    notes = (*dataset.notes, *_left_out(bad, companions))
    return _judged(replace(dataset, images=images, notes=notes, skipped=tuple(bad.values())))


def _faults(dataset: Dataset, say: OnShare) -> Iterator[tuple[Path, str]]:
    """Yield the images that cannot be used, each with its fault, and its path in it."""
    images = list(dict.fromkeys(image for found in dataset.images.values() for image in found))
    say(0.0, count_nouns(len(images), "image"))
    with ThreadPoolExecutor(min(THREADS, os.cpu_count() or 1)) as pool:
        try:
            for done, (image, fault) in enumerate(
                zip(images, pool.map(lambda image: _fault(dataset, image), images), strict=True), 1
            ):
                if fault:
                    yield image, fault
                say(done / len(images), f"{done} of {count_nouns(len(images), 'image')} decoded")
        finally:
            pool.shutdown(cancel_futures=True)


def _fault(dataset: Dataset, image: Path) -> str:
    try:
        picture = dataset.index.picture(image)
        if picture.fault:
            return f"{image}: {picture.fault}"
        dataset.boxes(image)
    except DataError as exc:
        return str(exc)
    return ""


def _left_out(bad: dict[Path, str], companions: Sequence[Path]) -> Iterator[Note]:
    if bad:
        yield Note(
            "images_skipped",
            f"{count_nouns(len(bad), 'image')} left out by --skip-bad-images: "
            f"{join_first(list(bad.values()))}.",
            "Mend or remove them.",
        )
    if companions:
        yield Note(
            "hidden_files",
            f"{count_nouns(len(companions), 'companion file')} of macOS left out, such as {companions[0]}.",
            "Remove them: they are no images, whatever their name.",
        )


def _judged(dataset: Dataset) -> Dataset:
    """Refuse splits that say nothing, leave out such a test split, and note what was hardly meant."""
    faults, notes, images = [], list(dataset.notes), dict(dataset.images)
    for split, found in dataset.images.items():
        if found and any(len(dataset.boxes(image)) for image in found):
            continue
        what = f"{split}: none of its {count_nouns(len(found), 'image')} has a box"
        if split == "test":
            del images[split]
            notes.append(
                Note("split_left_out", f"{what}: accuracy is reported on val.", "Label it, or name no test.")
            )
        else:
            faults.append(f"{what}; {'nothing can be learnt' if split == 'train' else 'no accuracy'} from it")
    refuse(dataset.source, faults)
    dataset = replace(dataset, images=images)
    notes += [*_shared(dataset), *_few(dataset)]
    if not dataset.is_folders:
        notes += [note for split in images for note in _unlabelled(dataset, split)]
    return replace(dataset, notes=tuple(notes))


def _shared(dataset: Dataset) -> Iterator[Note]:
    """Note images that are in a split and in one before it, by content."""
    known: dict[str, str] = {}
    for split, found in dataset.images.items():
        digests = {dataset.index.digest(image): image for image in found}
        shared = [(known[digest], image) for digest, image in digests.items() if digest in known]
        if shared:
            other = Counter(name for name, _ in shared).most_common(1)[0][0]
            yield Note(
                "split_shared",
                f"{split}: {len(shared)} of its {len(digests)} images are in {other} too, such as "
                f"{shared[0][1]}: the accuracy on {split} is too good for images that are new.",
                "Keep the splits apart.",
            )
        known |= dict.fromkeys(digests.keys() - known.keys(), split)


def _few(dataset: Dataset) -> Iterator[Note]:
    distinct = {dataset.index.digest(image) for found in dataset.images.values() for image in found}
    if len(distinct) < LEAST_IMAGES:
        yield Note(
            "few_images",
            f"The data set has {count_nouns(len(distinct), 'different image')}: engines are timed on shifted "
            "copies of them too, and an accuracy on so few says little.",
            f"Give it at least {LEAST_IMAGES}.",
        )


def _unlabelled(dataset: Dataset, split: str) -> Iterator[Note]:
    found = dataset.images[split]
    without = [image for image in found if not label_path(image).is_file()]
    if len(without) >= FEW_LABELS * len(found):
        yield Note(
            "few_labels",
            f"{split}: {len(without)} of {len(found)} images have no label file and count as background; "
            f"the first is looked for at {label_path(without[0])}.",
            "Nothing is to be done if they show nothing.",
        )
    wanted = {label_path(image) for image in found}
    stray = [
        label
        for folder in sorted({label.parent for label in wanted})
        for label in (sorted(folder.iterdir()) if folder.is_dir() else ())
        if label.suffix.lower() == ".txt"
        and label not in wanted
        and label.name not in ("classes.txt", "train.txt", "val.txt", "test.txt")
    ]
    listed_too = {label_path(image) for others in dataset.images.values() for image in others}
    if stray := [label for label in stray if label not in listed_too]:
        yield Note(
            "stray_labels",
            f"{split}: {count_nouns(len(stray), 'label file')} without an image that is read: "
            f"{join_first([label.name for label in stray[:3]])}.",
            "Look for their images: a format that is not read, another folder, or .TXT in capitals.",
        )
