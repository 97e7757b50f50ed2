"""The scripts of docs/deploy.md, word by word: what ultralytics' own `predict` finds on the same file.

They run in processes of their own, in every runtime that is installed here and that takes an ONNX file.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import textwrap
from collections.abc import Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from ultralytics import YOLO

from conftest import NAMES
from edgeprune.backends import get_backend, options_for
from edgeprune.config.recipe import ExportRecipe
from edgeprune.config.targets import DeviceProfile, resolve_targets
from edgeprune.export.onnx import export
from edgeprune.images import demo
from edgeprune.images.dataset import Dataset, load_dataset
from edgeprune.images.heads import HEADS
from edgeprune.images.postprocess import Selection
from edgeprune.images.preprocess import load_input
from edgeprune.images.size import ImageSize
from edgeprune.images.spec import FILE, Spec, spec_of
from edgeprune.models import ModelAdapter, get_adapter

PAGE = Path(__file__).parents[1] / "docs" / "deploy.md"
PYTHON = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
MODULES, DETECT, CLASSIFY = PYTHON[:2], PYTHON[2], PYTHON[3]
SHARED = Path(__file__).parents[1].parent / "shared"
PICTURES = 40
# Of each runtime: the target that a build takes, and the module that is imported.
RUNTIMES = {
    "onnxruntime": ("x86-ort", "onnxruntime"),
    "openvino": ("x86-openvino", "openvino"),
    "ncnn": ("x86-ncnn", "ncnn"),
    "ort": ("android-ort", "onnxruntime"),
}

Row = list[Any]
"""Of a detection: x1, y1, x2, y2, score, class."""

# Runs the page's class on images, and tells what the runtime was given when it was imported.
DRIVER = """
import json, os, sys
from pathlib import Path

kind, module, folder, *images = sys.argv[1:]
seen = []

class Watch:
    def find_spec(self, name, *rest):
        if name == module:
            seen.append(os.environ.get("TOLD_BY_RUNTIME_JSON"))

