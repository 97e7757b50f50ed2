"""The evaluator: perfect is perfect, nothing is 0, garbage is refused; it agrees with ultralytics' own."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from ultralytics import YOLO
from ultralytics.utils.metrics import box_iou

from conftest import FAMILIES, NAMES, build_detector
from edgeprune.adapters.ultralytics import detect as adapter
from edgeprune.adapters.ultralytics.mean_ap import causes, evaluate, match
from edgeprune.config.recipe import ExportRecipe
from edgeprune.core.errors import CompileError
from edgeprune.core.resources import find_bundled
from edgeprune.export.onnx import export
from edgeprune.images import demo
from edgeprune.images.dataset import Dataset, load_dataset
from edgeprune.images.postprocess import detector
from edgeprune.images.preprocess import Preprocess, load_input
from edgeprune.images.reading.labels import Labelling
from edgeprune.images.size import ImageSize, sides
from edgeprune.models import Predict
from edgeprune.models.predictor import predictor

SPEC = Preprocess(64)
BCCD = Path(__file__).parents[3].parent / "shared"


def oracle(dataset: Dataset, split: str, shift: float = 0.0, end2end: bool = False) -> Predict:
    """Answer each image of a split, in order, with its own boxes moved by `shift` pixels."""

    def answers() -> Iterator[np.ndarray]:
        for image in dataset.images[split]:
            rows, place = dataset.boxes(image), load_input(image, SPEC)[1]
            size = np.array([place.width, place.height])
            centre = rows[:, 1:3] * size + [place.left, place.top] + shift
            extent = rows[:, 3:5] * size
            if end2end:
                corners = [centre - extent / 2, centre + extent / 2]
                yield np.concatenate([*corners, np.full((len(rows), 1), 0.9), rows[:, :1]], 1)[None]
            else:
                yield np.concatenate([centre, extent, np.eye(3)[rows[:, 0].astype(int)] * 0.9], 1).T[None]

    upcoming = answers()
    return lambda images: [next(upcoming).astype(np.float32)]


@pytest.mark.parametrize("end2end", [False, True])
@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_perfect_detections_reach_the_ceiling(tiny: Dataset, split: str, end2end: bool) -> None:
    accuracy = evaluate(oracle(tiny, split, end2end=end2end), tiny, split, SPEC, detector(NAMES, end2end))
    assert accuracy.others["mAP50"] == pytest.approx(0.995, abs=1e-6)  # ultralytics' interpolation ends there
    assert accuracy.score == pytest.approx(0.995, abs=1e-6)
    assert (accuracy.split, accuracy.images) == (split, len(tiny.images[split]))
    present = {int(row[0]) for image in tiny.images[split] for row in tiny.boxes(image)}
    assert accuracy.per_class == pytest.approx({tiny.names[index]: 0.995 for index in present}, abs=1e-6)


def test_shifted_detections_lose_the_strict_thresholds_first(tiny: Dataset) -> None:
    accuracy = evaluate(oracle(tiny, "train", shift=1.5), tiny, "train", SPEC, detector(NAMES, False))
    assert accuracy.others["mAP50"] > 0.9
    assert 0.05 < accuracy.score < 0.8


@pytest.mark.parametrize("end2end", [False, True])
def test_no_detection_is_zero(tiny: Dataset, end2end: bool) -> None:
    shape = (1, 300, 6) if end2end else (1, 7, 84)
    accuracy = evaluate(
        lambda images: [np.zeros(shape, np.float32)], tiny, "val", SPEC, detector(NAMES, end2end)
    )
    assert (accuracy.others["mAP50"], accuracy.score, accuracy.images) == (0, 0, 5)


@pytest.mark.parametrize(
    ("output", "end2end", "expected"),
    [
        (np.full((1, 7, 84), np.nan), False, "NaN or infinite"),
        (np.full((1, 7, 84), np.inf), False, "NaN or infinite"),
        (np.zeros((1, 84, 84)), False, r"shape \(1, 84, 84\), \(1, 7, anchors\) is expected"),
        (np.zeros((7, 84)), False, r"shape \(7, 84\)"),
        (np.zeros((1, 300, 5)), True, r"\(1, detections, 6\) is expected"),
    ],
)
def test_garbage_is_refused(tiny: Dataset, output: np.ndarray, end2end: bool, expected: str) -> None:
    with pytest.raises(CompileError, match=expected):
        evaluate(lambda images: [output], tiny, "val", SPEC, detector(NAMES, end2end))


def test_a_target_is_claimed_once_and_by_the_most_confident() -> None:
    truth = torch.tensor([[0.0, 0, 10, 10]])
    boxes = torch.tensor([[0.0, 0, 10, 9, 0.9, 1], [0, 0, 10, 10, 0.8, 1], [0, 0, 10, 10, 0.7, 0]])
    right = match(box_iou(truth, boxes[:, :4]), boxes[:, 5], torch.tensor([1.0]))
    assert right[:, 0].tolist() == [True, False, False]  # the third is of another class
    assert right[:, -1].tolist() == [False, True, False]  # 0.9 overlap is not enough for 0.95


def assert_agrees_with_ultralytics(
    weights: Path, data: Path, split: str, imgsz: ImageSize, folder: Path, theirs: Path | None = None
) -> None:
    dataset = load_dataset(data)
    post = detector(dataset.names, end2end=False)
    ours = adapter.evaluate(predictor(whole(weights)), dataset, split, Preprocess(imgsz), post)
    metrics: Any = YOLO(theirs or weights, task="detect").val(
        data=str(data),
        split=split,
        imgsz=max(sides(imgsz)),
        rect=False,
        batch=8,
        workers=0,
        device="cpu",
        plots=False,
        verbose=False,
        project=str(folder),
        name="val",
    )
    assert metrics.box.map50 > 0.5
    assert ours.others["mAP50"] == pytest.approx(metrics.box.map50, abs=1e-3)
    assert ours.score == pytest.approx(metrics.box.map, abs=1e-3)
    classes = zip(metrics.box.ap_class_index, metrics.box.maps[metrics.box.ap_class_index], strict=True)
    per_class = {dataset.names[index]: value for index, value in classes}
    assert ours.per_class == pytest.approx(per_class, abs=2e-3)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_exported_decode_says_what_the_network_says(family: str) -> None:
    model = build_detector(family)
    images = torch.rand(1, 3, 96, 96)
    with torch.no_grad():
        expected, found = model(images)[0], adapter.exportable(model)(images)
    assert torch.allclose(found, expected, atol=1e-3)


def whole(weights: Path) -> torch.nn.Module:
    return adapter.exportable(adapter.load(weights))


def test_it_agrees_with_ultralytics_on_the_digits(one_thread: None, tmp_path: Path) -> None:
    weights = find_bundled("calib") / "digits" / "digits_yolov8n_160.pt"
    if not weights.is_file():
        pytest.skip("the demo checkpoint is not here")
    data = demo.render(tmp_path / "digits", {"train": 2, "val": 30})
    assert_agrees_with_ultralytics(weights, data, "val", 160, tmp_path)


def test_it_agrees_with_ultralytics_at_a_rectangle_where_its_validator_knows_one(
    one_thread: None, tmp_path: Path
) -> None:
    """Its `val` takes a height and a width from the metadata of an exported file, and from nothing else."""
    weights, size = find_bundled("calib") / "digits" / "digits_yolov8n_160.pt", (128, 160)
    if not weights.is_file():
        pytest.skip("the demo checkpoint is not here")
    data = demo.render(tmp_path / "digits", {"train": 2, "val": 30})
    module = adapter.load(weights)
    export(
        whole(weights), adapter.info(module), Preprocess(size), (), ExportRecipe(), "original",
        tmp_path / "rectangle.onnx",
    )  # fmt: skip
    assert_agrees_with_ultralytics(weights, data, "val", size, tmp_path, tmp_path / "rectangle.onnx")


def test_it_agrees_with_ultralytics_on_photographs_of_odd_shape(one_thread: None, tmp_path: Path) -> None:
    weights = BCCD / "models" / "bccd_yolov8n_320.pt"
    if not weights.is_file():
        pytest.skip("the BCCD model lies outside the repository")
    for split, count in {
        "train": 2,
        "val": 16,
    }.items():  # linked, since ultralytics writes a cache beside them
        for kind in ("images", "labels"):
            (tmp_path / kind / split).mkdir(parents=True)
        for image in sorted((BCCD / "data" / "bccd" / "images" / split).iterdir())[:count]:
            (tmp_path / "images" / split / image.name).symlink_to(image)
            label = BCCD / "data" / "bccd" / "labels" / split / f"{image.stem}.txt"
            (tmp_path / "labels" / split / label.name).symlink_to(label)
    names = yaml.safe_load((BCCD / "data" / "bccd" / "data.yaml").read_text())["names"]
    data = tmp_path / "data.yaml"
    data.write_text(yaml.safe_dump({"train": "images/train", "val": "images/val", "names": names}))
    assert_agrees_with_ultralytics(weights, data, "val", 320, tmp_path)


def told(dataset: Dataset, predict: Predict) -> str:
    (cause,) = causes(predict, dataset, "val", SPEC, detector(NAMES, end2end=False))
    return cause


def test_boxes_that_fit_under_other_classes_are_told_from_boxes_that_do_not_fit(tiny: Dataset) -> None:
    order = Labelling(3, order=(1, 2, 0))
    turned = replace(tiny, labelling=order, _read={})
    assert told(tiny, oracle(turned, "val")).startswith("its boxes fit where classes are left out")
    cause = told(tiny, oracle(tiny, "val", shift=40.0))
    assert cause.startswith("it finds 9 boxes with a confidence of 0.25 or more in 5 images, and they are")


def test_of_boxes_that_lie_roughly_at_the_labels_it_is_not_said_that_they_do_not(tiny: Dataset) -> None:
    predict = oracle(tiny, "val", shift=2.0)
    found = evaluate(oracle(tiny, "val", shift=2.0), tiny, "val", SPEC, detector(NAMES, end2end=False))
    assert found.others["mAP50"] > 0.05
    assert causes(predict, tiny, "val", SPEC, detector(NAMES, end2end=False)) == ()


def test_a_network_that_is_sure_of_nothing_is_told(tiny: Dataset) -> None:
    cause = told(tiny, lambda images: [np.full((1, 7, 4), 0.01, np.float32)])
    assert cause.startswith(
        "it finds nothing with a confidence of 0.25 or more in 5 images (the highest is 0.010)"
    )


def test_classes_of_one_name_keep_an_accuracy_each(tiny: Dataset) -> None:
    same = replace(tiny, names=("digit", "digit", "digit"))
    post = detector(same.names, end2end=False)
    accuracy = evaluate(oracle(tiny, "train"), same, "train", SPEC, post)
    assert sorted(accuracy.per_class) == ["digit (0)", "digit (1)", "digit (2)"]
