"""Classic YOLOv5: read as its repository writes it, judged as its `val.py` does, cut, written again."""

from __future__ import annotations

import json
import pickletools
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import hostile_pickles
from conftest import NAMES
from edgeprune.adapters.yolov5 import detect as adapter
from edgeprune.core.errors import ModelError
from edgeprune.images.dataset import Dataset
from edgeprune.models import adapter_of
from edgeprune.models.predictor import predictor
from edgeprune.models.safe_load import classes_in
from edgeprune.prune.groups import find_groups, trace
from edgeprune.prune.proof import LIMIT, difference
from edgeprune.prune.whole import whole_blocks
from made_classic import DATA, FORMS, made_classic
from made_matches import whole

EXPECTED = json.loads((DATA / "expected.json").read_text())
TRAINED = DATA / "boxes_tiny.pt"


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return an untrained checkpoint of three classes, 64 px."""
    path = tmp_path_factory.mktemp("classic") / "best.pt"
    adapter.save(made_classic(), path)
    return path


def picture(side: int) -> torch.Tensor:
    """Return the input that the recorded numbers are of."""
    return torch.linspace(0, 1, 3 * side * side).view(1, 3, side, side)


def names_in(path: Path) -> set[str]:
    """Return the names of classes that a checkpoint's pickle holds, as they stand there."""
    with zipfile.ZipFile(path) as archive:
        pickle = archive.read(next(name for name in archive.namelist() if name.endswith("data.pkl")))
    return {
        str(value).replace(" ", ".") for code, value, _ in pickletools.genops(pickle) if code.name == "GLOBAL"
    }


def test_a_checkpoint_of_the_repository_is_read_and_computes_what_it_computed() -> None:
    assert {"yolov5.models.yolo.DetectionModel", "yolov5.models.common.C3"} <= names_in(TRAINED)
    assert adapter_of(TRAINED) is adapter
    model = adapter.load(TRAINED)
    info = adapter.info(model)
    assert (info.family, info.imgsz, info.stride, info.names) == ("tiny", 96, 32, NAMES)
    assert model.hyp["obj"] == pytest.approx(EXPECTED["obj"])
    with torch.no_grad():
        boxes = model(picture(96))[0][0]
    for index, wanted in EXPECTED["boxes"].items():
        assert boxes[:, int(index)].tolist() == pytest.approx(wanted, rel=1e-4, abs=1e-4)


def test_accuracy_is_that_of_the_repositorys_own_validation(tiny: Dataset) -> None:
    model = adapter.load(TRAINED)
    info = adapter.info(model)
    accuracy = adapter.evaluate(
        predictor(adapter.exportable(model)), tiny, "train", adapter.preprocess(96), info.postprocess
    )
    assert accuracy.score == pytest.approx(EXPECTED["map50_95"], abs=0.001)
    assert accuracy.others["mAP50"] == pytest.approx(EXPECTED["map50"], abs=0.001)
    assert whole(accuracy.evidence, accuracy.images) == pytest.approx(accuracy.score, abs=1e-9)
    assert EXPECTED["map50_95"] > 0.1  # of a network that has learned something


def test_what_is_saved_has_the_repositorys_names_and_is_read_alike(checkpoint: Path, tmp_path: Path) -> None:
    written = {name for name in names_in(checkpoint) if not name.startswith(("torch", "collections", "__"))}
    assert written == {
        *(f"models.common.{name}" for name in ("Bottleneck", "C3", "Concat", "Conv", "SPPF")),
        "models.yolo.Detect",
        "models.yolo.DetectionModel",
    }
    first = adapter.load(checkpoint)
    adapter.save(first, tmp_path / "again.pt")
    again = adapter.load(tmp_path / "again.pt")
    assert torch.equal(first(picture(64))[0], again(picture(64))[0])
    assert (again.hyp, again.args, again.names) == (first.hyp, first.args, dict(enumerate(NAMES)))


