"""Networks and data of Ultralytics' other tasks: masks, keypoints and rotated boxes of coloured kites."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import ultralytics
import yaml
from torch import nn
from ultralytics.nn.tasks import OBBModel, PoseModel, SegmentationModel

from conftest import NAMES, lively
from edgeprune.models import ModelAdapter, get_adapter

TASKS = ("segment", "pose", "obb")
TINY = [0.33, 0.0625, 256]
"""Depth, width and most channels of a YOLOv8 that learns its kites in seconds."""
STEPS = 60
SUFFIX = {"segment": "seg", "pose": "pose", "obb": "obb"}
SKELETON = (4, 3)
IMGSZ = 64
_KINDS: dict[str, Any] = {"segment": SegmentationModel, "pose": PoseModel, "obb": OBBModel}
_CONFIGS = Path(ultralytics.__file__).parent / "cfg" / "models"


def adapter_for(task: str) -> ModelAdapter:
    """Return the adapter of a task."""
    return get_adapter(f"ultralytics-{task}")


def config_of(task: str, family: str, scale: list[float] | None = None) -> dict[str, Any]:
    """Return the description of a network at its smallest scale, or at a depth, width and most channels."""
    path = next(_CONFIGS.rglob(f"{family}-{SUFFIX[task]}.yaml"))
    config: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    config |= {"nc": len(NAMES), "yaml_file": path.name, "scale": "n"}
    if scale is not None:
        config["scales"] = {"n": scale}
    if task == "pose":
        config["kpt_shape"] = list(SKELETON)
    return config


def build_network(task: str, family: str, scale: list[float] | None = None) -> Any:
    """Build a seeded network of three classes, 64 px."""
    torch.manual_seed(0)
    model = _KINDS[task](config_of(task, family, scale), nc=len(NAMES), verbose=False).eval()
    model.names = dict(enumerate(NAMES))
    model.args = {"imgsz": IMGSZ, "task": task, "fliplr": 0.0, "mosaic": 0.0}
    return model


def build_lively(task: str, family: str, scale: list[float] | None = None) -> Any:
    """Build one with batch norms as after a training, and scores well above zero."""
    model = build_network(task, family, scale)
    lively(model)
    start_sure(model)
    return model


def start_sure(model: Any) -> None:
    """Let a new network give scores well above zero."""
    for branch in ("cv3", "one2one_cv3"):
        for level in getattr(model.model[-1], branch, None) or ():
            torch.nn.init.constant_(level[-1].bias, -2.0)


def make_taught(folder: Path, task: str) -> None:
    """Write a data set of kites and the checkpoint of a tiny YOLOv8 that has learnt it."""
    adapter, model = adapter_for(task), build_network(task, "yolov8", TINY)
    teach(adapter, model, write_kites(folder, task), STEPS)
    adapter.save(model, folder / "model.pt")


def teach(adapter: ModelAdapter, model: nn.Module, data: Path, steps: int) -> None:
    """Fit a network to the train split, without augmentation, until it finds most of what is there."""
    dataset = adapter.dataset(data, adapter.info(model))
    batches = list(adapter.labelled_images(dataset, adapter.preprocess(IMGSZ), 100, seed=0))
    whole: dict[str, Any] = {key: torch.cat([batch[key] for batch in batches]) for key in batches[0]}
    whole["batch_idx"] = torch.cat(
        [torch.full((len(batch["cls"]),), float(index)) for index, batch in enumerate(batches)]
    )
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 0.2  # few steps
    start_sure(model)
    model.train()
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 1e-2, total_steps=steps)
    for _ in range(steps):
        optimiser.zero_grad()
        adapter.loss(model, whole).backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), 10.0)
        optimiser.step()
        schedule.step()
    model.eval()


def write_kites(folder: Path, task: str) -> Path:
    """Write 12 + 5 images of 64 to 96 px with one to three kites, their labels as a task has them."""
    rng = np.random.default_rng(4)
    for split, count in {"train": 12, "val": 5}.items():
        for kind in ("images", "labels"):
            (folder / kind / split).mkdir(parents=True)
        for number in range(count):
            height, width = (int(side) for side in rng.integers(64, 97, 2))
            image = rng.integers(60, 120, (height, width, 3), dtype=np.uint8)
            lines = []
            for cell in range(1 + number % 3):
                corners = _kite(cell, height, width, rng)
                label = int(rng.integers(len(NAMES)))
                colour = tuple(255 if channel == label else 0 for channel in range(3))
                cv2.fillPoly(image, [corners.astype(np.int32)], colour)
                lines.append(" ".join([str(label), *_numbers(task, corners / [width, height])]) + "\n")
            cv2.imwrite(str(folder / "images" / split / f"{number:02d}.png"), image)
            (folder / "labels" / split / f"{number:02d}.txt").write_text("".join(lines))
    told: dict[str, Any] = {split: f"images/{split}" for split in ("train", "val")}
    told["names"] = dict(enumerate(NAMES))
    if task == "pose":
        told |= {"kpt_shape": list(SKELETON), "flip_idx": [0, 3, 2, 1]}
    path = folder / "data.yaml"
    path.write_text(yaml.safe_dump(told))
    return path


def _kite(cell: int, height: int, width: int, rng: np.random.Generator) -> np.ndarray:
    """Return the corners of a turned rectangle in a quarter of the image, (4, 2) in pixels."""
    centre = np.array([(cell % 2) * width / 2 + width / 4, (cell // 2) * height / 2 + height / 4])
    angle, half = rng.uniform(-0.6, 0.6), np.array([rng.uniform(9, 13), rng.uniform(5, 8)])
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    return centre + (np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * half) @ turn


def _numbers(task: str, corners: np.ndarray) -> list[str]:
    """Return the numbers of a label behind its class; corners are (4, 2) in [0, 1]."""
    low, high = corners.min(axis=0), corners.max(axis=0)
    if task != "pose":
        return [f"{value:.6f}" for value in corners.ravel()]
    box = [*(low + high) / 2, *(high - low)]
    points = [value for corner in corners for value in (*corner, 2)]
    return [f"{value:.6f}" for value in (*box, *points)]
