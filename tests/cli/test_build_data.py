"""What a build does to the user's data, which is nothing, and what it says of it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import cv2
import pytest

from conftest import write_dataset
from edgeprune.core.artifact import digest


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Return a data set with what ultralytics would change in place, and what it passes over."""
    path = write_dataset(tmp_path / "data")
    for split in ("train", "val"):
        image = path.parent / "images" / split / "00.png"
        content = cv2.imencode(".jpg", cv2.imread(str(image)))[1].tobytes()
        image.unlink()
        image.with_suffix(".jpg").write_bytes(content + b"\0trailing")
    (path.parent / "images" / "train" / "broken.png").write_bytes(b"no image")
    (path.parent / "images" / "val" / ".ipynb_checkpoints").mkdir()
    copy = path.parent / "images" / "val" / ".ipynb_checkpoints" / "copy.png"
    copy.write_bytes((path.parent / "images" / "val" / "01.png").read_bytes())
    return path


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if not path.name.startswith(".")}


def test_the_users_data_are_byte_for_byte_the_same_after_a_build_and_touching_them_starts_nothing_again(
    run: Any, checkpoints: dict[str, Path], data: Path, tmp_path: Path
) -> None:
    before = digest(data.parent)
    options = (
        *("build", "--model", checkpoints["yolov8n"], "--data", data, "--out", tmp_path / "out"),
        *("--imgsz", "64", "--target", "x86-ort", "--ratio", "0.5", "--epochs", "1", "--bench", "quick"),
        *("--set", "quantize.images=4", "--set", "finetune.batch=6", "--set", "prune.activation=keep"),
        *("--max-drop", "1", "--skip-bad-images"),
    )
    ended = run(*options)
    assert ended.code == 0, (ended.errors, ended.exception)
    assert digest(data.parent) == before
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    notes = {warning["code"]: warning["text"] for warning in summary["warnings"]}
    assert {"hidden_files", "images_skipped", "weak_original"} <= set(notes)
    assert f"{data.parent}/images/train/broken.png: not a whole image" in notes["images_skipped"]
    assert "images_skipped" in ended.stdout
    assert "images_skipped" in (tmp_path / "out" / "report.html").read_text()
    assert [left.partition(": ")[0] for left in summary["data"]["skipped"]] == [
        f"{data.parent}/images/train/broken.png"
    ]
    assert summary["data"]["images"] == {"train": 12, "val": 5, "test": 3}

    stages = names_in(tmp_path / "out" / "stages")
    for file in data.parent.rglob("*"):
        os.utime(file)
    assert run(*options).code == 0
    assert names_in(tmp_path / "out" / "stages") == stages


def test_strict_names_what_is_wrong_with_the_data(
    run: Any, checkpoints: dict[str, Path], data: Path, tmp_path: Path
) -> None:
    ended = run(
        *("build", "--model", checkpoints["yolov8n"], "--data", data, "--out", tmp_path / "out", "--strict"),
        *("--imgsz", "64", "--target", "x86-ort", "--no-prune", "--bench", "quick", "--max-drop", "1"),
        *("--set", "quantize.images=4", "--skip-bad-images"),
    )
    assert ended.code == 7
    assert "--strict: hidden_files, images_skipped, weak_original" in ended.error
