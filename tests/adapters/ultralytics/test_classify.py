"""Classifiers: told by their checkpoint, pruned on the step, taught by logits, rated by top-1."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional
from torch.testing import assert_close
from ultralytics import YOLO

from conftest import CLASSIFIERS, DIGITS, write_digits
from edgeprune.adapters.classifier import TEACHER_SHARE, distillation
from edgeprune.adapters.top_k import evaluate
from edgeprune.adapters.ultralytics import classify as adapter
from edgeprune.adapters.ultralytics import detect as ultralytics
from edgeprune.adapters.ultralytics.distil import SoftTargets
from edgeprune.config.recipe import Criterion, ExportRecipe, PruneRecipe, Recipe, load_recipe
from edgeprune.core.errors import CompileError, ModelError
from edgeprune.export.onnx import compare, export
from edgeprune.images.dataset import Dataset, load_folders
from edgeprune.images.postprocess import classifier
from edgeprune.images.preprocess import load_input
from edgeprune.images.spec import spec_of
from edgeprune.models import ModelInfo, Training, adapter_of
from edgeprune.models.predictor import predictor
from edgeprune.prune.criteria import CRITERIA
from edgeprune.prune.groups import Group, find_groups, remove, trace
from edgeprune.prune.recalibrate import recalibrate
from edgeprune.prune.stages import PruneContext, batches, evidence_for
from edgeprune.prune.surgery import prune
from edgeprune.records.pruning import SparseTraining
from made_matches import whole

SPEC = adapter.preprocess(64)
POST = classifier(DIGITS)
EXAMPLE = torch.zeros(1, 3, 64, 64)


def parameters(model: nn.Module) -> int:
    return sum(tensor.numel() for tensor in model.parameters())


def silent(share: float, words: str) -> None:
    """Take progress and say nothing."""


@pytest.fixture(scope="module")
def models(classifiers: dict[str, Path]) -> dict[str, nn.Module]:
    return {family: adapter.prunable(adapter.load(path)) for family, path in classifiers.items()}


def train(student: Path, teacher: Path | None, data: Path, out: Path, epochs: int) -> None:
    recipe = load_recipe(
        finetune__epochs=epochs, finetune__batch=6, finetune__device="cpu", finetune__lr0=0.002
    )
    adapter.finetune(Training(student, teacher, load_folders(data, DIGITS), 64, recipe, out, silent))


@pytest.fixture(scope="module")
def teacher(classifiers: dict[str, Path], digits: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a checkpoint that has learnt its classes, from labels alone."""
    folder = tmp_path_factory.mktemp("teacher")
    model = adapter.load(classifiers["yolov8n-cls"])
    recalibrate(model, batches(digits, SPEC, seed=0))
    adapter.save(model, folder / "new.pt")
    train(folder / "new.pt", None, digits.source, folder / "teacher.pt", 15)
    return folder / "teacher.pt"


