"""Recovery: a pruned shape survives saving, ultralytics, training and Ctrl-C; the data folder stays clean."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn
from ultralytics import YOLO
from ultralytics.utils import LOGGER

from conftest import FAMILIES, write_dataset
from edgeprune.adapters.ultralytics import detect as adapter
from edgeprune.adapters.ultralytics.finetune import BEST, KeptShapeTrainer
from edgeprune.config.recipe import PruneRecipe, Recipe, load_recipe
from edgeprune.core.errors import EdgepruneError
from edgeprune.images.dataset import Dataset, load_dataset
from edgeprune.models import Progress, Training
from edgeprune.models.easing import Eased
from edgeprune.prune.activation import silu_names, swap_activation
from edgeprune.prune.evidence import Evidence
from edgeprune.prune.surgery import prune


def parameters(model: nn.Module) -> int:
    return sum(tensor.numel() for tensor in model.parameters())


def silent(share: float, words: str) -> None:
    """Take progress and say nothing."""


@pytest.fixture(scope="module")
def students(checkpoints: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return a pruned checkpoint of each family."""
    folder = tmp_path_factory.mktemp("students")
    for family, path in checkpoints.items():
        model = adapter.prunable(adapter.load(path))
        result = prune(
            model,
            adapter.unprunable,
            torch.zeros(1, 3, 64, 64),
            PruneRecipe(ratio=0.6, criterion="l1"),
            8,
            Evidence(),
        )
        adapter.save(result.model, folder / f"{family}.pt")
    return {family: folder / f"{family}.pt" for family in FAMILIES}


@pytest.mark.parametrize("family", FAMILIES)
def test_a_pruned_checkpoint_is_read_alike_by_us_and_by_ultralytics(
    checkpoints: dict[str, Path], students: dict[str, Path], family: str
) -> None:
    ours = adapter.load(students[family])
    theirs = YOLO(students[family])
    assert parameters(ours) == parameters(theirs.model) < 0.7 * parameters(adapter.load(checkpoints[family]))
    images = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(ours(images)[0], theirs.model.float().eval()(images)[0])
    assert theirs.task == "detect"
    assert tuple(theirs.names.values()) == adapter.info(ours).names


def train(
    student: Path, teacher: Path | None, dataset: Dataset, out: Path, epochs: int, progress: Progress = silent
) -> None:
    recipe: Recipe = load_recipe(finetune__epochs=epochs, finetune__batch=6, finetune__device="cpu")
    # Of an input that is no square, ultralytics trains at a square of the longer side: 64.
    adapter.finetune(Training(student, teacher, dataset, (32, 64), recipe, out, progress))


@pytest.mark.parametrize(("family", "taught"), [("yolov8n", True), ("yolo26n", True), ("yolo11n", False)])
def test_training_keeps_the_pruned_shape_and_the_data_folder(
    checkpoints: dict[str, Path], students: dict[str, Path], tmp_path: Path, family: str, taught: bool
) -> None:
    data = write_dataset(tmp_path / "data")
    before = set(data.parent.rglob("*"))
    out = tmp_path / "out" / "recovered.pt"
    out.parent.mkdir()
    told: list[tuple[float, str]] = []
    teacher = checkpoints[family] if taught else None
    train(
        students[family],
        teacher,
        load_dataset(data),
        out,
        1,
        lambda share, words: told.append((share, words)),
    )

    old, new = adapter.load(students[family]), adapter.load(out)
    assert parameters(new) == parameters(old) == parameters(YOLO(out).model)
    assert adapter.info(new) == adapter.info(old)
    assert [name for name, _ in new.named_modules()] == [name for name, _ in old.named_modules()]
    weights = dict(old.named_parameters())
    assert any(not torch.equal(tensor, weights[name]) for name, tensor in new.named_parameters())
    content = torch.load(out, weights_only=False)
    assert "Distill" not in repr(type(content["model"])) + repr(content["model"])
    assert content["ema"] is None
    assert "optimizer" not in content
    assert {path.suffix for path in set(data.parent.rglob("*")) - before} <= {".cache"}
    assert {path.name for path in out.parent.iterdir()} == {"recovered.pt", "finetune.log"}
    assert "1 epochs completed" in (out.parent / "finetune.log").read_text()
    assert [share for share, _ in told] == [0.5, 1.0]
    assert told[-1][1].startswith("epoch 1/1")


