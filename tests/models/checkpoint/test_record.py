"""What a checkpoint tells of itself: damaged metadata is one line that names the place, before it is used."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from conftest import NAMES
from edgeprune.adapters.ultralytics import detect as adapter
from edgeprune.core.errors import ModelError

Damage = Callable[[dict[str, Any]], None]


def checkpoint(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = torch.load(path, weights_only=False)
    return content


def args(value: Any) -> Damage:
    return lambda content: content.update(train_args=value)


def arg(name: str, value: Any) -> Damage:
    return lambda content: content.update(train_args={"imgsz": 64, name: value})


def model(name: str, value: Any) -> Damage:
    return lambda content: vars(content["model"]).__setitem__(name, value)


def head(name: str, value: Any) -> Damage:
    return lambda content: vars(content["model"].model[-1]).__setitem__(name, value)


def layer(name: str, value: Any) -> Damage:
    return lambda content: vars(content["model"].model[4]).__setitem__(name, value)


def config(name: str, value: Any) -> Damage:
    return lambda content: content["model"].yaml.__setitem__(name, value)


def without(name: str) -> Damage:
    return lambda content: delattr(content["model"], name)


def a_cycle(content: dict[str, Any]) -> None:
    content["model"].model[2].m.append(content["model"].model[2])


def names_that_hold_themselves(content: dict[str, Any]) -> None:
    content["model"].names[0] = content["model"].names


def no_layers(content: dict[str, Any]) -> None:
    content["model"].model = nn.Sequential()


def another_layer(content: dict[str, Any]) -> None:
    other = nn.SiLU()
    other.f, other.i = -1, 3
    content["model"].model[3] = other


def a_wrong_shape(content: dict[str, Any]) -> None:
    content["model"].model[4].cv1.conv.weight = nn.Parameter(torch.zeros(3, 3, 1, 1).half())


def a_missing_weight(content: dict[str, Any]) -> None:
    content["model"].model[4].cv1.bn.weight = None


DAMAGES: dict[str, tuple[Damage, str]] = {
    "train_args is a list": (args([1, 2]), "args"),
    "train_args is text": (args("imgsz=64"), "args"),
    "imgsz is text": (arg("imgsz", "large"), "args.imgsz"),
    "imgsz is zero": (arg("imgsz", 0), "args.imgsz"),
    "imgsz is not a number": (arg("imgsz", float("nan")), "args.imgsz"),
    "imgsz is beyond bounds": (arg("imgsz", 10**12), "args.imgsz"),
    "imgsz is a mapping": (arg("imgsz", {"w": 64}), "args.imgsz"),
    "a gain is infinite": (arg("box", float("inf")), "args.box"),
    "an augmentation is a list": (arg("hsv_h", [0.1]), "args.hsv_h"),
    "the task is a number": (arg("task", 7), "args.task"),
    "stride is not a number": (model("stride", torch.tensor([8.0, float("nan"), 32.0])), "stride.1"),
    "stride is zero": (model("stride", torch.tensor([8.0, 0.0, 32.0])), "stride.1"),
    "stride is another one": (model("stride", torch.tensor([8.0, 16.0, 64.0])), "strides 8, 16, 64"),
    "stride is text": (model("stride", "32"), "stride"),
    "names is missing": (without("names"), "names"),
    "names is a number": (model("names", 3), "names"),
    "names holds a list": (model("names", {0: ["ant"], 1: "bee", 2: "cat"}), "names.0"),
    "names leaves a number out": (model("names", {0: "ant", 2: "bee", 3: "cat"}), "not numbered 0 to 2"),
    "names has words for numbers": (model("names", {"a": "ant", "b": "bee", "c": "cat"}), "no number"),
    "names holds itself": (names_that_hold_themselves, "tells more of itself"),
    "names has another count": (model("names", {0: "ant", 1: "bee"}), "2 class names"),
    "yaml is missing": (without("yaml"), "config"),
    "yaml is text": (model("yaml", "yolov8n.yaml"), "config"),
    "yaml has no backbone": (lambda content: content["model"].yaml.pop("backbone"), "config.backbone"),
    "yaml's class count is text": (config("nc", "three"), "config.nc"),
    "yaml's layers are words": (config("head", ["Conv"]), "config.head"),
    "yaml's layer is an object": (config("head", [[-1, 1, "Conv", [{"a": 1}]]]), "config.head"),
    "the head has another class count": (head("nc", 80), "80 classes"),
    "the head has another number of bins": (head("reg_max", 8), "8 bins"),
    "the head's class count is text": (head("nc", "3"), "nc"),
    "a layer's input is text": (layer("f", "all"), "layer 4"),
    "a layer's input is behind it": (layer("f", 9), "layer 4"),
    "a layer's input is no list": (layer("f", {"a": 1}), "layer 4"),
    "a cycle of layers": (a_cycle, "stands in two places"),
    "no layers": (no_layers, "no layers"),
    "a layer of another kind": (another_layer, "do not fit together"),
    "a weight of another shape": (a_wrong_shape, "do not fit together"),
    "a weight is missing": (a_missing_weight, "model.4.cv1.bn"),
    "the model is a list": (lambda content: content.update(model=[1]), "this checkpoint holds list"),
    "the average is a number": (lambda content: content.update(ema=4), "this checkpoint holds int"),
}


@pytest.mark.parametrize("kind", DAMAGES)
def test_damaged_metadata_is_one_line(checkpoints: dict[str, Path], tmp_path: Path, kind: str) -> None:
    damage, expected = DAMAGES[kind]
    content = checkpoint(checkpoints["yolov8n"])
    damage(content)
    torch.save(content, path := tmp_path / "x.pt")
    with pytest.raises(ModelError) as caught:
        adapter.load(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    assert expected in message


HARMLESS: dict[str, tuple[Damage, tuple[str, ...]]] = {
    "names as a list": (model("names", ["ant", "bee", "cat"]), NAMES),
    "names as a tuple": (model("names", ("ant", "bee", "cat")), NAMES),
    "names in another order": (model("names", {2: "cat", 0: "ant", 1: "bee"}), NAMES),
    "names with numbers as text": (model("names", {"0": "ant", "1": "bee", "2": "cat"}), NAMES),
    "names that are numbers": (model("names", {0: 7, 1: 8, 2: 9}), ("7", "8", "9")),
    "epochs and dates of any kind": (
        lambda content: content.update(epoch="last", best_fitness=[1], updates={}),
        NAMES,
    ),
    "an optimiser's state": (
        lambda content: content.update(
            optimizer={"state": {0: {"exp_avg": torch.zeros(9)}}, "param_groups": []}
        ),
        NAMES,
    ),
}


@pytest.mark.parametrize("kind", HARMLESS)
def test_what_ultralytics_takes_is_taken(checkpoints: dict[str, Path], tmp_path: Path, kind: str) -> None:
    change, names = HARMLESS[kind]
    content = checkpoint(checkpoints["yolov8n"])
    change(content)
    torch.save(content, path := tmp_path / "x.pt")
    assert adapter.info(adapter.load(path)).names == names


def test_a_trusted_checkpoint_is_checked_too(checkpoints: dict[str, Path], tmp_path: Path) -> None:
    content = checkpoint(checkpoints["yolov8n"])
    content["train_args"] = [1]
    torch.save(content, path := tmp_path / "x.pt")
    with pytest.raises(ModelError, match="args"):
        adapter.load(path, trust=True)


def test_the_longer_side_of_an_image_counts(checkpoints: dict[str, Path], tmp_path: Path) -> None:
    content = checkpoint(checkpoints["yolov8n"])
    content["train_args"] = {"imgsz": [64, 96]}
    torch.save(content, path := tmp_path / "x.pt")
    assert adapter.info(adapter.load(path)).imgsz == 96
