"""Preprocessing as data: one spec for calibration, evaluation, the exported file and the device's runner.

The arithmetic is in `images/pixels.py`.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import ConfigDict, Field

from edgeprune.core.errors import DataError
from edgeprune.core.files import read_bytes
from edgeprune.images.pixels import (
    BICUBIC_CROP,
    CENTRE_CROP,
    CROPS,
    LETTERBOX,
    SELDOM,
    Image,
    Placement,
    Tensor,
    centre_crop,
    letterbox,
    to_input,
    to_tensor,
)
from edgeprune.images.size import input_shape, sides, size_of

__all__ = [
    "BICUBIC_CROP",
    "CENTRE_CROP",
    "CROPS",
    "LETTERBOX",
    "Image",
    "Placement",
    "Preprocess",
    "Resize",
    "Tensor",
    "centre_crop",
    "letterbox",
    "load_input",
    "read_image",
    "to_input",
    "to_tensor",
]

Resize = Literal[
    "bilinear, long side to imgsz, centred letterbox",
    "bilinear with antialiasing, short side to imgsz, centre crop",
    "bicubic with antialiasing, short side to imgsz, centre crop",
]


Side = Annotated[int, Field(ge=1)]
Divisor = Annotated[float, Field(gt=0)]


@dataclass(frozen=True)
class Preprocess:
    """How an image file becomes the network's input.

    Attributes:
        imgsz: side of the square input, or its height and width, in pixels.
        colour: order of the tensor's planes.
        scale: factor on the 0-255 values.
        pad: grey level of the letterbox; None where nothing is padded.
        layout: order of the tensor's dimensions.
        resize: `LETTERBOX`, `CENTRE_CROP` or `BICUBIC_CROP`.
        mean, std: what is taken off each plane after the scale, and what it is then divided by; None for
            nothing.
        batch: images that the network takes at once, always so many.
        crop: of a centre crop, the share of the scaled short side that the input covers: 0.875 is 224 of 256.
    """

    __pydantic_config__: ClassVar = ConfigDict(extra="forbid")

    imgsz: Side | tuple[Side, Side]
    colour: Literal["RGB", "BGR"] = "RGB"
    scale: Annotated[float, Field(gt=0)] = 1 / 255
    pad: Annotated[int, Field(ge=0, le=255)] | None = 114
    layout: Literal["NCHW"] = "NCHW"
    resize: Resize = LETTERBOX
    mean: tuple[float, float, float] | None = None
    std: tuple[Divisor, Divisor, Divisor] | None = None
    batch: Annotated[int, Field(ge=1)] = 1
    crop: Annotated[float, Field(gt=0.1, le=1)] = 1.0

    def __post_init__(self) -> None:
        """Take a height and a width that are the same for the side of a square."""
        if not isinstance(self.imgsz, int):
            object.__setattr__(self, "imgsz", size_of(*sides(self.imgsz)))

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Shape of one image as the network takes it."""
        return input_shape(self.imgsz)

    @property
    def batch_shape(self) -> tuple[int, int, int, int]:
        """Shape of the network's input, all images of a batch in it."""
        return input_shape(self.imgsz, self.batch)

    def told(self) -> dict[str, Any]:
        """Return it as JSON has it: what is not done to an image is left out, and a batch of one."""
        told = asdict(self)
        return {key: value for key, value in told.items() if key not in SELDOM or value != SELDOM[key]}


def read_image(path: Path) -> Image:
    """Read an image file as BGR uint8 of shape (h, w, 3), as ultralytics' `imread` does.

    Raises:
        DataError: the file is missing or is not an image.
    """
    return decode_image(np.frombuffer(read_bytes(path, DataError), dtype=np.uint8), path)


def decode_image(raw: Image, path: Path) -> Image:
    """Decode the bytes of an image file, uint8 (n,), as BGR uint8 of shape (h, w, 3).

    Args:
        path: of the file; its suffix tells how TIFF, AVIF and HEIC are read.

    Raises:
        DataError: it is not an image.
    """
    import cv2

    suffix, image = path.suffix.lower(), None
    try:
        if raw.size and suffix in (".tif", ".tiff"):
            pages = cv2.imdecodemulti(raw, cv2.IMREAD_UNCHANGED)[1]
            if pages and pages[0].ndim == 3:  # a grey one is read below
                image = pages[0][..., :3]
        if raw.size and suffix in (".avif", ".heic", ".heif"):
            image = _by_pillow(path)
        if raw.size and image is None:
            image = cv2.imdecode(raw, cv2.IMREAD_COLOR)
    except (cv2.error, MemoryError) as exc:  # such as one that claims more pixels than OpenCV allows
        raise DataError(f"{path}: not an image that OpenCV can read: {' '.join(str(exc).split())}") from exc
    if image is None:
        raise DataError(f"{path}: not an image that OpenCV can read")
    if image.dtype == np.uint16:
        image = image >> 8
    if image.shape[2] != 3 or image.dtype not in (np.uint8, np.uint16):
        raise DataError(f"{path}: an image of three colours in integers is needed, not {image.dtype}")
    return np.asarray(image, dtype=np.uint8)


def _by_pillow(path: Path) -> Image | None:
    """Read an image upright by Pillow, which OpenCV lacks or turns otherwise; None where it cannot either."""
    import cv2
    from PIL import Image as Pillow
    from PIL import ImageOps

    try:
        with Pillow.open(path) as opened:
            upright = ImageOps.exif_transpose(opened).convert("RGB")
            return np.asarray(cv2.cvtColor(np.asarray(upright), cv2.COLOR_RGB2BGR), dtype=np.uint8)
    except Exception:  # whatever a plug-in raises
        return None


def load_input(path: Path, spec: Preprocess) -> tuple[Tensor, Placement]:
    """Read, resize and scale one image: float32 (1, 3, h, w), and where the image lies in it."""
    return to_input(read_image(path), spec)
