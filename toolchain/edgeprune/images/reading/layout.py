"""A `data.yaml` as ultralytics reads it (`check_det_dataset`): its keys, its root, the images of its splits.

Nothing is downloaded, whatever the file says. What ultralytics does not find, but lies beside the file, is
read too, with a note.
"""

from __future__ import annotations

import os
import re
import stat
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgeprune.core.documents import YAML_BYTES, parse_yaml
from edgeprune.core.errors import DataError
from edgeprune.core.files import read_bytes
from edgeprune.images.reading.labels import Skeleton
from edgeprune.images.reading.listing import IMAGE_SUFFIXES, Found, images_in, listed_in, suffix_of
from edgeprune.images.reading.notes import Note, count_nouns

SPLITS = ("train", "val", "test")
REQUIRED = ("train", "val")
_UNPRINTABLE = re.compile(r"[^\x09\x0A\x0D\x20-\x7E\x85\xA0-\uD7FF\uE000-\uFFFD\U00010000-\U0010ffff]+")


@dataclass
class Layout:
    """What a `data.yaml` says, before anything is held against a model.

    Attributes:
        names: of the classes; None where the file only tells how many there are, which is `count`.
        skeleton: the keypoints of a label; None where there are none.
        skeleton_faults: what is wrong with it, for those who need it.
        images: by split, sorted as ultralytics sorts them; one that is found twice stands here twice.
    """

    names: tuple[str, ...] | None = None
    count: int = 0
    skeleton: Skeleton | None = None
    skeleton_faults: list[str] = field(default_factory=list)
    images: dict[str, tuple[Path, ...]] = field(default_factory=dict)
    notes: list[Note] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)


def read_layout(path: Path, datasets: Path | None) -> Layout:
    """Read a `data.yaml`, or the one in a folder; what is wrong with it is in the layout's `faults`.

    Args:
        datasets: where ultralytics looks for a root that the working folder does not have.

    Raises:
        DataError: the file cannot be read, or is no mapping of keys.
    """
    layout = Layout()
    path = _yaml_in(path) if path.is_dir() else path
    config = _read_config(path, layout)
    _read_classes(config, layout)
    for key in ("path", *SPLITS):
        value = config.get(key)
        entries = value if isinstance(value, list) and key != "path" else [value]
        if value is not None and not all(isinstance(entry, str) and "\0" not in entry for entry in entries):
            layout.faults.append(f"{key}: a path is expected, not {value!r}")
            del config[key]
    _read_splits(path, config, datasets, layout)
    return layout


def _yaml_in(folder: Path) -> Path:
    """Return the one YAML file of a folder, as ultralytics finds it."""
    for ending in ("*.yaml", "*.yml"):
        if files := sorted(folder.glob(ending)) or sorted(folder.rglob(ending)):
            own = [file for file in files if file.stem == folder.name] if len(files) > 1 else files
            if len(own) == 1:
                return own[0]
            raise DataError(f"{folder}: it holds {len(files)} YAML files; name the one that is meant")
    raise DataError(f"{folder}: no data.yaml is in this folder")


def _read_config(path: Path, layout: Layout) -> dict[str, Any]:
    content = read_bytes(path, DataError, YAML_BYTES)
    if content.startswith((b"PK\x03\x04", b"\x1f\x8b")):
        raise DataError(f"{path}: this is an archive; unpack it and give its data.yaml")
    text = content.decode("utf-8", errors="ignore").removeprefix("\ufeff")
    if len(text.encode()) < len(content.removeprefix("\ufeff".encode())):
        layout.notes.append(
            Note(
                "odd_yaml",
                f"{path} is not UTF-8: the bytes that are none were left out, as ultralytics does.",
                "Save it as UTF-8, if names or paths have other letters than those of English.",
            )
        )
    printable = _UNPRINTABLE.sub("", text)  # ultralytics drops what YAML does not allow
    repeated: list[str] = []
    config = parse_yaml(printable, str(path), DataError, repeated) or {}
    if repeated:
        said = f"{path} has the key {repeated[0]!r} twice: the last one counts, as in ultralytics."
        layout.notes.append(Note("odd_yaml", said, "Take the other one out."))
    if not isinstance(config, dict):
        raise DataError(f"{path}: a mapping of keys to values is expected, not {type(config).__name__}")
    if "validation" in config and "val" not in config:
        config["val"] = config.pop("validation")
    return {key: None if value == "None" else value for key, value in config.items()}