@pytest.mark.parametrize("form", FORMS)
def test_a_cut_is_exact_for_every_group(form: str) -> None:
    model: Any = adapter.prunable(made_classic(form))
    model.model[-1].export = True  # its boxes and scores alone
    assert whole_blocks(model) == []
    fixed = adapter.unprunable(model)
    groups = find_groups(trace(model, picture(64), fixed), model, fixed)
    doomed = {group.name: list(range(number % 3, group.width, 3)) for number, group in enumerate(groups)}
    assert len(doomed) > 20
    assert difference(model, adapter.unprunable, picture(64), (), doomed) <= LIMIT


def anchors_of_another_shape(model: Any) -> None:
    model.model[-1]._buffers["anchors"] = torch.zeros(3, 3, 5)


def more_classes(model: Any) -> None:
    model.names = dict(enumerate("abcdef"))


def gains_that_are_none(model: Any) -> None:
    model.hyp["box"] = float("nan")


def an_activation_to_evaluate(model: Any) -> None:
    model.yaml["activation"] = "open('proof', 'w')"


def test_what_older_versions_kept_twice_is_left_out(checkpoint: Path, tmp_path: Path) -> None:
    """v5.0 had the anchors in pixels as a buffer of its own, and no gains before a training."""
    model: Any = adapter.load(checkpoint)
    model.model[-1].register_buffer("anchor_grid", torch.ones(3, 1, 3, 1, 1, 2))
    del model.hyp
    torch.save({"model": model, "img_size": 64}, tmp_path / "old.pt")
    again = adapter.load(tmp_path / "old.pt")
    assert torch.equal(again(picture(64))[0], model.eval()(picture(64))[0])
    assert again.hyp["cls"] == pytest.approx(0.5 * 3 / 80)


@pytest.mark.parametrize(
    "change", [anchors_of_another_shape, more_classes, gains_that_are_none, an_activation_to_evaluate]
)
def test_a_damaged_or_hostile_checkpoint_is_refused_in_a_line(
    checkpoint: Path, tmp_path: Path, change: Callable[[Any], None]
) -> None:
    model = adapter.load(checkpoint)
    change(model)
    torch.save({"model": model, "opt": {"imgsz": 64}}, tmp_path / "x.pt")
    with pytest.raises(ModelError) as caught:
        adapter.load(tmp_path / "x.pt", trust=True)  # trust changes nothing: it is never unpickled
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "name", ["models.common.AutoShape", "models.yolo.Segment", "yolov5.models.common.C3TR"]
)
def test_other_models_of_the_repository_are_refused_by_name(
    checkpoint: Path, tmp_path: Path, name: str
) -> None:
    path = tmp_path / "x.pt"
    hostile_pickles.write_zip(hostile_pickles.framed(hostile_pickles.by_line(name), 2), path)
    with pytest.raises(ModelError, match=rf"holds {name}: of the models that the YOLOv5 repository writes"):
        adapter.load(path)


def test_only_the_heads_convolutions_may_be_quantized() -> None:
    names = ["/model.23/cv3/conv/Conv", "/model.24/m.0/Conv", "/model.24/Sigmoid", "/model.24/Mul_3"]
    assert adapter.float_nodes(names) == ["/model.24/Sigmoid", "/model.24/Mul_3"]


def test_the_file_is_known_by_its_names(checkpoint: Path, checkpoints: dict[str, Path]) -> None:
    assert adapter.recognise(checkpoint)
    assert not any(adapter.recognise(path) for path in checkpoints.values())
    assert "edgeprune.models.anchors.AnchorModel" in classes_in(checkpoint)


def test_the_loss_falls(tiny: Dataset, checkpoint: Path) -> None:
    model = adapter.load(checkpoint).train()
    model.hyp |= {"box": 1.0, "obj": 1.0, "cls": 1.0}
    (batch, *_) = adapter.labelled_images(tiny, adapter.preprocess(64), 1, 0)
    optimiser = torch.optim.Adam(model.parameters(), 0.01)
    losses = []
    for _ in range(8):
        total = adapter.loss(model, batch)
        optimiser.zero_grad()
        total.backward()
        optimiser.step()
        losses.append(total.item())
    assert losses[-1] < 0.8 * losses[0]
