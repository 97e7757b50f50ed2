"""The demo set "digits": real handwritten digits on real photographs, rendered at first use.

The digits are the 8x8 scans that scikit-learn ships (`sklearn.datasets.load_digits`: the test part of UCI's
"Optical Recognition of Handwritten Digits", Alpaydin and Kaynak 1998); the photographs are those that
scikit-learn and ultralytics ship. Nothing is downloaded. Every image has its own random generator, seeded
by its split and number, so the same packages render the same bytes each time.
"""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from edgeprune.core.errors import DataError, OutputError
from edgeprune.core.files import reason
from edgeprune.core.locks import exclusive
from edgeprune.core.resources import cache_dir, find_bundled

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Image = NDArray[np.uint8]  # (height, width, 3), BGR
    Mask = NDArray[np.float32]  # (height, width), opacity in [0, 1]
    Box = tuple[int, int, int, int]  # left, top, right, bottom, in pixels

NAME = "digits-v1"  # the folder in the cache: a new number whenever the rendering changes
IMGSZ = 160
IMAGES: Mapping[str, int] = {"train": 800, "val": 150, "test": 150}
# Blocks, not a shuffle: neighbours tend to share a writer, whom a shuffle would spread over all splits.
SCANS: Mapping[str, range] = {"train": range(1077), "val": range(1077, 1437), "test": range(1437, 1797)}
PHOTOS = (
    ("sklearn", "datasets/images/china.jpg"),
    ("sklearn", "datasets/images/flower.jpg"),
    ("ultralytics", "assets/bus.jpg"),
    ("ultralytics", "assets/zidane.jpg"),
)


def digits_model() -> Path:
    """Return the bundled checkpoint: YOLOv8n, 10 classes, trained from scratch on this set at 160 px."""
    return find_bundled("calib") / "digits" / "digits_yolov8n_160.pt"


def digits_data(cache: Path | None = None) -> Path:
    """Return the path of the set's data.yaml, rendering the set (some seconds) when it is not there yet.

    A render goes to a folder beside its place and is renamed when it is whole; a second process waits for the
    first. The YOLO layout: ``images/<split>/*.jpg`` of 160x160, ``labels/<split>/*.txt``.

    Args:
        cache: folder that holds the set; `resources.cache_dir()` by default.

    Raises:
        DataError: a photograph is not in the installed packages.
        OutputError: the cache cannot be written.
    """
    cache = cache or cache_dir()
    place, partial = cache / NAME, cache / f"{NAME}.partial"
    if not place.is_dir():
        try:
            busy = "another process is rendering the demo set"
            with exclusive(cache / f"{NAME}.lock", "the cache", busy, waiting=lambda: None):
                if not place.is_dir():
                    shutil.rmtree(partial, ignore_errors=True)  # what a killed render left
                    render(partial)
                    partial.rename(place)
        except (OutputError, OSError) as exc:
            raise OutputError(
                f"{cache}: the demo set cannot be rendered here: {reason(exc)}; "
                "set EDGEPRUNE_CACHE to a folder that can be written"
            ) from exc
    return place / "data.yaml"


DEMO_MODELS: Mapping[str, Callable[[], Path]] = {"digits": digits_model}
DEMO_DATA: Mapping[str, Callable[[], Path]] = {"digits": digits_data}


def render(folder: Path, images: Mapping[str, int] = IMAGES) -> Path:
    """Render the set into `folder` and return its data.yaml.

    Args:
        folder: made if it is not there.
        images: how many images of each split; the first n of a longer render are the same.

    Raises:
        DataError: a photograph is not in the installed packages.
        OSError: the folder cannot be written.
    """
    import cv2
    from sklearn.datasets import load_digits

    digits, photos = load_digits(), [_photo(*place) for place in PHOTOS]
    for split, count in images.items():
        for kind in ("images", "labels"):
            (folder / kind / split).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            image, labels = _compose(split, number, photos, digits.images, digits.target)
            _, encoded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 92])
            stem = f"{split}-{number:04d}"
            (folder / "images" / split / f"{stem}.jpg").write_bytes(encoded.tobytes())
            (folder / "labels" / split / f"{stem}.txt").write_text("".join(labels), encoding="ascii")
    # Without `path` the splits are relative to the file itself, so the folder may be moved.
    data = {split: f"images/{split}" for split in images} | {"names": {i: str(i) for i in range(10)}}
    path = folder / "data.yaml"
    path.write_text(yaml.safe_dump(data, sort_keys=False), encoding="utf-8")
    return path


def _photo(package: str, file: str) -> Image:
    import cv2

    # find_spec instead of an import: ultralytics would bring torch along.
    spec = importlib.util.find_spec(package)
    folders = spec.submodule_search_locations if spec else None
    path = Path(folders[0] if folders else package) / file
    photo: Image | None = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if photo is None:
        raise DataError(f"{path}: the demo set needs this photograph of {package}; reinstall {package}")
    return photo