def _read_classes(config: dict[str, Any], layout: Layout) -> None:
    names, count = config.get("names"), config.get("nc")
    channels = config.get("channels", 3)
    if channels != 3:
        layout.faults.append(f"channels: images of 3 channels are read, not of {channels!r}")
    _read_skeleton(config, layout)
    if count is not None:
        try:
            if (number := int(float(count))) != float(count):
                raise ValueError
            count = number
        except (TypeError, ValueError, OverflowError):
            layout.faults.append(f"nc: a whole number of classes is expected, not {count!r}")
            return
    if names is None:
        if not count or count < 1:
            layout.faults.append("names: a list of class names is required, or nc, the number of classes")
        layout.count = count or 0
        return
    if not isinstance(names, list | dict) or not names:
        layout.faults.append("names: a list of class names is required, by the number of the class")
        return
    if count is not None and count != len(names):
        layout.faults.append(f"names: {len(names)} are listed, but nc is {count}")
        return
    numbered = names if isinstance(names, dict) else dict(enumerate(names))
    try:
        named = {int(key): str(name) for key, name in numbered.items()}
    except (TypeError, ValueError):
        named = {}
    if set(named) != set(range(len(names))):
        layout.faults.append(f"names: the keys must be 0 to {len(names) - 1}")
        return
    layout.names, layout.count = tuple(named[index] for index in range(len(named))), len(named)


def _read_skeleton(config: dict[str, Any], layout: Layout) -> None:
    shape, flip, sigmas = (config.get(key) for key in ("kpt_shape", "flip_idx", "kpt_oks_sigmas"))
    if not isinstance(shape, list) or len(shape) != 2 or not all(type(value) is int for value in shape):
        if shape is not None:
            layout.skeleton_faults.append(f"kpt_shape: [keypoints, 2 or 3] is expected, not {shape!r}")
        return
    count = shape[0]
    if flip is not None and (
        not isinstance(flip, list) or sorted(map(str, flip)) != sorted(map(str, range(count)))
    ):
        layout.skeleton_faults.append(f"flip_idx: each of the {count} keypoints is to stand there once")
        flip = None
    if sigmas is not None and not _are_sigmas(sigmas, count):
        layout.skeleton_faults.append(f"kpt_oks_sigmas: {count} numbers above 0 are expected, not {sigmas!r}")
        sigmas = None
    if count:
        layout.skeleton = Skeleton(
            count, shape[1], tuple(map(int, flip or ())), tuple(map(float, sigmas or ()))
        )


def _are_sigmas(value: Any, count: int) -> bool:
    numbers = value if isinstance(value, list) else []
    return len(numbers) == count and all(type(one) in (int, float) and 0 < one < 100 for one in numbers)


def _read_splits(path: Path, config: dict[str, Any], datasets: Path | None, layout: Layout) -> None:
    root = _root(path, config, datasets, layout)
    if root is None:
        return
    for split in SPLITS:
        entries = config.get(split)
        if not entries:
            if split in REQUIRED:
                layout.faults.append(f"{split}: this split is required")
            continue
        found, gone, spelling = Found(), None, ""
        for entry in entries if isinstance(entries, list) else [entries]:
            place = _place(root, entry, isinstance(entries, str))
            if (kind := _kind(place)) == stat.S_IFDIR:
                found.add(images_in(place))
            elif kind == stat.S_IFREG and suffix_of(place.name) in IMAGE_SUFFIXES:
                found.faults.append(f"{split}: {place} is an image; name its folder, or a list of images")
            elif kind == stat.S_IFREG:
                found.add(listed_in(place))
            else:
                gone, spelling = place, _spelling(entry)
        if gone is not None and split == "test":
            layout.notes.append(
                Note(
                    "split_left_out",
                    f"test: {gone} is not there: accuracy is reported on val.",
                    "Take the key out of the file, or put the images there.",
                )
            )
            continue
        if gone is not None:
            layout.faults.append(
                f"{split}: {gone} is neither a folder of images nor a list of them{spelling}"
            )
            continue
        layout.faults += found.faults
        if not found.images and not found.faults:
            layout.faults.append(f"{split}: no images in {entries!r} (looked in {root}){_instead(found)}")
        layout.images[split] = tuple(sorted(found.images, key=str))
        layout.notes += notes_of(split, found)


