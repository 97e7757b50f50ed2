"""Whether an image file can be used: what ultralytics' `check_image` asks, and that it can be decoded."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgeprune.core.errors import DataError
from edgeprune.images.preprocess import decode_image
from edgeprune.images.reading.listing import IMAGE_SUFFIXES, suffix_of

LEAST_SIDE = 10
"""Pixels: ultralytics leaves smaller images out of a training."""
LARGEST_BYTES = 1 << 30
JPEG_END = b"\xff\xd9"
_JPEGS = frozenset({"jpg", "jpeg"})
_HEIF = frozenset({"heic", "heif"})


@dataclass(frozen=True)
class Picture:
    """What is known of an image by its content.

    Attributes:
        fault: why it cannot be used, without its path; empty for a sound one.
        is_ragged: a JPEG whose last bytes are not its end; ultralytics would write it anew.
    """

    fault: str = ""
    is_ragged: bool = False


def examine(path: Path) -> Picture:
    """Decode an image once and tell what is wrong with it.

    Raises:
        OSError: the file cannot be read at all.
    """
    size = path.stat().st_size
    if not 0 < size <= LARGEST_BYTES:
        return Picture("the file is empty" if not size else f"the file has {size >> 20} MiB")
    try:
        kind, height, width = _header(path)
        if fault := _unread(kind, height, width):
            return Picture(fault)
        raw = np.fromfile(path, dtype=np.uint8)
        is_ragged = kind in _JPEGS and raw[-2:].tobytes() != JPEG_END
        if is_ragged:
            _load_whole(path)
        decode_image(raw, path)
    except DataError as exc:
        return Picture(str(exc).removeprefix(f"{path}: "))
    except Exception as exc:  # whatever a decoder of Pillow raises
        return Picture(f"not a whole image: {_reason(exc, path)}")
    return Picture(is_ragged=is_ragged)


def _unread(kind: str, height: int, width: int) -> str:
    if kind not in IMAGE_SUFFIXES | {"jpeg2000"}:
        return f"it is a {kind.upper()} file, which ultralytics does not read"
    if min(height, width) < LEAST_SIDE:
        return f"{width} x {height} px; ultralytics reads images of {LEAST_SIDE} px and more"
    return ""


def _header(path: Path) -> tuple[str, int, int]:
    """Return format, height and width of an image that Pillow has verified."""
    from PIL import Image

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of large images; the largest are refused
        with Image.open(path) as image:
            width, height = image.size
            kind = (image.format or "").lower()
            image.verify()
    return kind, height, width


def _load_whole(path: Path) -> None:
    """Decode an image by Pillow, which refuses a JPEG that is cut off: so does ultralytics as it mends it."""
    from PIL import Image, ImageOps

    with Image.open(path) as image:
        ImageOps.exif_transpose(image)


def _reason(exc: Exception, path: Path) -> str:
    """Return why Pillow could not read a file.

    Of what it does not know, ultralytics' patch of it asks for a package, whatever the file is.
    """
    from PIL import UnidentifiedImageError

    if isinstance(exc, UnidentifiedImageError | ModuleNotFoundError):
        needs = suffix_of(path.name) in _HEIF and isinstance(exc, ModuleNotFoundError)
        return "HEIC needs the package pi-heif" if needs else "no format of images is recognised"
    return " ".join(str(exc).replace(repr(str(path)), "it").split()) or type(exc).__name__
