"""Which files of a split are its images: by ultralytics' rules (`BaseDataset.get_img_files`, torchvision's
`ImageFolder`), which are not the same for detectors and classifiers.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from edgeprune.core.errors import DataError
from edgeprune.core.files import read_text

IMAGE_SUFFIXES = frozenset(
    {
        "avif", "bmp", "dng", "heic", "heif", "jp2", "jpeg", "jpg", "mpo", "png", "tif", "tiff", "webp",
    }
)  # fmt: skip
"""Suffixes that ultralytics reads (`IMG_FORMATS`); a test holds the two against each other."""
OTHER_IMAGES = frozenset({"gif", "jfif", "ppm", "pgm", "pbm", "exr", "jpe", "jxl", "tga", "npy"})
"""Suffixes of images that ultralytics passes over without a word."""
COMPANION = "._"
"""How the names of those files begin that macOS leaves beside others."""


@dataclass
class Found:
    """The images of a place, and what lies beside them.

    Attributes:
        images: as ultralytics finds them, unsorted; one that is found twice stands here twice.
        hidden: images that are in hidden folders or hidden themselves.
        unread: images in formats that ultralytics does not read, lines of a list that name no image.
        elsewhere: lines of a list that were found beside the list, and not in the working folder.
        faults: what cannot be read, each with its path.
    """

    images: list[Path] = field(default_factory=list)
    hidden: list[Path] = field(default_factory=list)
    unread: list[str] = field(default_factory=list)
    elsewhere: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    def add(self, more: Found) -> None:
        """Take in what was found elsewhere."""
        for name, theirs in vars(more).items():
            getattr(self, name).extend(theirs)


def suffix_of(name: str) -> str:
    """Return what follows the last dot of a file's name, in lower case."""
    return name.rpartition(".")[-1].lower()


def images_in(folder: Path, hidden_too: bool = False) -> Found:
    """Find the images of a folder and of those below it, also through links.

    Args:
        hidden_too: count hidden files and folders as images, as torchvision does; glob, which ultralytics
            lists a detector's images with, passes over them.
    """
    found = Found()
    for path, is_hidden in _walk(folder, (), hidden_too, False, found):
        if suffix_of(path.name) in IMAGE_SUFFIXES and "." in path.name:
            if is_hidden:
                found.hidden.append(path)
            # The companions that macOS leaves on other file systems are no images, whatever their name.
            if not is_hidden or (hidden_too and not path.name.startswith(COMPANION)):
                found.images.append(path)
        elif suffix_of(path.name) in OTHER_IMAGES and not is_hidden:
            found.unread.append(str(path))
    return found


def listed_in(file: Path) -> Found:
    """Read a text file that names one image a line.

    A line that begins with ``./`` is relative to the file, every other one to the working folder, as
    ultralytics has it; what is not there is looked for beside the file.

    Raises:
        DataError: it cannot be read as text.
    """
    found = Found()
    for line in read_text(file, DataError).strip().splitlines():
        if suffix_of(line) not in IMAGE_SUFFIXES:
            if line.strip():
                found.unread.append(line)
            continue
        place = Path(f"{file.parent}{os.sep}{line[2:]}" if line.startswith("./") else line)
        if not place.is_absolute() and not os.path.lexists(place):
            beside = file.parent / line
            if os.path.lexists(beside):
                found.elsewhere.append(line)
                place = beside
            elif "\\" in line:
                found.faults.append(
                    f"{file}: the line {line!r} names no file: write / for \\ between folders"
                )
                continue
        found.images.append(place.absolute())
    return found


def _walk(
    folder: Path, above: tuple[tuple[int, int], ...], hidden_too: bool, is_hidden: bool, found: Found
) -> Iterator[tuple[Path, bool]]:
    """Yield all files below a folder with whether they are hidden; each folder only once on the way down."""
    try:
        with os.scandir(folder) as scan:
            entries = sorted(scan, key=lambda entry: entry.name)
        status = folder.stat()
    except OSError as exc:
        found.faults.append(f"{folder}: the folder cannot be read: {exc.strerror}")
        return
    own = (status.st_dev, status.st_ino)
    if own in above:
        found.faults.append(f"{folder}: this link leads back to a folder that it lies in; remove it")
        return
    for entry in entries:
        hides = is_hidden or entry.name.startswith(".")
        if _is_folder(entry):
            yield from _walk(folder / entry.name, (*above, own), hidden_too, hides, found)
        else:
            yield folder / entry.name, hides


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False