def _compose(
    split: str, number: int, photos: list[Image], scans: NDArray[Any], classes: NDArray[Any]
) -> tuple[Image, list[str]]:
    """Return one image, (IMGSZ, IMGSZ, 3) BGR, and the lines of its YOLO label file."""
    import cv2
    import numpy as np

    rng = np.random.default_rng([sorted(SCANS).index(split), number])
    image = _background(photos[rng.integers(len(photos))], rng)
    _scribble(image, rng)
    boxes: list[Box] = []
    labels = []
    for index in rng.choice(SCANS[split], size=rng.integers(1, 8), replace=False):
        mask = _glyph(scans[index], rng)
        box = _free_place(mask.shape, boxes, rng)
        if box is None:
            continue
        _ink(image, mask, box, rng)
        boxes.append(box)
        left, top, right, bottom = (edge / IMGSZ for edge in box)
        centre = f"{(left + right) / 2:.6f} {(top + bottom) / 2:.6f}"
        labels.append(f"{classes[index]} {centre} {right - left:.6f} {bottom - top:.6f}\n")
    if rng.random() < 0.3:
        image = cv2.GaussianBlur(image, (3, 3), rng.uniform(0.4, 1.0))
    noise = rng.standard_normal(image.shape, np.float32) * rng.uniform(0, 9)
    return np.clip(image + noise, 0, 255).astype(np.uint8), labels


def _background(photo: Image, rng: np.random.Generator) -> Image:
    """Return a random square of the photograph, IMGSZ wide, mirrored and recoloured at random."""
    import cv2
    import numpy as np

    height, width = photo.shape[:2]
    side = int(rng.integers(100, min(height, width)))
    top, left = rng.integers(height - side), rng.integers(width - side)
    region = cv2.resize(
        photo[top : top + side, left : left + side], (IMGSZ, IMGSZ), interpolation=cv2.INTER_AREA
    )
    if rng.random() < 0.5:
        region = region[:, ::-1]
    region = region[..., rng.permutation(3)] * rng.uniform(0.6, 1.2, 3) + rng.uniform(-20, 20)
    return np.ascontiguousarray(np.clip(region, 0, 255).astype(np.uint8))


def _scribble(image: Image, rng: np.random.Generator) -> None:
    """Draw a few strokes that are no digits, as clutter."""
    import cv2

    for _ in range(rng.integers(0, 5)):
        centre, axes = rng.integers(0, IMGSZ, 2).tolist(), rng.integers(4, 40, 2).tolist()
        start, colour = int(rng.integers(360)), rng.integers(0, 256, 3).tolist()
        sweep, thickness = int(rng.integers(30, 240)), int(rng.integers(1, 5))
        cv2.ellipse(image, centre, axes, start, 0, sweep, colour, thickness, cv2.LINE_AA)


def _glyph(scan: NDArray[Any], rng: np.random.Generator) -> Mask:
    """Return the scan, (8, 8) in 0..16, as a mask: enlarged, warped, thinned or thickened, cut to its ink."""
    import cv2
    import numpy as np

    wide, turn, shear = rng.uniform(0.75, 1.2), np.deg2rad(rng.uniform(-18, 18)), rng.uniform(-0.25, 0.25)
    zoom = 6.0
    rotate = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    linear = rotate @ np.array([[wide, shear], [0, 1]]) * zoom
    shift = np.array([42, 42]) - linear @ np.array([3.5, 3.5])  # centre of the scan onto the centre of 84x84
    large = cv2.warpAffine(
        np.asarray(scan / 16, np.float32), np.column_stack([linear, shift]), (84, 84), flags=cv2.INTER_CUBIC
    )
    large = cv2.GaussianBlur(large, (0, 0), 1.5)
    large = np.clip((large / large.max() - rng.uniform(0.25, 0.5)) * rng.uniform(4, 10) + 0.5, 0, 1)
    rows, columns = np.flatnonzero(large.max(axis=1) > 0.5), np.flatnonzero(large.max(axis=0) > 0.5)
    ink = large[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    tall = float(np.exp(rng.uniform(np.log(16), np.log(64))))  # pixels; as many small digits as large ones
    size = max(3, round(ink.shape[1] * tall / ink.shape[0])), round(tall)
    return np.asarray(cv2.resize(ink, size, interpolation=cv2.INTER_AREA), np.float32)


def _free_place(shape: tuple[int, ...], taken: list[Box], rng: np.random.Generator) -> Box | None:
    """Return a random box of this (height, width) that hardly overlaps the taken, None after 20 tries."""
    height, width = shape
    for _ in range(20):
        left, top = int(rng.integers(IMGSZ - width)), int(rng.integers(IMGSZ - height))
        box = left, top, left + width, top + height
        if all(_overlap(box, other) <= 0.1 for other in taken):
            return box
    return None


def _overlap(one: Box, other: Box) -> float:
    """Return the common area as a share of the smaller box."""
    wide = min(one[2], other[2]) - max(one[0], other[0])
    high = min(one[3], other[3]) - max(one[1], other[1])
    smaller = min((box[2] - box[0]) * (box[3] - box[1]) for box in (one, other))
    return max(wide, 0) * max(high, 0) / smaller


def _ink(image: Image, mask: Mask, box: Box, rng: np.random.Generator) -> None:
    """Write the digit into the image, in a colour more or less far from what is there."""
    import numpy as np

    left, top, right, bottom = box
    under = image[top:bottom, left:right].astype(np.float32)
    paper = under.mean(axis=(0, 1))
    darker = rng.random() < (paper.mean() - 60) / 135  # never below 60, always above 195: ink needs headroom
    contrast = rng.uniform(70, 180) * rng.uniform(0.6, 1.2, 3)
    ink = np.clip(paper - contrast if darker else paper + contrast, 0, 255)
    opacity = mask[..., None] * rng.uniform(0.8, 1.0)
    image[top:bottom, left:right] = (under * (1 - opacity) + ink * opacity).astype(np.uint8)