def _root(path: Path, config: dict[str, Any], datasets: Path | None, layout: Layout) -> Path | None:
    """Return what the paths of splits are relative to: ultralytics' root, or else one beside the file."""
    given: str | None = config.get("path")
    beside = path.parent.absolute()
    if not given:
        return beside
    theirs = Path(given)
    if _kind(theirs) is None and not theirs.is_absolute() and datasets is not None:
        theirs = datasets / theirs
    ours = beside / given
    if _has(theirs, config):
        if not _same(ours, theirs) and _has(ours, config):
            text = f"path: {given!r} is {theirs.absolute()}, as ultralytics has it; {ours} is there too."
            layout.notes.append(Note("read_elsewhere", text, "Give an absolute path to be certain."))
        return theirs.absolute()
    if _kind(ours) is not None and not _same(ours, theirs):
        text = f"path: {given!r} is read from {ours}; ultralytics would look in {theirs.absolute()}."
        layout.notes.append(Note("read_elsewhere", text, "Give an absolute path to have both read the same."))
        return ours
    if _kind(theirs) is None:
        places = " and no ".join(str(place) for place in dict.fromkeys((theirs.absolute(), ours)))
        layout.faults.append(f"path: there is no {places}{_spelling(given)}")
        return None
    return theirs.absolute()


def _kind(path: Path) -> int | None:
    """Return what lies at a path, behind its links, as `stat.S_IFMT` tells it; None where nothing does."""
    try:
        return stat.S_IFMT(path.stat().st_mode)
    except OSError:
        return None


def _same(one: Path, other: Path) -> bool:
    return os.path.realpath(one) == os.path.realpath(other)


def _has(root: Path, config: dict[str, Any]) -> bool:
    """Tell whether all places of the required splits are below a root."""
    return all(
        _kind(_place(root, entry, isinstance(config[split], str))) is not None
        for split in REQUIRED
        if config.get(split)
        for entry in ([config[split]] if isinstance(config[split], str) else config[split])
    )


def _place(root: Path, entry: str, is_alone: bool) -> Path:
    """Return where an entry of a split is; Roboflow's ``../train/images`` also means ``train/images``."""
    place = Path(os.path.realpath(root / entry))
    if _kind(place) is None and is_alone and entry.startswith("../"):
        return Path(os.path.realpath(root / entry[3:]))
    return place


def _spelling(path: str) -> str:
    """Say what of a path that is not there would be read elsewhere, and is not by ultralytics either."""
    if "\\" in path:
        return "; write / for \\ between folders"
    if path.startswith("~") or "$" in path:
        return "; ~ and variables are not replaced: write the path in full"
    if any(sign in path for sign in "*?"):
        return "; patterns are not replaced: name the folder"
    return "; nothing is downloaded" if "://" in path else ""


def _instead(found: Found) -> str:
    if found.unread:
        return f"; {found.unread[0]} is in no format that is read"
    return f"; {found.hidden[0]} is hidden" if found.hidden else ""


def notes_of(split: str, found: Found) -> Iterable[Note]:
    """Note what of a split was passed over, or counts twice."""
    if found.hidden:
        are_read = not set(found.hidden).isdisjoint(found.images)
        done = "are read, as ultralytics does" if are_read else "are not read, as ultralytics does not"
        yield Note(
            "hidden_files",
            f"{split}: {count_nouns(len(found.hidden), 'image')} in hidden folders "
            f"or with hidden names {done}, "
            f"such as {found.hidden[0]}.",
            "Remove them, or give them a name without a dot before it.",
        )
    if found.unread:
        yield Note(
            "not_read",
            f"{split}: {len(found.unread)} in no format that ultralytics reads are left out, such as "
            f"{found.unread[0]}.",
            "Convert them to PNG or JPEG, if they belong to the data set.",
        )
    if found.elsewhere:
        yield Note(
            "read_elsewhere",
            f"{split}: {count_nouns(len(found.elsewhere), 'line')} of its list, "
            f"such as {found.elsewhere[0]!r}, "
            "are read from beside the list; ultralytics would look in the working folder.",
            "Begin such lines with ./ to have both read the same.",
        )
    if twice := [image for image, times in Counter(found.images).items() if times > 1]:
        yield Note(
            "duplicate_images",
            f"{split}: {count_nouns(len(twice), 'image')} found twice count twice, as in ultralytics, "
            f"such as {twice[0]}.",
            "List each image once.",
        )
