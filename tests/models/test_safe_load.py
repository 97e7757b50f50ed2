"""Checkpoints: all four families load, nothing else runs or passes, each refusal is a line with the file."""

from __future__ import annotations

import collections
import fractions
import io
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper
from torch import nn
from ultralytics.nn.tasks import DetectionModel, SegmentationModel

from conftest import FAMILIES, NAMES
from edgeprune.adapters.ultralytics import detect as adapter
from edgeprune.core.errors import ModelError
from edgeprune.images.postprocess import detector
from edgeprune.models import ModelInfo


class Evil:
    """Unpickling this creates a file, as a stand-in for anything worse."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.system, (f"touch '{self.marker}'",)


def refusal(path: Path, trust: bool = False) -> str:
    with pytest.raises(ModelError) as caught:
        adapter.load(path, trust)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    return message


@pytest.mark.parametrize("family", FAMILIES)
def test_each_family_loads_ready_to_be_pruned(checkpoints: dict[str, Path], family: str) -> None:
    model = adapter.load(checkpoints[family])
    assert isinstance(model, DetectionModel)
    assert not model.training
    assert all(tensor.dtype == torch.float32 for tensor in model.parameters())
    assert all(tensor.requires_grad for tensor in model.parameters())
    assert adapter.info(model) == ModelInfo(
        "detect", family, NAMES, 32, 64, "mAP50-95", detector(NAMES, end2end=False)
    )


def test_a_model_without_duplicates_says_so(checkpoints: dict[str, Path]) -> None:
    model = adapter.load(checkpoints["yolo26n"])
    model.model[-1].end2end = True
    assert adapter.info(model).end2end


def test_a_checkpoint_may_not_tell_its_image_size(checkpoints: dict[str, Path], tmp_path: Path) -> None:
    model = adapter.load(checkpoints["yolov8n"])
    model.args = {}
    adapter.save(model, tmp_path / "x.pt")
    assert adapter.info(adapter.load(tmp_path / "x.pt")).imgsz is None


def test_saving_leaves_the_model_as_it_is(checkpoints: dict[str, Path], tmp_path: Path) -> None:
    model = adapter.load(checkpoints["yolov8n"])
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    adapter.save(model, tmp_path / "x.pt")
    after = model.state_dict()
    assert all(after[name].dtype == before[name].dtype for name in before)
    assert all(torch.equal(after[name], before[name]) for name in before)


def pickle_2(content: Any, path: Path) -> None:
    path.write_bytes(pickle.dumps(content, protocol=2))


def pickle_4(content: Any, path: Path) -> None:
    path.write_bytes(pickle.dumps(content, protocol=4))


@pytest.mark.parametrize("write", [pickle_2, pickle_4, torch.save])
@pytest.mark.parametrize("place", ["root", "value"])
def test_a_pickle_that_would_run_code_is_refused_and_does_not_run(
    tmp_path: Path, write: Callable[[Any, Any], None], place: str
) -> None:
    marker, path = tmp_path / "ran", tmp_path / "evil.pt"
    write(Evil(marker) if place == "root" else {"model": None, "train_args": Evil(marker)}, path)
    message = refusal(path)
    assert f"wants to load {os.name}.system, which is not on the list of safe classes" in message
    assert "--trust-model" in message
    assert not marker.exists()


def test_trust_takes_the_file_at_its_word(tmp_path: Path) -> None:
    marker, path = tmp_path / "ran", tmp_path / "evil.pt"
    torch.save(Evil(marker), path)
    message = refusal(path, trust=True)
    assert "not int" in message  # what os.system returns
    assert marker.exists()


def test_trust_loads_a_checkpoint_with_a_class_that_is_not_on_the_list(
    checkpoints: dict[str, Path], tmp_path: Path
) -> None:
    content = torch.load(checkpoints["yolov8n"], weights_only=False) | {"note": fractions.Fraction(1, 3)}
    path = tmp_path / "noted.pt"
    torch.save(content, path)
    assert "fractions.Fraction" in refusal(path)
    assert adapter.info(adapter.load(path, trust=True)).names == NAMES


def test_the_list_of_safe_classes_is_not_left_open(checkpoints: dict[str, Path]) -> None:
    before = set(torch.serialization.get_safe_globals())
    adapter.load(checkpoints["yolov8n"])
    assert set(torch.serialization.get_safe_globals()) == before


def test_a_missing_file_a_folder_and_an_empty_file_are_named(tmp_path: Path) -> None:
    assert "No such file" in refusal(tmp_path / "none.pt")
    assert "it is a folder" in refusal(tmp_path)
    (tmp_path / "empty.pt").touch()
    assert "the model file is empty" in refusal(tmp_path / "empty.pt")


@pytest.mark.parametrize("share", [0.00001, 0.001, 0.3, 0.9, 0.9999])
def test_a_truncated_checkpoint_is_damaged(
    checkpoints: dict[str, Path], tmp_path: Path, share: float
) -> None:
    whole = checkpoints["yolov8n"].read_bytes()
    path = tmp_path / "half.pt"
    path.write_bytes(whole[: max(4, int(len(whole) * share))])
    assert "damaged" in refusal(path)


@pytest.mark.parametrize("cut", [2, 3, 10, 40, 60, 100])
def test_a_truncated_pickle_is_damaged(tmp_path: Path, cut: int) -> None:
    buffer = io.BytesIO()
    torch.save({"model": torch.zeros(3)}, buffer, _use_new_zipfile_serialization=False)
    path = tmp_path / "half.pt"
    path.write_bytes(buffer.getvalue()[:cut])
    assert "damaged" in refusal(path)


@settings(deadline=None, max_examples=30)
@given(st.lists(st.tuples(st.integers(0, 4000), st.integers(0, 255)), min_size=1, max_size=5))
def test_any_damage_is_a_refusal_or_harmless(
    tmp_path_factory: pytest.TempPathFactory, hits: list[tuple[int, int]]
) -> None:
    buffer = io.BytesIO()
    content = {"model": nn.Sequential(nn.Conv2d(3, 3, 1), nn.SiLU()), "train_args": {"imgsz": 64}}
    torch.save(content, buffer, _use_new_zipfile_serialization=False)
    damaged = bytearray(buffer.getvalue())
    for place, value in hits:
        damaged[place % len(damaged)] = value
    path = tmp_path_factory.mktemp("damage") / "x.pt"
    path.write_bytes(damaged)
    refusal(path)  # undamaged, it is refused too: there is no detector in it


def test_other_files_are_told_apart(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    onnx.save(helper.make_model(helper.make_graph([], "g", [], [])), path)
    renamed = path.rename(tmp_path / "renamed.pt")
    assert "not a PyTorch checkpoint" in refusal(renamed)
    text = tmp_path / "text.pt"
    text.write_text("epochs: 100\n")
    assert "not a PyTorch checkpoint" in refusal(text)
    archive = tmp_path / "archive.pt"
    with zipfile.ZipFile(archive, "w") as stream:
        stream.writestr("readme.txt", "hello")
    assert "damaged" in refusal(archive)


def test_a_torchscript_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "script.pt"
    torch.jit.save(torch.jit.trace(nn.ReLU(), torch.zeros(1)), str(path))
    refusal(path)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (torch.zeros(3), "is a dictionary with the model in it, not Tensor"),
        (collections.OrderedDict(weight=torch.zeros(3)), "this checkpoint holds NoneType"),
        ({"model": {"weight": torch.zeros(3)}}, "this checkpoint holds dict"),
        ({"model": nn.Conv2d(3, 3, 1)}, "this checkpoint holds Conv2d"),
    ],
)
def test_a_checkpoint_without_a_detector_is_refused(tmp_path: Path, content: Any, expected: str) -> None:
    torch.save(content, tmp_path / "x.pt")
    assert expected in refusal(tmp_path / "x.pt")


def test_a_checkpoint_of_another_task_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "seg.pt"
    torch.save({"model": SegmentationModel("yolov8n-seg.yaml", nc=3, verbose=False)}, path)
    for trust in (False, True):
        assert "head Segment is not supported, only plain detection is" in refusal(path, trust=trust)
    assert "--trust-model" not in refusal(path)  # trust would not help


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_diverged_model_is_refused_and_the_layer_named(
    checkpoints: dict[str, Path], tmp_path: Path, value: float
) -> None:
    model = adapter.load(checkpoints["yolov8n"])
    with torch.no_grad():
        model.model[0].conv.weight[0, 0, 0, 0] = value
    adapter.save(model, tmp_path / "nan.pt")
    assert "model.0.conv.weight holds NaN or infinite values" in refusal(tmp_path / "nan.pt")
