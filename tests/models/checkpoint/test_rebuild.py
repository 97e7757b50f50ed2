"""The rebuilt network is the one that torch itself would load, bit for bit, from every true checkpoint."""

from __future__ import annotations

import copy
import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from ultralytics import YOLO
from ultralytics.nn.tasks import ClassificationModel, DetectionModel

from conftest import FAMILIES, NAMES, lively
from edgeprune.adapters.ultralytics import detect as adapter
from edgeprune.models import adapter_of, get_adapter
from edgeprune.models.safe_load import load_safely

IMAGE = (1, 3, 64, 64)


def outputs(model: nn.Module) -> list[torch.Tensor]:
    torch.manual_seed(0)
    with torch.no_grad():
        found = model.float().eval()(torch.rand(IMAGE))
    return [
        part for part in (found if isinstance(found, (list, tuple)) else [found]) if torch.is_tensor(part)
    ]


def same(path: Path) -> Any:
    """Check that both ways of loading a checkpoint give one function, and return the rebuilt network."""
    content = torch.load(path, weights_only=False)
    expected = content["model"] if content.get("ema") is None else content["ema"]
    rebuilt = load_safely(path)
    assert type(rebuilt) is type(expected)
    assert rebuilt.state_dict().keys() == expected.state_dict().keys()
    assert [type(module) for module in rebuilt.modules()] == [type(module) for module in expected.modules()]
    for got, wanted in zip(outputs(rebuilt), outputs(expected), strict=True):
        assert torch.equal(got, wanted)
    return rebuilt


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family(checkpoints: dict[str, Path], family: str) -> None:
    rebuilt = same(checkpoints[family])
    assert rebuilt.stride.tolist() == [8.0, 16.0, 32.0]


@pytest.mark.parametrize("family", ["yolov8n-cls", "yolo11n-cls", "yolo26n-cls"])
def test_classifiers(tmp_path: Path, family: str) -> None:
    model = ClassificationModel(f"{family}.yaml", nc=4, verbose=False).eval()
    lively(model)
    torch.save({"model": model.half(), "train_args": {"imgsz": 64}}, path := tmp_path / "x.pt")
    same(path)
    assert adapter_of(path) is get_adapter("ultralytics-classify")


def in_ema(model: Any) -> dict[str, Any]:
    return {"model": None, "ema": model, "optimizer": {"state": {0: torch.zeros(3)}}, "epoch": 3}


def fused(model: Any) -> dict[str, Any]:
    return {"model": model.float().fuse(verbose=False)}


def split(model: Any) -> dict[str, Any]:
    return {"model": adapter.prunable(model.float())}


def double(model: Any) -> dict[str, Any]:
    return {"model": model.double()}


@pytest.mark.parametrize("family", ["yolov8n", "yolo26n"])
@pytest.mark.parametrize("form", [in_ema, fused, split, double])
def test_every_form(
    checkpoints: dict[str, Path], tmp_path: Path, form: Callable[[Any], dict[str, Any]], family: str
) -> None:
    model = torch.load(checkpoints[family], weights_only=False)["model"]
    torch.save(form(copy.deepcopy(model)), path := tmp_path / "x.pt")
    same(path)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("archive", [True, False])
def test_every_format_and_protocol(
    checkpoints: dict[str, Path], tmp_path: Path, archive: bool, protocol: int
) -> None:
    content = torch.load(checkpoints["yolov8n"], weights_only=False)
    path = tmp_path / "x.pt"
    torch.save(content, path, pickle_protocol=protocol, _use_new_zipfile_serialization=archive)
    same(path)


def test_numbers_of_a_machine_with_the_other_byte_order(tmp_path: Path, checkpoints: dict[str, Path]) -> None:
    whole, swapped = zipfile.ZipFile(checkpoints["yolov8n"]), tmp_path / "x.pt"
    with zipfile.ZipFile(swapped, "w") as archive:
        for name in whole.namelist():
            data = whole.read(name)
            if "/data/" in name:
                size = 8 if len(data) == 8 else 4 if len(data) == 12 else 2
                data = b"".join(data[at : at + size][::-1] for at in range(0, len(data), size))
            archive.writestr(name, b"big" if name.endswith("byteorder") else data)
    assert all(map(torch.equal, outputs(load_safely(swapped)), outputs(load_safely(checkpoints["yolov8n"]))))


def test_our_own_copy_opens_in_ultralytics(checkpoints: dict[str, Path], tmp_path: Path) -> None:
    adapter.save(adapter.load(checkpoints["yolo11n"]), path := tmp_path / "copy.pt")
    opened = YOLO(path)
    assert opened.names == dict(enumerate(NAMES))
    assert opened.model.yaml["yaml_file"] == "yolo11n.yaml"
    assert torch.equal(outputs(opened.model)[0], outputs(adapter.load(path))[0])


def test_a_swapped_activation_stays_marked(checkpoints: dict[str, Path], tmp_path: Path) -> None:
    from edgeprune.prune.activation import swap_activation

    swapped = swap_activation(adapter.load(checkpoints["yolov8n"]), "relu6")
    adapter.save(swapped, path := tmp_path / "x.pt")
    rebuilt = same(path)
    assert rebuilt.model[0].act.untrained
    assert rebuilt.yaml["activation"] == "torch.nn.ReLU6()"


def test_classes_that_ultralytics_has_moved(tmp_path: Path) -> None:
    """Its first releases kept all blocks in one file, and other modules elsewhere."""
    model = DetectionModel("yolov8n.yaml", nc=3, verbose=False).half()
    buffer = io.BytesIO()
    torch.save({"model": model}, buffer, _use_new_zipfile_serialization=False)
    content = buffer.getvalue()
    for place in ("block", "conv", "head"):
        content = content.replace(f"ultralytics.nn.modules.{place}\n".encode(), b"ultralytics.nn.modules\n")
    assert b"ultralytics.nn.modules\nC2f" in content
    (tmp_path / "x.pt").write_bytes(content)
    assert len(load_safely(tmp_path / "x.pt").model) == len(model.model)
