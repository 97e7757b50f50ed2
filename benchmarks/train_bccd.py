"""Train a small detector or segmenter on BCCD from a trained YOLOv8n, for `benchmarks.npu`.

    python -m benchmarks.train_bccd --family yolo11n --start yolov8n.pt --data bccd/data.yaml --out nets

About ten minutes on two CPU cores. Weights of the start are taken where name and shape are the same. BCCD has
no masks: for a segmenter the ellipse within each box is its polygon, in a copy of the set in the folder.
"""

from __future__ import annotations

import os

# Before ultralytics is imported: it would install packages by itself.
os.environ["YOLO_AUTOINSTALL"] = "false"

import argparse
import math
import shutil
from pathlib import Path
from typing import Any

import yaml
from ultralytics import YOLO

from edgeprune.adapters.ultralytics.bfloat16 import computes_bfloat16, run_in_bfloat16

CORNERS = 24  # of an ellipse
SETTINGS: dict[str, Any] = {
    "imgsz": 160,
    "batch": 16,
    "nbs": 16,  # one optimiser step a batch: the default gathers 64 images
    "optimizer": "AdamW",
    "lr0": 0.002,
    "lrf": 0.01,
    "cos_lr": True,
    "warmup_epochs": 3.0,
    "close_mosaic": 20,
    "flipud": 0.5,  # a smear has no up
    "val": False,  # evaluate the last epoch only: the cosine ends there
    "seed": 0,
}


def main() -> None:
    """Train one network, and print its accuracy on both held-out splits."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--family", required=True, help="yolo11n, yolo26n, yolov8n-seg ...")
    parser.add_argument("--start", type=Path, required=True, help="trained checkpoint to take weights from")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=120)
    options = parser.parse_args()
    out: Path = options.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    data: Path = options.data.resolve()
    if options.family.endswith("-seg"):
        data = with_ellipses(data, out / "bccd-ellipses")
    model = YOLO(f"{options.family}.yaml").load(str(options.start))
    train(model, data, options.epochs, out / f"bccd_{options.family}_{SETTINGS['imgsz']}.pt")


def train(model: YOLO, data: Path, epochs: int, best: Path, imgsz: int = SETTINGS["imgsz"]) -> None:
    """Train a network by `SETTINGS`, save its best weights, and print its accuracy on both held-out splits.

    Args:
        best: where the weights go; the run itself is kept beside it, in `runs`.
    """
    if computes_bfloat16():
        model.add_callback("on_train_start", lambda trainer: run_in_bfloat16(trainer.model))
    model.train(
        data=str(data),
        epochs=epochs,
        device="cpu",
        workers=0,
        cache="ram",
        project=str(best.parent / "runs"),
        name=best.stem,
        exist_ok=True,
        plots=False,
        **SETTINGS | {"imgsz": imgsz},
    )
    trained = YOLO(model.trainer.best)
    trained.save(str(best))
    for split in ("val", "test"):
        found = trained.val(data=str(data), split=split, imgsz=imgsz, plots=False, device="cpu")
        print(split, {name: round(float(score), 4) for name, score in found.results_dict.items()})


def with_ellipses(data: Path, out: Path) -> Path:
    """Copy a set, with the ellipse within each box as its polygon.

    Args:
        data: data.yaml whose folders are images/SPLIT and labels/SPLIT beside it.

    Returns:
        The data.yaml of the copy.
    """
    facts = yaml.safe_load(data.read_text())
    out.mkdir(parents=True, exist_ok=True)
    # No link: ultralytics would follow it, and find the labels of boxes.
    shutil.copytree(data.parent / "images", out / "images", dirs_exist_ok=True)
    for source in sorted((data.parent / "labels").rglob("*.txt")):
        target = out / source.relative_to(data.parent)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text("".join(f"{ellipse(line)}\n" for line in source.read_text().splitlines() if line))
    (out / "data.yaml").write_text(yaml.safe_dump(facts, sort_keys=False))
    return out / "data.yaml"


def ellipse(line: str) -> str:
    """Turn one label `class x y width height` into `class x1 y1 x2 y2 ...`, all in parts of the image."""
    kind, *numbers = line.split()
    x, y, width, height = map(float, numbers)
    words = [kind]
    for corner in range(CORNERS):
        angle = 2 * math.pi * corner / CORNERS
        for middle, side, part in ((x, width, math.cos(angle)), (y, height, math.sin(angle))):
            words.append(f"{min(1.0, max(0.0, middle + side / 2 * part)):.6f}")
    return " ".join(words)


if __name__ == "__main__":
    main()