@pytest.fixture(scope="module")
def student(teacher: Path, digits: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a checkpoint pruned from the teacher's."""
    less = pruned(adapter.prunable(adapter.load(teacher)), digits, PruneRecipe(ratio=0.5, criterion="l1"))
    recalibrate(less, batches(digits, SPEC, seed=0))
    path = tmp_path_factory.mktemp("student") / "student.pt"
    adapter.save(less, path)
    return path


def pruned(model: nn.Module, digits: Dataset, recipe: PruneRecipe) -> nn.Module:
    evidence = evidence_for(PruneContext(adapter, digits, SPEC, Recipe(prune=recipe)), model)
    return prune(model, adapter.unprunable, EXAMPLE, recipe, 8, evidence).model


@pytest.mark.parametrize("family", CLASSIFIERS)
def test_each_family_loads_and_is_told_from_a_detector(
    classifiers: dict[str, Path], checkpoints: dict[str, Path], family: str
) -> None:
    model = adapter.load(classifiers[family])
    assert adapter.info(model) == ModelInfo("classify", family, DIGITS, 32, 64, "top-1", classifier(DIGITS))
    assert adapter_of(classifiers[family]) is adapter
    assert adapter_of(checkpoints["yolov8n"]) is ultralytics
    with pytest.raises(
        ModelError, match="classification model is needed, this checkpoint holds DetectionModel"
    ):
        adapter.load(checkpoints["yolov8n"])


def test_what_is_no_checkpoint_is_left_to_the_detector_to_refuse(tmp_path: Path) -> None:
    (tmp_path / "text.pt").write_text("not a checkpoint")
    assert adapter_of(tmp_path / "text.pt") is adapter_of(tmp_path / "none.pt") is ultralytics


def last_group(groups: list[Group]) -> Group:
    """Return the group of the 1280 channels that the linear layer reads."""
    return next(group for group in groups if group.width == 1280)


@pytest.mark.parametrize("family", CLASSIFIERS)
def test_surgery_computes_what_zeroed_consumers_compute(models: dict[str, nn.Module], family: str) -> None:
    model = models[family]
    images = torch.rand(2, 3, 64, 64)
    fixed = adapter.unprunable(model)
    assert model.model[-1].linear in fixed
    twin = adapter.prunable(model)
    fixed = adapter.unprunable(twin)
    graph = trace(twin, EXAMPLE, fixed)
    head = last_group(find_groups(graph, twin, fixed))
    zeroed = adapter.prunable(model)
    doomed = list(range(0, 1280, 3))
    zeroed.model[-1].linear.weight.data[:, doomed] = 0
    remove(graph, head, doomed)
    assert twin.model[-1].linear.in_features == 1280 - len(doomed)
    with torch.no_grad():
        assert_close(twin(images)[1], zeroed(images)[1], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("criterion", get_args(Criterion))
def test_every_criterion_prunes_a_classifier_on_the_step(
    models: dict[str, nn.Module], digits: Dataset, criterion: Criterion
) -> None:
    recipe = PruneRecipe(criterion=criterion, ratio=0.3, images=4)
    less = pruned(models["yolo11n-cls"], digits, recipe)
    assert parameters(less) < 0.9 * parameters(models["yolo11n-cls"])
    widths = [
        (new.out_channels, old.out_channels)
        for new, old in zip(less.modules(), models["yolo11n-cls"].modules(), strict=True)
        if isinstance(new, nn.Conv2d) and isinstance(old, nn.Conv2d)
    ]
    assert all(new == old or new % 8 == 0 for new, old in widths)
    assert less(EXAMPLE)[0].shape == (1, 3)


@pytest.mark.parametrize("criterion", ["group_norm", "taylor", "combined", "apoz"])
def test_what_the_linear_layer_reads_counts(
    models: dict[str, nn.Module], digits: Dataset, criterion: Criterion
) -> None:
    model = adapter.prunable(models["yolov8n-cls"])
    head = model.model[-1]
    recipe = Recipe(prune=PruneRecipe(criterion=criterion, images=4))
    with torch.no_grad():
        head.linear.weight[:, 7] *= 1000
        head.conv.bn.weight[8] = 0  # its SiLU is of the bias alone, and never above 0
        head.conv.bn.bias[8] = -1
    fixed = adapter.unprunable(model)
    group = last_group(find_groups(trace(model, EXAMPLE, fixed), model, fixed))
    scores = CRITERIA[criterion](group, evidence_for(PruneContext(adapter, digits, SPEC, recipe), model))
    assert scores.shape == (1280,)
    assert criterion == "taylor" or float(scores.mean()) == pytest.approx(
        1
    )  # that one is in the unit of the loss
    assert scores[8] == 0 if criterion == "apoz" else scores.argmax() == 7


def test_a_pruned_checkpoint_is_read_alike_by_us_and_by_ultralytics(
    student: Path, teacher: Path, digits: Dataset
) -> None:
    ours, theirs = adapter.load(student), YOLO(student)
    assert theirs.task == "classify"
    assert parameters(ours) == parameters(theirs.model) < parameters(adapter.load(teacher))
    image = digits.images["val"][0]
    with torch.no_grad():
        expected = ours(torch.from_numpy(load_input(image, SPEC)[0]))[0][0]
    assert_close(theirs(image, imgsz=64, verbose=False)[0].probs.data, expected, rtol=1e-4, atol=1e-5)


def test_a_checkpoint_as_ultralytics_trains_it_is_read(
    classifiers: dict[str, Path], digits: Dataset, tmp_path: Path
) -> None:
    model = YOLO(classifiers["yolov8n-cls"])
    data = write_digits(tmp_path / "digits")
    model.train(data=str(data), epochs=1, imgsz=64, batch=12, project=str(tmp_path), name="run", plots=False)
    weights = tmp_path / "run" / "weights" / "best.pt"
    assert adapter_of(weights) is adapter
    trained = adapter.load(weights)
    assert not hasattr(trained, "transforms")  # how the trainer fed it is none of the network
    info = adapter.info(trained)
    assert (info.imgsz, sorted(info.names)) == (64, sorted(DIGITS))
    dataset = load_folders(data, info.names)
    ours = evaluate(predictor(adapter.exportable(trained)), dataset, "val", SPEC, info.postprocess)
    theirs = YOLO(weights).val(data=str(data), imgsz=64, plots=False, verbose=False, project=str(tmp_path))
    assert (ours.score, ours.others["top-5"]) == pytest.approx((theirs.top1, theirs.top5))
    assert whole(ours.evidence, ours.images) == pytest.approx(theirs.top1)


logits = st.lists(st.floats(-20, 20), min_size=3, max_size=3)


@given(student=logits, teacher=logits, temperature=st.floats(0.5, 20))
def test_distillation_is_a_divergence_by_hand(
    student: list[float], teacher: list[float], temperature: float
) -> None:
    def soft(values: list[float]) -> np.ndarray:
        powers = np.exp((np.array(values) - max(values)) / temperature)
        return powers / powers.sum()

    p, q = soft(teacher), soft(student)
    expected = temperature**2 * np.sum(p * (np.log(p) - np.log(q)))
    got = distillation(
        torch.tensor([student, student]), torch.tensor([teacher, teacher]), temperature
    )  # the mean over equal images is that of one
    assert float(got) == pytest.approx(expected, rel=1e-3, abs=2e-3)
    assert float(got) >= -1e-3


@given(values=logits, temperature=st.floats(0.5, 20))
def test_a_student_that_equals_its_teacher_has_nothing_to_learn(
    values: list[float], temperature: float
) -> None:
    student = torch.tensor([values], requires_grad=True)
    loss = distillation(student, torch.tensor([values]), temperature)
    loss.backward()
    assert float(loss.detach()) == pytest.approx(0, abs=1e-4)
    assert student.grad is not None
    assert float(student.grad.abs().max()) < 1e-4


def test_the_gradient_of_hot_logits_does_not_fade() -> None:
    """At a high temperature it is (student - teacher) / classes, for logits of zero mean (Hinton et al.)."""
    student, teacher = torch.tensor([[1.0, -2.0, 1.0]], requires_grad=True), torch.tensor([[3.0, -1.0, -2.0]])
    distillation(student, teacher, 500.0).backward()
    assert student.grad is not None
    assert_close(student.grad, (student - teacher).detach() / 3, rtol=0.02, atol=0.01)


def test_labels_and_teacher_share_the_loss() -> None:
    teacher = nn.Sequential(nn.Flatten(), nn.Linear(12, 3))
    batch = {"img": torch.rand(4, 3, 2, 2), "cls": torch.tensor([0, 2, 1, 1])}
    student = torch.randn(4, 3)
    loss, _ = SoftTargets(teacher, 4.0)(student, batch)
    soft = distillation(student, teacher(batch["img"]), 4.0)
    assert_close(
        loss, (1 - TEACHER_SHARE) * functional.cross_entropy(student, batch["cls"]) + TEACHER_SHARE * soft
    )
    assert not any(tensor.requires_grad for tensor in teacher.parameters())


def rated(path: Path, digits: Dataset) -> float:
    module = adapter.exportable(adapter.load(path))
    return adapter.evaluate(predictor(module), digits, "train", SPEC, POST).score


def test_a_teacher_teaches_what_the_labels_deny_and_training_keeps_shape_classes_and_data_folder(
    classifiers: dict[str, Path], teacher: Path, digits: Dataset, tmp_path: Path
) -> None:
    data = write_digits(tmp_path / "data")
    for name, other in zip(("0", "1", "3", "aside"), ("aside", "0", "1", "3"), strict=True):
        (data / "train" / name).rename(data / "train" / other)  # every label of train is wrong now
    before = set(data.rglob("*"))
    novice, out = tmp_path / "novice.pt", tmp_path / "out" / "recovered.pt"
    out.parent.mkdir()
    model = pruned(
        adapter.prunable(adapter.load(classifiers["yolov8n-cls"])),
        digits,
        PruneRecipe(ratio=0.3, criterion="l1"),
    )
    recalibrate(model, batches(digits, SPEC, seed=0))
    adapter.save(model, novice)
    train(novice, teacher, data, out, 15)

    old, new = adapter.load(novice), adapter.load(out)
    assert parameters(new) == parameters(old) < parameters(adapter.load(teacher))
    assert adapter.info(new) == adapter.info(old), "the classes stay in the model's order"
    assert set(data.rglob("*")) == before
    assert {path.name for path in out.parent.iterdir()} == {"recovered.pt", "finetune.log"}
    assert rated(out, digits) > max(0.6, rated(novice, digits))


def test_labels_alone_teach_the_classes_in_the_order_of_the_model(
    classifiers: dict[str, Path], teacher: Path, digits: Dataset
) -> None:
    assert rated(teacher, digits) > max(0.6, rated(classifiers["yolov8n-cls"], digits))


def test_an_aware_training_keeps_what_a_classifier_knows(
    teacher: Path, student: Path, digits: Dataset, tmp_path: Path
) -> None:
    recipe = load_recipe(
        None,
        ("quantize.aware_epochs=3", "quantize.scheme=ort-u8s8"),
        finetune__batch=6,
        finetune__device="cpu",
    )
    out = tmp_path / "aware.pt"
    adapter.train_aware(Training(student, teacher, digits, 64, recipe, out, silent))
    assert parameters(adapter.load(out)) == parameters(adapter.load(student))
    assert list(adapter.load(out).state_dict()) == list(adapter.load(student).state_dict())
    before, after = (adapter.load(path).get_parameter("model.9.linear.weight") for path in (student, out))
    assert not torch.equal(before, after)
    assert rated(out, digits) >= rated(student, digits) - 0.1


def test_a_regulariser_shrinks_the_scales_of_a_classifier(
    classifiers: dict[str, Path], digits: Dataset, tmp_path: Path
) -> None:
    recipe = load_recipe(
        prune__criterion="slim",
        sparse__epochs=2,
        sparse__strength=20.0,
        finetune__batch=6,
        finetune__device="cpu",
    )
    adapter.sparsify(Training(classifiers["yolo11n-cls"], None, digits, 64, recipe, tmp_path, silent))
    record = SparseTraining.model_validate_json((tmp_path / "sparse.json").read_text())
    assert record.epochs[-1].quantiles[2] < record.epochs[0].quantiles[2]
    assert record.epochs[-1].metric == "top-1"
    assert record.epochs[-1].score is not None
    assert '"metric":"top-1"' in (tmp_path / "sparse.json").read_text().replace(" ", "")
    assert adapter.info(adapter.load(tmp_path / "model.pt")).names == DIGITS


def test_top_1_and_top_5_count_places(digits: Dataset) -> None:
    truth = iter([digits.class_of(image) for image in digits.images["val"]])
    fourth = iter(range(12))

    def predict(images: np.ndarray) -> list[np.ndarray]:
        scores = np.eye(3, dtype=np.float32)[[next(truth)]]
        return [scores if next(fourth) % 4 else 1 - scores]

    accuracy = evaluate(predict, digits, "val", SPEC, POST)
    assert (accuracy.metric, accuracy.score, accuracy.others["top-5"], accuracy.images) == (
        "top-1",
        0.75,
        1.0,
        12,
    )
    assert accuracy.per_class == dict.fromkeys(DIGITS, 0.75)
    assert accuracy.model_dump(exclude={"per_class"}) == {
        "metric": "top-1", "split": "val", "images": 12, "score": 0.75, "others": {"top-5": 1.0},
        "drop": None, "drop_interval": None, "chance": 1 / 3,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("output", "words"),
    [(np.zeros((1, 4), np.float32), "is expected"), (np.full((1, 3), np.nan, np.float32), "NaN")],
)
def test_an_output_that_is_no_classifiers_is_refused(digits: Dataset, output: np.ndarray, words: str) -> None:
    with pytest.raises(CompileError, match=words):
        evaluate(lambda images: [output], digits, "val", SPEC, POST)


def test_the_exported_file_gives_the_probabilities_of_torch_and_says_how_images_are_cropped(
    student: Path, digits: Dataset, tmp_path: Path
) -> None:
    model, images = adapter.load(student), digits.images["val"][:3]
    module = adapter.exportable(model)
    artifact, check = export(
        module, adapter.info(model), SPEC, images, ExportRecipe(), "pruned", tmp_path / "model.onnx"
    )
    assert (check.images, check.box_px) == (3, None)
    assert 0 <= check.score < 1e-4
    theirs = YOLO(artifact.path, task="classify")(images[0], imgsz=64, verbose=False)[0].probs.data
    assert_close(theirs, module(torch.from_numpy(load_input(images[0], SPEC)[0]))[0], rtol=1e-3, atol=1e-4)
    loaded = onnx.load(artifact.path)
    metadata = {entry.key: entry.value for entry in loaded.metadata_props}
    assert "centre crop" in metadata["edgeprune.preprocess"]
    floats = adapter.float_nodes([node.name for node in loaded.graph.node])
    assert [node.op_type for node in loaded.graph.node if node.name in floats] == ["Softmax"]


def test_an_exported_file_that_differs_from_torch_is_refused(
    student: Path, digits: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, images = adapter.load(student), digits.images["val"][:1]
    module, info = adapter.exportable(model), adapter.info(model)
    out = tmp_path / "model.onnx"
    export(module, info, SPEC, images, ExportRecipe(), "pruned", out)
    with torch.no_grad():
        module.model[-1].linear.bias[0] += 1
    check = compare(predictor(module), out, spec_of(out), images, "pruned")
    assert check.score > 1e-3
    monkeypatch.setattr("edgeprune.export.onnx.compare", lambda *_: check)
    with pytest.raises(CompileError, match=r"torch by \S+ in score on 1 images; allowed are 0\.001$"):
        export(module, info, SPEC, images, ExportRecipe(), "pruned", out)


def test_a_cause_of_chance_is_told_by_what_was_measured(digits: Dataset) -> None:
    truth = [digits.class_of(image) for image in digits.images["val"]]

    def told(scores: np.ndarray) -> str:
        rows = iter(scores.astype(np.float32))
        (cause,) = adapter.causes(lambda images: [next(rows)[None]], digits, "val", SPEC, POST)
        return cause

    turned = np.eye(3)[[(index + 1) % 3 for index in truth]]
    assert told(turned).startswith("with its classes in another order it would be right in 100% of")
    assert told(np.eye(3)[[0] * 12]).startswith("it takes 100% of the images for class '3'")
    mixed = np.eye(3)[[number % 3 for number in range(12)]]
    assert told(mixed).startswith("in no order of the classes would it be right in more than")
