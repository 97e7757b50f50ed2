"""Masks, keypoints and rotated boxes: judged as by ultralytics, trained, exported with all outputs."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from ultralytics import YOLO

from conftest import NAMES
from edgeprune.backends import get_backend
from edgeprune.config.recipe import ExportRecipe, PruneRecipe, load_recipe
from edgeprune.core.errors import DataError, ModelError
from edgeprune.export.embed import as_deployed, embed
from edgeprune.export.embed import predictor as embedded_predictor
from edgeprune.export.onnx import export
from edgeprune.images.dataset import Dataset
from edgeprune.images.heads import HEADS
from edgeprune.images.preprocess import load_input
from edgeprune.images.spec import Spec, spec_of
from edgeprune.models import ModelAdapter, Training, adapter_of
from edgeprune.models.predictor import predictor
from edgeprune.prune.evidence import Evidence
from edgeprune.prune.surgery import prune
from edgeprune.records.pruning import SparseTraining
from made_matches import whole
from made_tasks import IMGSZ, SKELETON, TASKS, adapter_for, build_lively, write_kites

each_task = pytest.mark.parametrize("task", TASKS)
Taught = Callable[[str], Path]
LETTER = {"segment": "M", "pose": "P", "obb": "B"}


def opened(taught: Taught, task: str) -> tuple[ModelAdapter, Any, Dataset]:
    """Return adapter, trained network and data of a task."""
    folder = taught(task)
    adapter = adapter_of(folder / "model.pt")
    model = adapter.load(folder / "model.pt")
    return adapter, model, adapter.dataset(folder / "data.yaml", adapter.info(model))


def parameters(path: Path) -> int:
    return sum(tensor.numel() for tensor in adapter_of(path).load(path).parameters())


@each_task
def test_every_figure_is_that_of_ultralytics_own_val(taught: Taught, task: str, tmp_path: Path) -> None:
    adapter, model, dataset = opened(taught, task)
    shutil.copytree(taught(task), data := tmp_path / "data")  # ultralytics writes caches beside labels
    ours = adapter.evaluate(
        predictor(adapter.exportable(model)),
        dataset,
        "train",
        adapter.preprocess(IMGSZ),
        adapter.info(model).postprocess,
    )
    found: Any = YOLO(data / "model.pt").val(
        data=str(data / "data.yaml"), split="train", imgsz=IMGSZ, rect=False, batch=8, workers=0,
        device="cpu", plots=False, verbose=False, project=str(tmp_path), name="val",
    )  # fmt: skip
    theirs, letter = found.results_dict, LETTER[task]
    assert ours.metric == adapter.info(model).metric
    assert ours.score == pytest.approx(theirs[f"metrics/mAP50-95({letter})"], abs=1e-3)
    kind = ours.metric.removesuffix("mAP50-95")
    assert ours.others[f"{kind}mAP50"] == pytest.approx(theirs[f"metrics/mAP50({letter})"], abs=1e-3)
    assert ours.others[f"{kind}mAP50"] > 0.5  # there is something to agree about
    if task != "obb":
        assert ours.others["box mAP50-95"] == pytest.approx(theirs["metrics/mAP50-95(B)"], abs=1e-3)
        assert ours.others["box mAP50"] == pytest.approx(theirs["metrics/mAP50(B)"], abs=1e-3)
    assert set(ours.per_class) == set(NAMES)
    assert whole(ours.evidence, ours.images) == pytest.approx(ours.score, abs=1e-9)


@each_task
def test_the_loader_of_the_trainer_reads_the_same_labels(taught: Taught, task: str, tmp_path: Path) -> None:
    adapter, model, dataset = opened(taught, task)
    (work := tmp_path / "work").mkdir()
    adapter.compare_reading(dataset, work)
    label = next((work / "labels" / "val").glob("*.txt"))
    before = dataset.fingerprint("val")
    data = write_kites(tmp_path / "other", task)
    changed = data.parent / "labels" / "val" / "00.txt"
    numbers = changed.read_text().split()
    numbers[-2] = f"{float(numbers[-2]) - 0.001:.6f}"  # of the last corner or keypoint
    changed.write_text(" ".join(numbers))
    other = adapter.dataset(data, adapter.info(model))
    assert other.fingerprint("val") != before == dataset.fingerprint("val")
    assert label.read_text()


@each_task
def test_labels_lie_on_the_images_of_a_batch(taught: Taught, task: str) -> None:
    adapter, model, dataset = opened(taught, task)
    for batch in adapter.labelled_images(dataset, adapter.preprocess(IMGSZ), 100, seed=0):
        image = batch["img"][0]
        for index, (label, box) in enumerate(zip(batch["cls"][:, 0], batch["bboxes"], strict=True)):
            x, y = (int(value * IMGSZ) for value in box[:2])
            assert image[:, y, x].argmax() == 2 - int(label)  # a class is a colour, BGR in the file
            if task == "segment":
                assert batch["masks"][0, y // 4, x // 4] == index + 1
                assert batch["sem_masks"][0, y // 4, x // 4] == label
            if task == "pose":
                middle = batch["keypoints"][index, :, :2].mean(0)
                assert torch.allclose(middle, box[:2], atol=0.02)
    assert torch.isfinite(adapter.loss(model, batch))


@each_task
def test_an_exported_file_gives_all_outputs_and_takes_nms_where_onnx_has_it(
    taught: Taught, task: str, tmp_path: Path
) -> None:
    adapter, model, dataset = opened(taught, task)
    info, pre = adapter.info(model), adapter.preprocess(IMGSZ)
    images = dataset.images["val"][:2]
    artifact, check = export(
        adapter.exportable(model), info, pre, images, ExportRecipe(), "original", tmp_path / "x.onnx"
    )
    assert check.box_px is not None and check.box_px < 0.01 and check.score < 1e-3
    graph = onnx.load(artifact.path).graph
    assert tuple(output.name for output in graph.output) == info.outputs
    assert spec_of(artifact.path).postprocess == info.postprocess
    floats = set(adapter.float_nodes([node.name for node in graph.node]))
    convs = {node.name for node in graph.node if node.op_type in ("Conv", "ConvTranspose")}
    assert floats and not floats & convs
    assert {node.op_type for node in graph.node if node.name in floats} >= {"Sigmoid", "Concat"}
    if task == "obb":
        return
    spec = Spec(preprocess=pre, postprocess=info.postprocess)
    session = get_backend("onnxruntime").load(artifact.path, "fp32", 1, {})
    inside, post = embedded_predictor(
        embed(artifact.path, spec, ("scale", "nms"), tmp_path / "nms.onnx"), spec, ("scale", "nms")
    )
    plain = adapter.evaluate(session, dataset, "train", pre, as_deployed(info.postprocess))
    found = adapter.evaluate(inside, dataset, "train", pre, post)
    assert found.score == pytest.approx(plain.score, abs=1e-3)
    assert found.score > 0.1


def pruned(adapter: ModelAdapter, model: Any, out: Path) -> Path:
    """Write a checkpoint with fewer channels."""
    example = torch.zeros(1, 3, IMGSZ, IMGSZ)
    recipe = PruneRecipe(ratio=0.3, criterion="l1")
    less = prune(adapter.prunable(model), adapter.unprunable, example, recipe, 4, Evidence()).model
    adapter.save(less, out)
    return out


RECIPE = load_recipe(
    None,
    ("quantize.aware_epochs=1", "quantize.scheme=ort-u8s8"),
    prune__criterion="slim",
    sparse__epochs=1,
    finetune__batch=12,
    finetune__device="cpu",
)


@pytest.mark.parametrize("task", ["segment", "obb"])
def test_training_with_rounding_keeps_the_pruned_shape(taught: Taught, task: str, tmp_path: Path) -> None:
    adapter, model, dataset = opened(taught, task)
    student, out = pruned(adapter, model, tmp_path / "student.pt"), tmp_path / "out" / "model.pt"
    out.parent.mkdir()
    teacher = taught(task) / "model.pt"
    adapter.train_aware(Training(student, teacher, dataset, IMGSZ, RECIPE, out, silent))
    assert parameters(out) == parameters(student) < parameters(teacher)
    assert adapter.info(adapter.load(out)) == adapter.info(adapter.load(student))
    assert YOLO(out).task == task


def test_a_sparse_training_of_keypoints_is_on_record_by_their_metric(taught: Taught, tmp_path: Path) -> None:
    adapter, _, dataset = opened(taught, "pose")
    start = taught("pose") / "model.pt"
    adapter.sparsify(Training(start, None, dataset, IMGSZ, RECIPE, tmp_path, silent))
    record = SparseTraining.model_validate_json((tmp_path / "sparse.json").read_text())
    assert (record.epochs[-1].metric, len(record.epochs)) == ("pose mAP50-95", 2)
    assert record.epochs[-1].score is not None and record.epochs[-1].score > 0
    assert adapter.info(adapter.load(tmp_path / "model.pt")).postprocess.keypoints == SKELETON


def silent(share: float, words: str) -> None:
    """Take progress and say nothing."""


@pytest.mark.parametrize("family", ["yolo11", "yolo26"])
@each_task
def test_newer_families_are_read_safely_and_compute_what_ultralytics_does(
    one_thread: None, task: str, family: str, tmp_path: Path
) -> None:
    adapter, model = adapter_for(task), build_lively(task, family)
    model.model[-1].end2end = family == "yolo26"
    adapter.save(model, path := tmp_path / "model.pt")
    assert adapter_of(path) is adapter
    loaded = adapter.load(path)
    images = torch.rand(1, 3, IMGSZ, IMGSZ)
    with torch.no_grad():
        expected = model.half().float()(images)[0]
        found = adapter.exportable(loaded)(images)
    wanted = expected if isinstance(expected, tuple) else (expected,)
    got = found if isinstance(found, tuple) else (found,)
    post = adapter.info(loaded).postprocess
    assert post.end2end == (family == "yolo26")
    if not post.end2end:  # of rows that tie, the order is chance
        for one, other in zip(wanted, got, strict=True):
            assert torch.allclose(one, other, atol=2e-3)
    assert [tuple(one.shape) for one in got] == [tuple(one.shape) for one in wanted]
    with torch.no_grad():
        plain = adapter.exportable(loaded, end2end=False)(images)
    before = adapter.info(loaded).before_nms().postprocess
    outputs = [each.numpy() for each in (plain if isinstance(plain, tuple) else (plain,))]
    HEADS[before.head].check(outputs, before)


def test_a_pose_set_of_another_skeleton_is_refused_and_one_without(taught: Taught, tmp_path: Path) -> None:
    adapter, model, _ = opened(taught, "pose")
    assert adapter.info(model).postprocess.keypoints == SKELETON
    data = write_kites(tmp_path / "data", "pose")
    text = data.read_text()
    for change, said in (
        (text.replace("- 4\n- 3\n", "- 17\n- 3\n"), r"kpt_shape: \[17, 3\] here, and \[4, 3\] of the model"),
        (text.replace("kpt_shape", "shape"), "kpt_shape: the model learns keypoints, and the file does not"),
        (
            text.replace("- 0\n- 3\n- 2", "- 0\n- 0\n- 2"),
            "flip_idx: each of the 4 keypoints is to stand",
        ),
        (text + "kpt_oks_sigmas: [0.1]\n", "kpt_oks_sigmas: 4 numbers above 0 are expected"),
    ):
        assert change != text
        data.write_text(change)
        with pytest.raises(DataError, match=said):
            adapter.dataset(data, adapter.info(model))


def test_the_sigmas_of_the_data_set_decide_how_near_a_keypoint_has_to_be(
    taught: Taught, tmp_path: Path
) -> None:
    adapter, model, _ = opened(taught, "pose")
    data = write_kites(tmp_path / "data", "pose")
    scores = []
    for sigma in (0.02, 0.1, 0.5):
        data.write_text(data.read_text().partition("kpt_oks_sigmas")[0] + f"kpt_oks_sigmas: {[sigma] * 4}\n")
        dataset = adapter.dataset(data, adapter.info(model))
        network, post = predictor(adapter.exportable(model)), adapter.info(model).postprocess
        scores.append(adapter.evaluate(network, dataset, "val", adapter.preprocess(IMGSZ), post).score)
    assert scores[0] < scores[1] < scores[2]


@each_task
def test_a_checkpoint_of_one_task_is_none_of_another(taught: Taught, task: str) -> None:
    others = [adapter_for(other) for other in TASKS if other != task]
    path = taught(task) / "model.pt"
    for adapter in others:
        assert not adapter.recognise(path)
        with pytest.raises(ModelError, match="is not supported, only plain"):
            adapter.load(path)


@pytest.mark.parametrize("task", ["segment", "obb"])
def test_why_nothing_is_found_is_told_by_the_metric_of_the_task(taught: Taught, task: str) -> None:
    adapter, model, dataset = opened(taught, task)
    network = predictor(adapter.exportable(model))
    classes = slice(4, 7)

    def turned(images: np.ndarray[Any, Any]) -> list[np.ndarray[Any, Any]]:
        outputs = [np.array(output) for output in network(images)]
        outputs[0][:, classes] = outputs[0][:, [5, 6, 4]]
        return outputs

    (cause,) = adapter.causes(
        turned, dataset, "train", adapter.preprocess(IMGSZ), adapter.info(model).postprocess
    )
    assert cause.startswith(
        f"its boxes fit where classes are left out of account ({adapter.info(model).metric}"
    )
    tensor, _ = load_input(dataset.images["val"][0], adapter.preprocess(IMGSZ))
    assert len(turned(tensor)) == len(adapter.info(model).outputs)
