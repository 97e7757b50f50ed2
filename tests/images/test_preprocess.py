"""Preprocessing: the same pixels as ultralytics' validator, in memory that the runtimes take."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from timm.data import create_transform
from torchvision.transforms import InterpolationMode, Normalize
from torchvision.transforms._presets import ImageClassification
from ultralytics.data.augment import LetterBox, classify_transforms
from ultralytics.utils.patches import imread

from edgeprune.core.documents import validate
from edgeprune.core.errors import DataError
from edgeprune.images.dataset import Dataset
from edgeprune.images.preprocess import (
    BICUBIC_CROP,
    CENTRE_CROP,
    Preprocess,
    Resize,
    centre_crop,
    letterbox,
    load_input,
    read_image,
    to_input,
    to_tensor,
)


@settings(deadline=None)
@given(st.integers(1, 150), st.integers(1, 150), st.sampled_from((32, 64, 96)))
def test_an_image_of_any_size_fills_one_side_and_its_boxes_stay_inside(
    height: int, width: int, imgsz: int
) -> None:
    image = np.zeros((height, width, 3), np.uint8)
    canvas, place = letterbox(image, Preprocess(imgsz))
    assert canvas.shape == (imgsz, imgsz, 3)
    assert max(place.width, place.height) == imgsz
    assert place.left >= 0
    assert place.top >= 0
    inside = canvas[place.top : place.top + place.height, place.left : place.left + place.width]
    assert inside.shape[:2] == (place.height, place.width)
    assert not inside.any()
    assert (canvas == 114).all(axis=-1).sum() == imgsz**2 - place.width * place.height


@pytest.mark.parametrize("shape", [(64, 96), (96, 64), (64, 64), (71, 93), (200, 33), (33, 200), (20, 31)])
def test_the_pixels_are_those_of_ultralytics_square_letterbox(shape: tuple[int, int]) -> None:
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    ratio = 64 / max(shape)  # load_image of the validator scales first, LetterBox pads
    size = tuple(min(int(np.ceil(side * ratio)), 64) for side in shape)
    scaled = cv2.resize(image, size[::-1], interpolation=cv2.INTER_LINEAR) if ratio != 1 else image
    expected = LetterBox(new_shape=(64, 64), auto=False, scaleup=False)(image=scaled)
    np.testing.assert_array_equal(letterbox(image, Preprocess(64))[0], expected)


WIDE = st.tuples(st.integers(1, 150), st.integers(1, 150), st.sampled_from(((64, 96), (96, 64), (32, 128))))


@settings(deadline=None)
@given(WIDE)
def test_the_letterbox_of_a_rectangle_is_what_predict_makes_and_what_val_loads(
    case: tuple[int, int, tuple[int, int]],
) -> None:
    """Pixel by pixel where both round alike; else the image is a pixel larger, as the validator loads it."""
    height, width, size = case
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    theirs = LetterBox(new_shape=size, auto=False)
    canvas, place = letterbox(image, Preprocess(size))
    params = theirs.get_params({"img": image})
    predicted = params["new_unpad"]
    assert abs(place.width - predicted[0]) + abs(place.height - predicted[1]) <= 1
    if (place.width, place.height) == predicted:
        np.testing.assert_array_equal(canvas, theirs(image=image))
    ratio = max(size) / max(height, width)
    loaded = tuple(min(int(np.ceil(side * ratio)), max(size)) for side in (height, width))
    if loaded[0] <= size[0] and loaded[1] <= size[1]:
        scaled = cv2.resize(image, loaded[::-1]) if loaded != (height, width) else image
        padded = LetterBox(new_shape=size, auto=False, scaleup=False)(image=scaled)
        np.testing.assert_array_equal(canvas, padded)


@pytest.mark.parametrize("shape", [(64, 96), (96, 65), (64, 64), (71, 93), (200, 33), (333, 500), (20, 31)])
@pytest.mark.parametrize("imgsz", [32, 64])
def test_the_pixels_are_those_of_ultralytics_classify_transforms(
    tmp_path: Path, shape: tuple[int, int], imgsz: int
) -> None:
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    cv2.imwrite(str(tmp_path / "image.png"), image)
    tensor, place = load_input(tmp_path / "image.png", Preprocess(imgsz, pad=None, resize=CENTRE_CROP))
    expected = classify_transforms(imgsz)(Image.fromarray(image[..., ::-1]))
    np.testing.assert_array_equal(tensor[0], expected.numpy())
    assert min(place.width, place.height) == imgsz
    assert place.left <= 0
    assert place.top <= 0


@pytest.mark.parametrize("shape", [(64, 96), (96, 65), (20, 31), (333, 500)])
@pytest.mark.parametrize(
    ("imgsz", "scaled", "resize"), [(64, 73, CENTRE_CROP), (65, 68, BICUBIC_CROP), (32, 32, BICUBIC_CROP)]
)
def test_the_pixels_are_those_of_torchvision_and_timm(
    shape: tuple[int, int], imgsz: int, scaled: int, resize: Resize
) -> None:
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    spec = Preprocess(imgsz, pad=None, resize=resize, crop=imgsz / scaled, **IMAGENET)
    tensor, _ = to_input(image, spec)
    kind = "bicubic" if resize == BICUBIC_CROP else "bilinear"
    picture = Image.fromarray(image[..., ::-1])
    for theirs in (
        ImageClassification(
            crop_size=imgsz, resize_size=scaled, interpolation=InterpolationMode(kind), antialias=True
        ),
        create_transform(
            (3, imgsz, imgsz), interpolation=kind, crop_pct=imgsz / scaled,
            mean=IMAGENET["mean"], std=IMAGENET["std"],
        ),
    ):  # fmt: skip
        np.testing.assert_allclose(tensor[0], theirs(picture).numpy(), atol=2e-6)


def test_the_tensor_is_rgb_in_the_unit_range_bit_for_bit_as_torch_scales_it() -> None:
    canvas = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    tensor = to_tensor(canvas, Preprocess(32))
    assert tensor.shape == (1, 3, 32, 32)
    assert tensor.dtype == np.float32
    assert tensor.flags.c_contiguous
    theirs = torch.from_numpy(canvas[..., ::-1].transpose(2, 0, 1)[None].copy()).float() / 255
    np.testing.assert_array_equal(tensor, theirs.numpy())


IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}


def test_mean_and_deviation_are_taken_as_torchvision_takes_them() -> None:
    canvas = np.random.default_rng(0).integers(0, 256, (32, 48, 3), dtype=np.uint8)
    tensor = to_tensor(canvas, Preprocess((32, 48), **IMAGENET))
    theirs = torch.from_numpy(canvas[..., ::-1].transpose(2, 0, 1)[None].copy()).float() / 255
    theirs = Normalize(*IMAGENET.values())(theirs)
    np.testing.assert_allclose(tensor, theirs.numpy(), atol=1e-6)


def test_a_network_may_take_its_colours_as_opencv_has_them() -> None:
    canvas = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    tensor = to_tensor(canvas, Preprocess(32, colour="BGR", scale=1.0))
    np.testing.assert_array_equal(tensor[0].transpose(1, 2, 0), canvas)


@settings(deadline=None)
@given(st.integers(1, 150), st.integers(1, 150), st.sampled_from(((32, 64), (96, 64), (64, 65))))
def test_an_input_that_is_no_square_is_filled_as_far_as_proportions_allow_or_covered(
    height: int, width: int, size: tuple[int, int]
) -> None:
    image = np.zeros((height, width, 3), np.uint8)
    canvas, place = letterbox(image, Preprocess(size))
    assert canvas.shape == (*size, 3)
    assert place.height == size[0] or place.width == size[1]
    assert place.left >= 0 and place.top >= 0
    assert place.left + place.width <= size[1] and place.top + place.height <= size[0]
    cut, place = centre_crop(image, Preprocess(size, pad=None, resize=CENTRE_CROP))
    assert cut.shape == (*size, 3)
    assert place.height == size[0] or place.width == size[1]
    assert place.left <= 0 and place.top <= 0


@pytest.mark.parametrize(
    "spec", [Preprocess(320), Preprocess((96, 160), colour="BGR", **IMAGENET), Preprocess((64, 64))]
)
def test_the_spec_is_plain_data(spec: Preprocess) -> None:
    assert validate(Preprocess, json.loads(json.dumps(spec.told())), "a file", DataError) == spec


def test_a_spec_says_nothing_of_what_is_not_done() -> None:
    """So that files of today's models are, byte for byte, what they were before there was more to say."""
    assert list(Preprocess((64, 64)).told()) == ["imgsz", "colour", "scale", "pad", "layout", "resize"]
    assert Preprocess((64, 64)).told()["imgsz"] == 64


