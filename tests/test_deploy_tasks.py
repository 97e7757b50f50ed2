"""The script of docs/tasks.md, word by word: what ultralytics' own `predict` finds."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from ultralytics import YOLO

from conftest import NAMES
from edgeprune.config.targets import resolve_targets
from made_tasks import IMGSZ, adapter_for
from test_deploy import MODULES, folder_of

PAGE = Path(__file__).parents[1] / "docs" / "tasks.md"
SCRIPT = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)[0]
KINDS = {"segment": "Segmenter", "pose": "PoseEstimator", "obb": "RotatedDetector"}
CONFIDENCE = {"segment": 0.25, "pose": 0.02, "obb": 0.25}
"""What is asked for of networks that trained for seconds."""
RUNTIMES = {"x86-ort": "onnxruntime"}
DRIVER = """
import json, sys

import cv2
import numpy as np
import tasks

kind, folder, *images = sys.argv[1:]
run = getattr(tasks, kind)(folder)
told = lambda value: np.asarray(value).tolist() if isinstance(value, np.ndarray) else value
print(json.dumps([[[told(value) for value in row] for row in run(cv2.imread(image))] for image in images]))
"""


def found_by_the_page(best: Path, task: str, images: list[Path]) -> list[Any]:
    folder = best.parents[1]
    (folder / "deploy.py").write_text("".join(MODULES), encoding="utf-8")
    (folder / "tasks.py").write_text(SCRIPT, encoding="utf-8")
    (folder / "driver.py").write_text(DRIVER, encoding="utf-8")
    command = [sys.executable, "driver.py", KINDS[task], str(best), *map(str, images)]
    ended = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    found: list[Any] = json.loads(ended.stdout)
    return found


def ask_for(best: Path, confidence: float) -> None:
    """Change the confidence of a build's deployment, as a user may."""
    told = json.loads((best / "preprocess.json").read_text())
    told["postprocess"]["deployment"]["confidence"] = confidence
    (best / "preprocess.json").write_text(json.dumps(told))


def nearest(row: list[Any], rows: list[list[Any]], place: int) -> list[Any]:
    """Return the row of the same class whose score is the nearest."""
    same = [other for other in rows if other[place + 1] == row[place + 1]]
    return min(same, key=lambda other: abs(other[place] - row[place]))


def assert_alike(task: str, ours: list[list[Any]], result: Any) -> None:
    """Hold the detections of an image against ultralytics' `Results`."""
    boxes = result.obb if task == "obb" else result.boxes
    assert len(ours) == len(boxes)
    for index in range(len(boxes)):
        wanted = [float(boxes.conf[index]), NAMES[int(boxes.cls[index])]]
        place = 0 if task == "obb" else 4
        row = nearest([*[0] * place, *wanted], ours, place)
        assert row[place] == pytest.approx(wanted[0], abs=2e-3)
        if task == "obb":
            corners, theirs = np.array(row[2]), result.obb.xyxyxyxy[index].numpy()
            apart = np.linalg.norm(corners[:, None] - theirs[None], axis=2)
            assert apart.min(axis=0).max() < 0.3 and apart.min(axis=1).max() < 0.3
            continue
        np.testing.assert_allclose(row[:4], boxes.xyxy[index].numpy(), atol=0.3)
        if task == "pose":
            np.testing.assert_allclose(np.array(row[6])[:, :2], result.keypoints.xy[index].numpy(), atol=0.5)
        else:
            mask, theirs = np.array(row[6]), result.masks.data[index].numpy().astype(bool)
            assert mask.shape == theirs.shape == result.orig_shape
            assert (mask & theirs).sum() > 0.8 * (mask | theirs).sum()


@pytest.mark.parametrize("target", RUNTIMES)
@pytest.mark.parametrize("task", KINDS)
def test_the_script_finds_what_predict_finds(
    taught: Callable[[str], Path], task: str, target: str, tmp_path: Path
) -> None:
    if find_spec(RUNTIMES[target]) is None:
        pytest.skip(f"{RUNTIMES[target]} is not installed here")
    (profile,) = resolve_targets((target,))
    adapter, folder = adapter_for(task), taught(task)
    images = []
    for image in sorted((folder / "images" / "train").iterdir())[:6]:
        # Of sides that the letterbox scales to whole pixels, which `predict` rounds otherwise than `val`.
        images.append(tmp_path / image.name)
        cv2.imwrite(str(images[-1]), cv2.resize(cv2.imread(str(image)), (96, 72)))
    best = folder_of(adapter, folder / "model.pt", profile, IMGSZ, tmp_path)
    ask_for(best, CONFIDENCE[task])
    ours = found_by_the_page(best, task, images)
    network = YOLO(tmp_path / "plain.onnx", task=task)
    more = {"retina_masks": True} if task == "segment" else {}
    results = [
        network.predict(cv2.imread(str(image)), imgsz=IMGSZ, conf=CONFIDENCE[task], verbose=False, **more)[0]
        for image in images
    ]
    assert sum(map(len, ours)) > 3
    for mine, result in zip(ours, results, strict=True):
        assert_alike(task, mine, result)