sys.meta_path.insert(0, Watch())
import cv2
import deploy
run, loaded = getattr(deploy, kind)(folder), [cv2.imread(image) for image in images]
found = run.many(loaded) if run.pre.get("batch", 1) > 1 else [run(image) for image in loaded]
print(json.dumps({"seen": seen, "found": found}))
"""


def folder_of(
    adapter: ModelAdapter, weights: Path, profile: DeviceProfile, imgsz: ImageSize, out: Path, batch: int = 1
) -> Path:
    """Write what a build leaves in `best/`: a checkpoint as the fp32 engine of a target, spec and runtime."""
    from edgeprune.backends.ort_format import to_ort

    model = adapter.load(weights)
    info, pre, best = adapter.info(model), replace(adapter.preprocess(imgsz), batch=batch), out / "build/best"
    spec = Spec(preprocess=pre, postprocess=info.postprocess)
    best.mkdir(parents=True)
    made, _ = export(adapter.exportable(model), info, pre, (), ExportRecipe(), "original", out / "plain.onnx")
    if profile.format == "ort":
        engine = to_ort(made, best).path
    else:
        engine = get_backend(profile.backend).compile(made, "fp32", options_for(profile, "fp32"), best).path
    (best / FILE).write_text(spec.to_json(), encoding="utf-8")
    runtime = {
        "engine": engine.name, "backend": profile.backend, "precision": "fp32", "threads": 1,
        "options": options_for(profile, "fp32"), "environment": {"TOLD_BY_RUNTIME_JSON": "yes"},
    }  # fmt: skip
    (best / "runtime.json").write_text(json.dumps(runtime), encoding="utf-8")
    return best


def python(source: str, folder: Path, *args: str) -> str:
    """Run a script beside the page's `deploy.py`, as a user would, and return what it printed."""
    (folder / "deploy.py").write_text("".join(MODULES), encoding="utf-8")
    (folder / "script.py").write_text(textwrap.dedent(source), encoding="utf-8")
    ended = subprocess.run(
        [sys.executable, "script.py", *args], cwd=folder, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def found_by_the_page(best: Path, kind: str, module: str, images: Sequence[Path]) -> list[Any]:
    told = json.loads(python(DRIVER, best.parents[1], kind, module, str(best), *map(str, images)))
    assert told["seen"][0] == "yes", "the environment has to be set before the runtime is imported"
    found: list[Any] = told["found"]
    return found


def found_by_ultralytics(
    onnx: Path, names: Sequence[str], imgsz: ImageSize, images: Sequence[Path]
) -> list[list[Row]]:
    network = YOLO(onnx, task="detect")
    results = [
        network.predict(cv2.imread(str(image)), imgsz=imgsz, conf=0.25, verbose=False)[0] for image in images
    ]
    rows = [result.boxes.data.double().numpy() for result in results]
    return [[[*row[:5].tolist(), names[int(row[5])]] for row in boxes] for boxes in rows]


def assert_same(theirs: list[list[Row]], ours: list[list[Row]], pixels: float = 0.1) -> None:
    """Every detection has its like on the other side; of equal scores either may come first."""
    assert [len(rows) for rows in ours] == [len(rows) for rows in theirs]
    assert sum(map(len, ours)) > PICTURES
    for mine, other in zip(ours, theirs, strict=True):
        numbers = [
            np.array([row[:5] for row in rows]).reshape(-1, 5) * [1, 1, 1, 1, 100] for rows in (mine, other)
        ]
        labels = [np.array([row[5] for row in rows]) for rows in (mine, other)]
        apart = np.abs(numbers[0][:, None] - numbers[1][None]).max(2) + 1e9 * (
            labels[0][:, None] != labels[1][None]
        )
        if apart.size:
            assert max(apart.min(0).max(), apart.min(1).max()) < pixels


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    data = demo.render(tmp_path_factory.mktemp("pictures"), {"val": PICTURES})
    return sorted((data.parent / "images/val").iterdir())


@pytest.fixture(scope="module")
def predicted(
    one_thread: None, pictures: list[Path], tmp_path_factory: pytest.TempPathFactory
) -> list[list[Row]]:
    folder = tmp_path_factory.mktemp("plain")
    (profile,) = resolve_targets(("x86-ort",))
    folder_of(get_adapter("ultralytics"), demo.digits_model(), profile, demo.IMGSZ, folder)
    names = [str(digit) for digit in range(10)]
    return found_by_ultralytics(folder / "plain.onnx", names, demo.IMGSZ, pictures)


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_the_script_finds_what_predict_finds_in_every_runtime(
    runtime: str, predicted: list[list[Row]], pictures: list[Path], tmp_path: Path
) -> None:
    target, module = RUNTIMES[runtime]
    if find_spec(module) is None:
        pytest.skip(f"{module} is not installed here")
    (profile,) = resolve_targets((target,))
    best = folder_of(get_adapter("ultralytics"), demo.digits_model(), profile, demo.IMGSZ, tmp_path)
    assert_same(predicted, found_by_the_page(best, "Detector", module, pictures))
    cv2.imwrite(str(tmp_path / "photo.jpg"), cv2.imread(str(pictures[0])))
    lines = python(DETECT, tmp_path).splitlines()
    assert lines and all(re.fullmatch(r"\d 0\.\d+( \d+){4}", line) for line in lines)


def test_so_it_does_in_batches_the_last_of_which_is_not_full(
    predicted: list[list[Row]], pictures: list[Path], tmp_path: Path
) -> None:
    (profile,) = resolve_targets(("x86-ort",))
    best = folder_of(get_adapter("ultralytics"), demo.digits_model(), profile, demo.IMGSZ, tmp_path, batch=3)
    assert json.loads((best / FILE).read_text())["preprocess"]["batch"] == 3
    assert PICTURES % 3
    assert_same(predicted, found_by_the_page(best, "Detector", "onnxruntime", pictures))


def test_so_it_does_at_a_rectangle_wherever_the_picture_stands_out(
    one_thread: None, pictures: list[Path], tmp_path: Path
) -> None:
    """With pictures that are as wide as the input, wider and narrower."""
    (profile,) = resolve_targets(("x86-ort",))
    size, images = (96, 160), []
    for index, picture in enumerate(pictures):
        image = cv2.imread(str(picture))
        height = (96, 60, 160)[index % 3]
        images.append(tmp_path / picture.name)
        cv2.imwrite(str(images[-1]), image[:height])
    best = folder_of(get_adapter("ultralytics"), demo.digits_model(), profile, size, tmp_path)
    theirs = found_by_ultralytics(tmp_path / "plain.onnx", [str(digit) for digit in range(10)], size, images)
    assert_same(theirs, found_by_the_page(best, "Detector", "onnxruntime", images))


@pytest.mark.skipif(
    not (SHARED / "models/bccd_yolov8n_320.pt").is_file(), reason="the trained model is not here"
)
def test_so_it_does_on_photographs(one_thread: None, tmp_path: Path) -> None:
    weights = SHARED / "models/bccd_yolov8n_320.pt"
    data = load_dataset(SHARED / "data/bccd/data.yaml", 3)
    images = data.images["val"][:PICTURES]
    (profile,) = resolve_targets(("x86-ort",))
    best = folder_of(get_adapter("ultralytics"), weights, profile, 320, tmp_path)
    theirs = found_by_ultralytics(tmp_path / "plain.onnx", data.names, 320, images)
    assert_same(theirs, found_by_the_page(best, "Detector", "onnxruntime", images))


def test_an_end_to_end_head_is_read_as_the_projects_own_decoder_does(
    checkpoints: dict[str, Path], tiny: Dataset, tmp_path: Path
) -> None:
    (profile,) = resolve_targets(("x86-ort",))
    adapter = get_adapter("ultralytics")
    model: Any = adapter.load(checkpoints["yolo26n"])
    model.model[-1].end2end = True
    adapter.save(model, tmp_path / "best.pt")
    best = folder_of(adapter, tmp_path / "best.pt", profile, 64, tmp_path)
    spec, by = spec_of(best), Selection(0.05, max_detections=20)
    assert spec.postprocess.head == "end2end"
    data = json.loads((best / FILE).read_text())
    data["postprocess"]["deployment"] |= {"confidence": 0.05, "max_detections": 20}
    (best / FILE).write_text(json.dumps(data))
    session = get_backend("onnxruntime").load(best / "model.onnx", "fp32", 1, {})
    images = tiny.images["train"]
    expected = []
    for image in images:
        tensor, place = load_input(image, spec.preprocess)
        rows = HEADS[spec.postprocess.head].decode(session(tensor), spec.postprocess, by).astype(float)
        height, width = cv2.imread(str(image)).shape[:2]
        rows[:, [0, 2]] = ((rows[:, [0, 2]] - place.left) * width / place.width).clip(0, width)
        rows[:, [1, 3]] = ((rows[:, [1, 3]] - place.top) * height / place.height).clip(0, height)
        expected.append([[*row[:5].tolist(), NAMES[int(row[5])]] for row in rows])
    assert_same(expected, found_by_the_page(best, "Detector", "onnxruntime", images), pixels=0.01)


def test_the_classifier_says_what_predict_says(
    classifiers: dict[str, Path], digits: Dataset, tmp_path: Path
) -> None:
    (profile,) = resolve_targets(("x86-ort",))
    best = folder_of(get_adapter("ultralytics-classify"), classifiers["yolov8n-cls"], profile, 64, tmp_path)
    images = [image for split in ("train", "val") for image in digits.images[split]]
    network = YOLO(tmp_path / "plain.onnx", task="classify")
    expected = []
    for image in images:
        probs: Any = network.predict(cv2.imread(str(image)), imgsz=64, verbose=False)[0].probs
        expected.append([digits.names[probs.top1], pytest.approx(float(probs.top1conf), abs=1e-4)])
    assert found_by_the_page(best, "Classifier", "onnxruntime", images) == expected
    cv2.imwrite(str(tmp_path / "photo.jpg"), cv2.imread(str(images[0])))
    assert re.fullmatch(r"\d 0\.\d+\n", python(CLASSIFY, tmp_path))


def test_threads_and_options_of_the_measurement_are_set(convnet: Path, tmp_path: Path) -> None:
    python(f"""
        import deploy

        runtime = {{"threads": 2, "options": {{"session.intra_op.allow_spinning": "0"}}}}
        options = deploy.OnnxRuntime({str(convnet)!r}, runtime).session.get_session_options()
        assert options.intra_op_num_threads == 2
        assert options.get_session_config_entry("session.intra_op.allow_spinning") == "0"
    """, tmp_path)  # fmt: skip
