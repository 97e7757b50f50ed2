"""Train the demo checkpoint from scratch: `python benchmarks/train_digits.py`.

About 20 minutes on two CPU cores. The set is rendered into the cache first, and at the end the mAP of
both held-out splits is printed as ultralytics' own `val` measures it.
"""

from __future__ import annotations

import os

# Before ultralytics is imported: it would install packages by itself.
os.environ["YOLO_AUTOINSTALL"] = "false"

import argparse
import tempfile
from pathlib import Path
from typing import Any

from ultralytics import YOLO

from edgeprune.adapters.ultralytics import detect as adapter
from edgeprune.adapters.ultralytics.bfloat16 import computes_bfloat16, run_in_bfloat16
from edgeprune.images.demo import IMGSZ, digits_data, digits_model

EPOCHS = 46
SETTINGS = {
    "imgsz": IMGSZ,
    "batch": 16,
    "nbs": 16,  # one optimiser step a batch: the default gathers 64 images
    "optimizer": "AdamW",
    "lr0": 0.002,
    "lrf": 0.01,
    "cos_lr": True,
    "warmup_epochs": 2.0,
    "mosaic": 0.5,
    "close_mosaic": 15,
    "scale": 0.3,
    "fliplr": 0.0,  # a mirrored digit is another sign
    "val": False,  # evaluate the last epoch only: the cosine ends there
    "seed": 0,
}


def main() -> None:
    """Train, save the stripped checkpoint, and print its accuracy."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=digits_model())
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument("--runs", type=Path, help="keep the training run in this folder")
    options = parser.parse_args()
    data = str(digits_data())
    with tempfile.TemporaryDirectory() as scratch:
        runs = str((options.runs or Path(scratch)).resolve())
        model = YOLO("yolov8n.yaml")
        if computes_bfloat16():
            model.add_callback("on_train_start", lambda trainer: run_in_bfloat16(trainer.model))
        model.train(
            data=data,
            epochs=options.epochs,
            device="cpu",
            workers=2,
            cache="ram",
            project=runs,
            plots=False,
            **SETTINGS,
        )
        save(YOLO(model.trainer.best).model, options.out)
        for split in ("val", "test"):
            box = (
                YOLO(options.out)
                .val(data=data, split=split, imgsz=IMGSZ, rect=False, plots=False, device="cpu", project=runs)
                .box
            )
            print(f"{split}: mAP50 {box.map50:.4f}, mAP50-95 {box.map:.4f}")


def save(model: Any, path: Path) -> None:
    """Write the checkpoint in half precision, without optimiser or paths of this machine."""
    model.yaml["yaml_file"] = "yolov8n.yaml"
    model.args = {"task": "detect", **SETTINGS}  # the adapter keeps what a later recovery augments by
    del model.pt_path
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_suffix(".partial")
    adapter.save(model, aside)
    aside.replace(path)


if __name__ == "__main__":
    main()