def test_a_file_becomes_an_input(tiny: Dataset) -> None:
    tensor, place = load_input(tiny.images["val"][0], Preprocess(64))
    assert tensor.shape == (1, 3, 64, 64)
    assert 64 in (place.width, place.height)


@pytest.mark.parametrize("content", [None, b"", b"plain text"])
def test_what_is_not_an_image_is_named(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "x.jpg"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        read_image(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def files_of_all_kinds() -> dict[str, bytes]:
    """Return pictures whose suffix or depth decides how they are read."""
    pixels = np.random.default_rng(1).integers(0, 256, (40, 48, 4), dtype=np.uint8)
    colour, deep = pixels[..., :3], pixels[..., :3].astype(np.uint16) * 257
    kinds = {
        "grey.tif": pixels[..., 0], "alpha.tif": pixels, "deep.tif": deep, "deep grey.tif": deep[..., 0],
        "colour.tiff": colour, "alpha.png": pixels, "deep.png": deep, "colour.avif": colour,
        "colour.webp": colour, "colour.jp2": colour, "colour.BMP": colour,
    }  # fmt: skip
    return {name: cv2.imencode(Path(name).suffix, image)[1].tobytes() for name, image in kinds.items()}


@pytest.mark.parametrize("name", files_of_all_kinds())
def test_a_file_of_any_kind_has_the_pixels_that_ultralytics_trains_on(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(files_of_all_kinds()[name])
    np.testing.assert_array_equal(read_image(path), imread(path))
