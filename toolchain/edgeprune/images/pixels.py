"""From an image in memory to the network's input: the arithmetic that `preprocess.Preprocess` describes.

It is that of ultralytics' validators. For detection, with square batches (`rect=False`): the long side is
scaled to the input size with bilinear interpolation, the rest is padded around the centre.
For classification: the short side is scaled, with Pillow's antialiasing, and the centre is cut out.

This file travels to the device with the worker: numpy, and inside the functions OpenCV or Pillow.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from edgeprune.images.preprocess import Preprocess

Image = npt.NDArray[np.uint8]
Tensor = npt.NDArray[np.float32]

LETTERBOX: Final = "bilinear, long side to imgsz, centred letterbox"
CENTRE_CROP: Final = "bilinear with antialiasing, short side to imgsz, centre crop"


@dataclass(frozen=True)
class Placement:
    """Where a resized image lies: ``x_input = x_unit * width + left`` for x_unit in [0, 1], in pixels."""

    width: int
    height: int
    left: int
    top: int


def letterbox(image: Image, spec: Preprocess) -> tuple[Image, Placement]:
    """Scale and pad a BGR image of shape (h, w, 3) to (imgsz, imgsz, 3), uint8."""
    height, width = image.shape[:2]
    ratio = spec.imgsz / max(height, width)
    if ratio != 1:
        import cv2

        width, height = (min(math.ceil(side * ratio), spec.imgsz) for side in (width, height))
        image = np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR), dtype=np.uint8)
    # -0.1 / +0.1 split an odd padding as ultralytics' LetterBox does.
    left, top = round((spec.imgsz - width) / 2 - 0.1), round((spec.imgsz - height) / 2 - 0.1)
    canvas = np.full((spec.imgsz, spec.imgsz, 3), spec.pad, dtype=np.uint8)
    canvas[top : top + height, left : left + width] = image
    return canvas, Placement(width, height, left, top)


def centre_crop(image: Image, spec: Preprocess) -> tuple[Image, Placement]:
    """Scale and cut a BGR image of shape (h, w, 3) to (imgsz, imgsz, 3), uint8, as torchvision does."""
    height, width = image.shape[:2]
    short = min(height, width)
    if short != spec.imgsz:
        from PIL import Image as Pillow

        height, width = (spec.imgsz * side // short for side in (height, width))
        resized = Pillow.fromarray(image).resize((width, height), Pillow.Resampling.BILINEAR)
        image = np.asarray(resized, dtype=np.uint8)
    left, top = round((width - spec.imgsz) / 2), round((height - spec.imgsz) / 2)
    cut = image[top : top + spec.imgsz, left : left + spec.imgsz]
    return cut, Placement(width, height, -left, -top)


def to_tensor(canvas: Image, spec: Preprocess) -> Tensor:
    """Turn a resized BGR image into a float32 tensor of shape (1, 3, imgsz, imgsz), RGB, scaled."""
    planes = np.ascontiguousarray(canvas[:, :, ::-1].transpose(2, 0, 1)[None])
    # Divided in float32, as torch does, so that both sides of a comparison see the same bits.
    return planes.astype(np.float32) / np.float32(1 / spec.scale)


def to_input(image: Image, spec: Preprocess) -> tuple[Tensor, Placement]:
    """Resize and scale a BGR image: float32 (1, 3, imgsz, imgsz), and where the image lies in it."""
    fit = centre_crop if spec.resize == CENTRE_CROP else letterbox
    canvas, placement = fit(image, spec)
    return to_tensor(canvas, spec), placement
