"""The stock images: photographs, distinct, always the same, and scaled as OpenCV scales."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from sklearn.datasets import load_sample_images

from edgeprune.bench.stock import photograph, stock_images
from edgeprune.images.pixels import CENTRE_CROP, LETTERBOX
from edgeprune.images.preprocess import Preprocess


def test_stock_images_are_distinct_photographs_and_always_the_same() -> None:
    images = stock_images(Preprocess(48))
    assert images.shape == (32, 3, 48, 48) and 0 <= images.min() < images.max() <= 1
    assert len({image.tobytes() for image in images}) == 32
    assert np.array_equal(images, stock_images(Preprocess(48)))


@pytest.mark.parametrize("size", [(24, 32), (96, 32), (288, 800)])
def test_an_input_that_is_no_square_is_filled(size: tuple[int, int]) -> None:
    images = stock_images(Preprocess(size))
    assert images.shape == (32, 3, *size)
    grey = (images == np.float32(114 / 255)).all(axis=1)
    assert grey[:, 0].mean() < 0.5 and grey[:, :, 0].mean() < 0.5, "nothing is padded"


def test_the_photographs_are_those_of_scikit_learn() -> None:
    assert photograph().flags.c_contiguous
    apart = photograph()[:, :, ::-1].astype(int) - load_sample_images().images[0]
    assert np.abs(apart).mean() < 1  # decoders of JPEG differ a little


@pytest.mark.parametrize("imgsz", [160, 640])
@pytest.mark.parametrize("resize", [LETTERBOX, CENTRE_CROP])
def test_they_are_scaled_as_opencv_scales(imgsz: int, resize: str) -> None:
    (found, *_) = stock_images(Preprocess(imgsz, resize=resize))  # type: ignore[arg-type]
    generator = np.random.default_rng(0)
    photo = load_sample_images().images[0]
    top, left = (int(generator.integers(0, side // 2)) for side in photo.shape[:2])
    side = min(427 - top, 640 - left)
    crop = np.ascontiguousarray(photo[top : top + side, left : left + side])
    expected = cv2.resize(crop, (imgsz, imgsz), interpolation=cv2.INTER_LINEAR)
    apart = np.abs(found.transpose(1, 2, 0) * 255 - expected)
    assert apart.max() < 1.5 and apart.mean() < 0.2
