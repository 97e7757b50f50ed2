"""Draw the set "shapes" and train a network on it from scratch, as the third set of `benchmarks.budget`.

    python -m benchmarks.train_shapes --family yolo11n --out shapes

Five kinds of figures, turned and filled at random, overlap each other on textured grounds among lines that
are none of them. Every image has its own random generator, so the same packages draw the same set. Neither
the set nor its training is tuned to what the search does with it.
"""

from __future__ import annotations

import os

# Before ultralytics is imported: it would install packages by itself.
os.environ["YOLO_AUTOINSTALL"] = "false"

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import yaml
from benchmarks.train_bccd import train
from numpy.typing import NDArray
from ultralytics import YOLO

Image = NDArray[np.uint8]  # (SIDE, SIDE, 3), BGR
Points = NDArray[np.float64]  # (corners, 2), x and y in pixels

SIDE = 192
IMAGES: Mapping[str, int] = {"train": 400, "val": 200, "test": 200}
CORNERS: Mapping[str, int] = {"disc": 40, "triangle": 3, "square": 4, "pentagon": 5, "star": 10}


def main() -> None:
    """Draw the set, train a network, and print its accuracy on both held-out splits."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--family", default="yolo11n", help="yolov8n, yolo11n, yolo26n ...")
    parser.add_argument("--out", type=Path, required=True, help="folder of the set and of the checkpoint")
    parser.add_argument("--epochs", type=int, default=50)
    options = parser.parse_args()
    out: Path = options.out.resolve()
    model = YOLO(f"{options.family}.yaml")
    train(model, draw(out), options.epochs, out / f"shapes_{options.family}_{SIDE}.pt", SIDE)


def draw(folder: Path, images: Mapping[str, int] = IMAGES) -> Path:
    """Draw the set in the YOLO layout and return its data.yaml.

    Args:
        folder: made if it is not there.
        images: how many images of each split.
    """
    for turn, (split, count) in enumerate(images.items()):
        for kind in ("images", "labels"):
            (folder / kind / split).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            image, labels = scene(np.random.default_rng([turn, number]))
            cv2.imwrite(str(folder / "images" / split / f"{number:04d}.jpg"), image)
            (folder / "labels" / split / f"{number:04d}.txt").write_text("".join(labels), encoding="ascii")
    data: dict[str, Any] = {split: f"images/{split}" for split in images}
    path = folder / "data.yaml"
    path.write_text(yaml.safe_dump(data | {"names": dict(enumerate(CORNERS))}, sort_keys=False))
    return path


def scene(rng: np.random.Generator) -> tuple[Image, list[str]]:
    """Return one image, and the lines of its label file in shares of the side, as YOLO has them."""
    image, labels = _ground(rng), []
    for _ in range(rng.integers(1, 8)):
        kind = int(rng.integers(len(CORNERS)))
        points = _outline(list(CORNERS.values())[kind], rng)
        low, high = points.min(0), points.max(0)
        points += rng.uniform(-low, SIDE - 1 - high)  # all of it is in the image
        colour = rng.integers(0, 256, 3).tolist()
        cv2.fillPoly(image, [np.round(points).astype(np.int32)], colour, cv2.LINE_AA)
        (left, top), (right, bottom) = np.round(points).min(0) / SIDE, (np.round(points).max(0) + 1) / SIDE
        place = (left + right) / 2, (top + bottom) / 2, right - left, bottom - top
        labels.append(f"{kind} {' '.join(f'{value:.6f}' for value in place)}\n")
    noise = rng.normal(0, rng.uniform(2, 16), image.shape)
    return np.clip(image + noise, 0, 255).astype(np.uint8), labels


def _ground(rng: np.random.Generator) -> Image:
    """Return a texture of a random grain, with lines as clutter."""
    grain = int(rng.integers(4, 33))
    coarse = rng.uniform(0, 255, (grain, grain, 3)).astype(np.uint8)
    image: Image = cv2.resize(coarse, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
    for _ in range(rng.integers(0, 9)):
        start, end = rng.integers(0, SIDE, (2, 2)).tolist()
        cv2.line(image, start, end, rng.integers(0, 256, 3).tolist(), int(rng.integers(1, 6)), cv2.LINE_AA)
    return image


def _outline(corners: int, rng: np.random.Generator) -> Points:
    """Return the corners of a figure around the origin, turned and squeezed; a star has inner ones too."""
    angle = np.arange(corners) * 2 * np.pi / corners + rng.uniform(0, 2 * np.pi)
    radius = rng.uniform(7, 34) * np.where((np.arange(corners) % 2 == 1) & (corners == 10), 0.45, 1.0)
    return np.stack([np.cos(angle), np.sin(angle)], 1) * radius[:, None] * rng.uniform(0.7, 1.0, 2)


if __name__ == "__main__":
    main()