def test_ctrl_c_leaves_the_last_good_checkpoint(
    students: dict[str, Path], tiny: Dataset, tmp_path: Path
) -> None:
    out = tmp_path / "recovered.pt"

    def press(share: float, words: str) -> None:
        if words.startswith("epoch 2/3"):
            raise KeyboardInterrupt

    handlers, level = LOGGER.handlers[:], LOGGER.level
    with pytest.raises(KeyboardInterrupt):
        train(students["yolov8n"], None, tiny, out, 3, press)
    assert parameters(adapter.load(out)) == parameters(adapter.load(students["yolov8n"]))
    assert {path.name for path in tmp_path.iterdir()} == {"recovered.pt", "finetune.log"}
    assert (LOGGER.handlers, LOGGER.level) == (handlers, level)


def test_ctrl_c_in_the_first_epoch_leaves_nothing(
    students: dict[str, Path], tiny: Dataset, tmp_path: Path
) -> None:
    def press(share: float, words: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(students["yolov8n"], None, tiny, tmp_path / "recovered.pt", 1, press)
    assert {path.name for path in tmp_path.iterdir()} == {"finetune.log"}


def test_a_training_that_cannot_start_is_one_line_with_its_log(
    students: dict[str, Path], tiny: Dataset, tmp_path: Path
) -> None:
    unlabelled = tmp_path / "none.png"
    shutil.copy(tiny.images["train"][0], unlabelled)
    missing = replace(tiny, images=tiny.images | {"train": (unlabelled,)})
    with pytest.raises(EdgepruneError) as caught:
        train(students["yolov8n"], None, missing, tmp_path / "recovered.pt", 1)
    assert "\n" not in str(caught.value)
    assert "more in finetune.log of the build folder" in str(caught.value)
    assert (tmp_path / "finetune.log").is_file()


def test_swapped_activations_are_eased_in_and_only_then_count(
    students: dict[str, Path],
    checkpoints: dict[str, Path],
    tiny: Dataset,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    adapter.save(swap_activation(adapter.load(students["yolov8n"]), "relu"), tmp_path / "swapped.pt")
    shares: list[float] = []
    whole: list[bool] = []

    def saved(trainer: KeptShapeTrainer) -> bool:
        told = save(trainer)
        shares.append(trainer.eased())
        whole.append((trainer.wdir / BEST).is_file())
        return told

    save = KeptShapeTrainer.save_model
    monkeypatch.setattr(KeptShapeTrainer, "save_model", saved)
    out = tmp_path / "recovered.pt"
    train(tmp_path / "swapped.pt", checkpoints["yolov8n"], tiny, out, 3)
    assert shares == [pytest.approx(1 / 1.8), 1.0, 1.0]
    assert whole == [False, True, True]
    trained = adapter.load(out)
    assert silu_names(trained) == []
    assert not any(isinstance(module, Eased) for module in trained.modules())
    shares.clear()
    train(out, None, tiny, tmp_path / "again.pt", 1)
    assert shares == [1.0]  # nothing is eased in twice


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_read_only_data_set_trains(students: dict[str, Path], tmp_path: Path) -> None:
    data = write_dataset(tmp_path / "data")
    folders = [path for path in (data.parent, *data.parent.rglob("*")) if path.is_dir()]
    for folder in folders:
        folder.chmod(0o555)
    try:
        train(students["yolov8n"], None, load_dataset(data), tmp_path / "recovered.pt", 1)
    finally:
        for folder in folders:
            folder.chmod(0o755)
    assert (tmp_path / "recovered.pt").is_file()
    assert not list(data.parent.rglob("*.cache"))
