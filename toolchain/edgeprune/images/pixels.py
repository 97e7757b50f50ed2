"""From an image in memory to the network's input: the arithmetic that `preprocess.Preprocess` describes.

It is that of ultralytics' validators. For detection, with square batches (`rect=False`): the long side is
scaled to the input size with bilinear interpolation, the rest is padded around the centre.
For classification: the short side is scaled, with Pillow's antialiasing, and the centre is cut out. That is
also what torchvision's and timm's transforms do, with a crop share and an interpolation of their own.
An input that is no square is filled as far as the image's proportions allow, or covered by it: the letterbox
is what ultralytics' `predict` makes for that height and width, and `val` of a file that was exported at them.

This file travels to the device with the worker: numpy, and inside the functions OpenCV or Pillow.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

from edgeprune.images.size import sides

if TYPE_CHECKING:
    from edgeprune.images.preprocess import Preprocess

Image = npt.NDArray[np.uint8]
Tensor = npt.NDArray[np.float32]

LETTERBOX: Final = "bilinear, long side to imgsz, centred letterbox"
CENTRE_CROP: Final = "bilinear with antialiasing, short side to imgsz, centre crop"
BICUBIC_CROP: Final = "bicubic with antialiasing, short side to imgsz, centre crop"
CROPS: Final = (CENTRE_CROP, BICUBIC_CROP)
SELDOM: Final = {"mean": None, "std": None, "batch": 1, "crop": 1.0}
"""What a document of a preprocess leaves out where it says nothing."""


@dataclass(frozen=True)
class Placement:
    """Where a resized image lies: ``x_input = x_unit * width + left`` for x_unit in [0, 1], in pixels."""

    width: int
    height: int
    left: int
    top: int


def fitted_size(height: int, width: int, high: int, wide: int) -> tuple[int, int]:
    """Return the height and width that an image is scaled to, to fill an input as far as it can, in pixels.

    Its long side becomes that of the input, and the other one is rounded up, as ultralytics' validators load
    images. An image of other proportions than a rectangle would stand out of it then: it is scaled until it
    fits, and rounded to the nearest pixel, as ultralytics' LetterBox does.
    """
    long = max(high, wide)
    ratio = long / max(height, width)
    tall, broad = min(math.ceil(height * ratio), long), min(math.ceil(width * ratio), long)
    if tall > high or broad > wide:
        ratio = min(high / height, wide / width)
        tall, broad = max(round(height * ratio), 1), max(round(width * ratio), 1)
    return tall, broad


def letterbox(image: Image, spec: Preprocess) -> tuple[Image, Placement]:
    """Scale and pad a BGR image of shape (h, w, 3) to the spec's height and width, uint8."""
    (high, wide), size = sides(spec.imgsz), image.shape[:2]
    height, width = fitted_size(size[0], size[1], high, wide)
    if (height, width) != size:
        import cv2

        image = np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR), dtype=np.uint8)
    # -0.1 / +0.1 split an odd padding as ultralytics' LetterBox does.
    left, top = round((wide - width) / 2 - 0.1), round((high - height) / 2 - 0.1)
    canvas = np.full((high, wide, 3), spec.pad, dtype=np.uint8)
    canvas[top : top + height, left : left + width] = image
    return canvas, Placement(width, height, left, top)


def centre_crop(image: Image, spec: Preprocess) -> tuple[Image, Placement]:
    """Scale and cut a BGR image of shape (h, w, 3) to the spec's height and width, uint8, as torchvision.

    Where `crop` is below 1 the image is made larger by that share, as torchvision's 256 before 224.
    """
    (high, wide), (height, width) = sides(spec.imgsz), image.shape[:2]
    tall, broad = math.floor(high / spec.crop), math.floor(wide / spec.crop)
    if tall * width >= broad * height:  # its height is what has to be scaled most
        scaled = tall, tall * width // height
    else:
        scaled = broad * height // width, broad
    if scaled != (height, width):
        from PIL import Image as Pillow

        height, width = scaled
        kind = Pillow.Resampling.BICUBIC if spec.resize == BICUBIC_CROP else Pillow.Resampling.BILINEAR
        image = np.asarray(Pillow.fromarray(image).resize((width, height), kind), dtype=np.uint8)
    left, top = round((width - wide) / 2), round((height - high) / 2)
    cut = image[top : top + high, left : left + wide]
    return cut, Placement(width, height, -left, -top)


def to_tensor(canvas: Image, spec: Preprocess) -> Tensor:
    """Turn a resized BGR image into a float32 tensor of shape (1, 3, h, w), scaled, in the spec's colours."""
    pixels = canvas[:, :, ::-1] if spec.colour == "RGB" else canvas
    planes = np.ascontiguousarray(pixels.transpose(2, 0, 1)[None])
    # Divided in float32, as torch does, so that both sides of a comparison see the same bits.
    tensor = planes.astype(np.float32) / np.float32(1 / spec.scale)
    if spec.mean is not None:
        tensor -= by_plane(spec.mean)
    if spec.std is not None:
        tensor /= by_plane(spec.std)
    return tensor


def by_plane(numbers: Sequence[float]) -> Tensor:
    """Return three numbers, one a plane of a tensor, in a shape that goes with it: float32 (1, 3, 1, 1)."""
    return np.asarray(numbers, dtype=np.float32).reshape(1, 3, 1, 1)


def to_canvas(image: Image, spec: Preprocess) -> tuple[Image, Placement]:
    """Resize a BGR image to the spec's height and width, uint8 (h, w, 3), and tell where it lies there."""
    fit = centre_crop if spec.resize in CROPS else letterbox
    return fit(image, spec)


def to_input(image: Image, spec: Preprocess) -> tuple[Tensor, Placement]:
    """Resize and scale a BGR image: float32 (1, 3, h, w), and where the image lies in it."""
    canvas, placement = to_canvas(image, spec)
    return to_tensor(canvas, spec), placement
