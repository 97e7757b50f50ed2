"""The whole path for masks, keypoints and rotated boxes: the same stages, judged by the task's metric."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from conftest import NAMES
from edgeprune.config.targets import resolve_targets
from edgeprune.images.dataset import load_dataset
from made_tasks import TASKS, write_kites

ORT = next(profile.name for profile in resolve_targets(("cpu",)) if profile.backend == "onnxruntime")
WORDS = {"segment": "mask", "pose": "pose", "obb": "rotated"}
HEADS = {"segment": "masks", "pose": "keypoints", "obb": "rotated"}
Taught = Callable[[str], Path]


@pytest.mark.parametrize("task", TASKS)
def test_every_stage_works_on_a_task(run: Any, taught: Taught, task: str, tmp_path: Path) -> None:
    folder, out = taught(task), tmp_path / "out"
    ended = run(
        *("build", "--model", folder / "model.pt", "--data", folder / "data.yaml", "--out", out),
        *("--target", ORT, "--ratio", "0.3", "--epochs", "1", "--bench", "quick", "--max-drop", "1"),
        *("--set", "quantize.images=4", "--set", "finetune.batch=12", "--set", "finetune.device=cpu"),
        *("--set", "prune.activation=keep", "--set", "prune.images=4"),
        *(("--set", "export.embed=[scale, nms]") if task == "segment" else ()),
    )
    assert ended.code == 0, (ended.errors, ended.exception)
    metric = f"{WORDS[task]} mAP50-95"
    assert metric in ended.stdout
    summary = json.loads((out / "summary.json").read_text())
    (target,) = summary["targets"].values()
    rows = {(row["variant"], row["precision"]): row for row in target["rows"]}
    assert set(rows) >= {
        ("original", "fp32"), ("original", "int8"), ("pruned", "fp32"), ("pruned", "int8"),
    }  # fmt: skip
    for (_, precision), row in rows.items():
        assert row["metric"] == row["val"]["metric"] == metric
        assert f"{WORDS[task]} mAP50" in row["others"]
        assert ("box mAP50-95" in row["others"]) == (task != "obb")
        assert precision != "int8" or row["quantized_ops"] > 0
    found = {
        precision: rows["original", precision]["others"][f"{WORDS[task]} mAP50"]
        for precision in ("fp32", "int8")
    }
    assert found["fp32"] > 0.3
    assert found["int8"] > 0.5 * found["fp32"], "decode in float, int8 finds what float finds"
    pruning = target["pruning"]
    assert pruning["params_after"] < pruning["params_before"]
    assert pruning["metric"] == metric
    spec = json.loads((out / "best" / "preprocess.json").read_text())["postprocess"]
    assert (spec["task"], spec["head"], spec["names"]) == (task, HEADS[task], list(NAMES))
    assert all(check["box_px"] < 0.1 and check["score"] < 1e-3 for check in summary["exports"])
    assert metric in (out / "report.md").read_text()
    assert (out / "best" / "model-embedded.onnx").is_file() == (task == "segment")


@pytest.mark.parametrize(
    ("task", "row", "said"),
    [
        ("segment", "0 0.5 0.5 0.2 0.2", "masks are learnt from polygons"),
        (
            "pose",
            "0 0.5 0.5 0.2 0.2 0.5 0.5 2",
            "8 numbers, and 17 are needed: class, box and 4 keypoints",
        ),
        ("obb", "0 1.2 0.1 1.4 0.1 1.4 0.3 1.2 0.3", "a rotated box lies outside the image"),
        ("obb", "0 0.5 0.5 0.2 0.2", "rotated boxes are learnt from their corners"),
    ],
)
def test_labels_that_a_task_cannot_learn_from_are_one_line_before_anything_runs(
    run: Any, taught: Taught, task: str, row: str, said: str, tmp_path: Path
) -> None:
    data = write_kites(tmp_path / "data", task)
    label = data.parent / "labels" / "train" / "03.txt"
    label.write_text(f"{row}\n")
    command = ("build", "--data", data, "--out", tmp_path / "out", "--target", ORT, "--imgsz", "64")
    ended = run(*command, "--model", taught(task) / "model.pt")
    assert ended.code == 3
    assert f"{label}:1: {said}" in ended.error


@pytest.mark.parametrize("task", ["segment", "pose"])
def test_a_detector_takes_polygons_and_keypoints_as_boxes(task: str, tmp_path: Path) -> None:
    dataset = load_dataset(write_kites(tmp_path, task), NAMES)
    for image in dataset.images["train"]:
        boxes = dataset.boxes(image)
        assert len(boxes) == len(dataset.labels(image).boxes) > 0
        assert dataset.labels(image).keypoints is None


def test_nms_of_rotated_boxes_is_refused_at_once(run: Any, taught: Taught, tmp_path: Path) -> None:
    folder = taught("obb")
    ended = run(
        *("build", "--model", folder / "model.pt", "--data", folder / "data.yaml", "--out", tmp_path / "out"),
        *("--target", ORT, "--set", "export.embed=[nms]"),
    )
    assert ended.code == 3
    assert "ONNX's NonMaxSuppression knows no rotated boxes; leave nms out" in ended.error
