"""Data sets in the layouts that ultralytics accepts, drawn by hypothesis and written to a folder."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from hypothesis import strategies as st

NAMES = ("ant", "bee", "cat")


def encoded(suffix: str, height: int = 14, width: int = 18) -> bytes:
    """Return a small picture as a file of that suffix."""
    pixels = np.random.default_rng(height).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return cv2.imencode(suffix, pixels)[1].tobytes()


JPEG = encoded(".jpg")
# By suffix, what a file of it may hold; the first one is sound.
PICTURES: dict[str, tuple[bytes, ...]] = {
    ".jpg": (
        JPEG,
        JPEG + b"\0\0trailing",
        JPEG[:-2],
        JPEG[: len(JPEG) // 2],
        encoded(".jpg", 8, 8),
        b"GIF89a\1\0\1\0\0\0\0;",
        encoded(".png"),
        b"",
        b"no image",
    ),
    ".png": (encoded(".png"), encoded(".png")[:-9]),
    ".JPEG": (JPEG, JPEG + b"\xff"),
    ".webp": (encoded(".webp"),),
    ".bmp": (encoded(".bmp"),),
    ".tif": (encoded(".tif"),),
    ".jp2": (encoded(".jp2", 32, 32),),
    ".avif": (encoded(".avif"),),
    ".gif": (b"GIF89a\1\0\1\0\0\0\0;",),
}
# None is no label file at all.
LABELS: tuple[bytes | None, ...] = (
    b"0 0.5 0.5 0.2 0.2\n",
    b"1 0.5 0.5 0.2 0.2\r\n\r\n2 0.25 0.5 0.1 0.4\r\n",
    None,
    b"",
    b" \n\n",
    "\ufeff2 0.5 0.5 0.2 0.2\n".encode(),
    b"0 -0.0004 0.5 0.2 0.2\n",
    b"0 1.005 0.5 0.2 0.2",
    b"0 -0.02 0.5 0.2 0.2\n",
    b"0 0.5 0.5 -0.001 0.2\n",
    b"0 0.1 0.1 0.5 0.1 0.4 0.7 0.2 0.3\n1 0.2 0.2 0.4 0.2 0.3 0.4\n",
    b"0 0.1 0.1 0.5 0.1 0.4 0.7\n0 0.1 0.1 0.5 0.1 0.4 0.7\n0 0.1 0.7 0.5 0.1 0.4 0.7\n",
    b"0 0.1 0.1 0.5 0.1 0.4 0.7\n0 0.5 0.5\n",
    b"0 0.1 0.1 0.5 0.1 0.4 1.7\n",
    b"0 0.5 0.5 0.2 0.2\n1 0.1 0.1 0.5 0.1 0.4 0.7\n",
    b"0 0.5 0.5 0.2 0.2 0.9\n",
    b"0 0.5 0.5 0.2\n",
    b"0 0.5 0.5 0.2 0.2\n0 0.5 0.5 0.2 0.2\n0 0.1 0.5 0.2 0.2\n",
    b"3 0.5 0.5 0.2 0.2\n",
    b"0.5 0.5 0.5 0.2 0.2\n",
    b"-1 0.5 0.5 0.2 0.2\n",
    b"nan 0.5 0.5 0.2 0.2\n",
    b"0 0.5 nan 0.2 0.2\n",
    b"0 0.5 inf 0.2 0.2\n",
    b"0 0.5 0.5 0.2 wide\n",
    b"2.0 5e-1 .5 2E-1 0.2\t\n",
    b"\xff\xfe0\0",
)


FOLDERS = ("", "", "deep/er/", ".ipynb_checkpoints/", "[a]/", "bär 1/", "images/")


@dataclass(frozen=True)
class Tree:
    """A data set that was written.

    Attributes:
        source: its data.yaml.
        cwd: the working folder that it is read from.
    """

    source: Path
    cwd: Path


@st.composite
def entries(draw: st.DrawFn) -> dict[str, tuple[bytes, bytes | None]]:
    """Draw images by their path in a folder of images, each with its labels."""
    found = {"00.png": (PICTURES[".png"][0], LABELS[0])}  # so that no split is empty
    for number in range(draw(st.integers(0, 5))):
        folder = draw(
            st.sampled_from(("", "", "deep/er/", ".ipynb_checkpoints/", "[a]/", "bär 1/", "images/"))
        )
        hidden = draw(st.sampled_from(("", "", "", "._", ".")))
        suffix = draw(st.sampled_from(sorted(PICTURES)))
        picture = draw(st.sampled_from(PICTURES[suffix]))
        found[f"{folder}{hidden}{number}.a{suffix}"] = (picture, draw(st.sampled_from(LABELS)))
    return found


@st.composite
def trees(draw: st.DrawFn, folder: Path) -> Tree:
    """Draw a data set in one of the layouts that ultralytics documents or that users post, and write it."""
    root = folder / draw(st.sampled_from(("set", "my [set] ü")))
    is_roboflow = draw(st.booleans())
    config: dict[str, object] = {}
    for split in ("train", "val", "test"):
        place = f"{split}/images" if is_roboflow else f"images/{split}"
        (root / place).mkdir(parents=True)
        write(root, place, draw(entries()))
        form = draw(st.sampled_from(("folder", "folder", "up", "list", "lines", "link", "two", "absolute")))
        config[split] = written(root, place, split, form)
    if draw(st.booleans()):
        config["test"] = draw(st.sampled_from((None, "nowhere/images", "None")))
    if draw(st.booleans()):
        config["validation"] = config.pop("val")
    cwd = draw(st.sampled_from((folder, root)))
    config |= draw(st.sampled_from(paths_to(root, cwd)))
    config |= draw(st.sampled_from(NAMINGS))
    head, tail = draw(st.sampled_from(((b"", b""), (b"\xef\xbb\xbf", b""), (b"# caf\xe9\n", b"\n# \x00\n"))))
    lines = [f"{key}: {flow(value)}\n" for key, value in config.items()]
    source = root / "data.yaml"
    source.write_bytes(head + "".join(draw(st.permutations(lines))).encode() + tail)
    return Tree(source, cwd)


NAMINGS: tuple[dict[str, object], ...] = (
    {"names": list(NAMES)},
    {"names": list(NAMES), "nc": 3},
    {"names": dict(enumerate(NAMES))},
    {"names": {"0": "ant", "1": "bee", "2": "cat"}},
    {"nc": 3},
    {"nc": "3"},
    {"names": None, "nc": 3.0},
    {"names": ["ant", "ant", True]},
    {"names": ["dog"], "'names'": list(NAMES)},
    {"names": list(NAMES), "download": "https://example.invalid/data.zip"},
    {"names": list(NAMES), "kpt_shape": [1, 1]},
)


def paths_to(root: Path, cwd: Path) -> list[dict[str, object]]:
    """Return the ways to name the root of a data set that is read from a working folder."""
    ways: list[dict[str, object]] = [{}, {"path": str(root)}, {"path": os.path.relpath(root, cwd)}]
    return [*ways, {"path": None}, {"path": ""}]


def written(root: Path, place: str, split: str, form: str) -> object:
    """Return what a data.yaml says of a split whose images lie in a place, in one of several forms."""
    names = sorted(str(path) for path in (root / place).rglob("*.*") if path.is_file())
    match form:
        case "up":
            return f"../{place}"
        case "list":
            return [place]
        case "two":
            write(root, f"{place}2", {"01.png": (PICTURES[".png"][0], LABELS[1])})
            return [place, f"{place}2"]
        case "absolute":
            return str(root / place)
        case "link":
            (root / "far" / "images").mkdir(parents=True, exist_ok=True)
            write(root, f"far/images/{split}", {"02.jpg": (JPEG, LABELS[1])})
            (root / place / "linked").symlink_to(root / "far" / "images" / split)
            return place
        case "lines":
            lines = [f"./{place}/{name.removeprefix(f'{root / place}/')}" for name in names[::2]] + names[
                1::2
            ]
            (root / f"{split}.txt").write_text("\ufeff" + "\n".join([*lines, "", "notes.md"]))
            return f"{split}.txt"
        case _:
            return place


def write(root: Path, place: str, images: dict[str, tuple[bytes, bytes | None]]) -> None:
    """Write images and labels where YOLO's layout has them."""
    for name, (picture, label) in images.items():
        image = root / place / name
        image.parent.mkdir(parents=True, exist_ok=True)
        image.write_bytes(picture)
        if label is not None:
            before, _, after = str(image).rpartition("/images/")
            path = Path(f"{before}/labels/{after}").with_suffix(".txt")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(label)


def flow(value: object) -> str:
    """Write a value in YAML's flow style, keys of mappings quoted if they are texts."""
    match value:
        case dict():
            return "{" + ", ".join(f"{flow(key)}: {flow(entry)}" for key, entry in value.items()) + "}"
        case list():
            return "[" + ", ".join(flow(entry) for entry in value) + "]"
        case str():
            return "'" + value.replace("'", "''") + "'"
        case None:
            return ""
        case _:
            return str(value).lower() if isinstance(value, bool) else str(value)


@contextmanager
def inside(folder: Path) -> Iterator[None]:
    """Work in a folder."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)
