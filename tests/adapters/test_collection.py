"""Networks of torchvision and timm: weights as people have them, misfits, pruned and trained back."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import torchvision
from safetensors.torch import save_file

from conftest import DIGITS
from edgeprune.config.recipe import load_recipe
from edgeprune.core.errors import ConfigError, EdgepruneError
from edgeprune.images.dataset import Dataset
from edgeprune.models import Training
from edgeprune.models.plain import read_plain
from edgeprune.models.source import ModelSource, choose_adapter
from edgeprune.prune.evidence import Evidence
from edgeprune.prune.surgery import prune

SMALL = "mobilenetv3_small_050"
IMAGE = torch.rand(2, 3, 32, 32)


def resnet(classes: int = 3) -> Any:
    torch.manual_seed(0)
    return torchvision.models.resnet18(num_classes=classes).eval()


def small() -> Any:
    torch.manual_seed(0)
    return timm.create_model(SMALL, num_classes=3).eval()


def as_folder(folder: Path) -> ModelSource:
    model = small()
    folder.mkdir()
    save_file(model.state_dict(), folder / "model.safetensors")
    kept = {"input_size": [3, 96, 96], "mean": [0.5] * 3, "std": [0.5] * 3, "crop_pct": 0.95}
    config = {"architecture": SMALL, "label_names": ["a", "b", "c"], "pretrained_cfg": kept}
    (folder / "config.json").write_text(json.dumps(config))
    return ModelSource(folder)


def as_state(path: Path) -> ModelSource:
    torch.save({f"module.{name}": one for name, one in resnet().state_dict().items()}, path)
    return ModelSource(path, "torchvision:resnet18")


def as_training(path: Path) -> ModelSource:
    told = {"arch": SMALL, "state_dict": small().state_dict(), "args": argparse.Namespace(lr=1)}
    torch.save(told, path)
    return ModelSource(path)


def as_safetensors(path: Path) -> ModelSource:
    path = path.with_suffix(".safetensors")
    save_file(resnet().state_dict(), path)
    return ModelSource(path, "torchvision:resnet18")


@pytest.mark.parametrize(
    ("write", "original", "imgsz"),
    [
        (as_state, resnet, 224), (as_safetensors, resnet, 224),
        (as_training, small, 224), (as_folder, small, 96),
    ],
)  # fmt: skip
def test_weights_are_taken_as_people_have_them_and_kept(
    tmp_path: Path, write: Callable[[Path], ModelSource], original: Callable[[], Any], imgsz: int
) -> None:
    source = write(tmp_path / "weights.pth")
    adapter = choose_adapter(source, load_recipe())
    model: Any = adapter.load(source.file)
    with torch.no_grad():
        assert torch.equal(model(IMAGE), original()(IMAGE))
    told = adapter.info(model)
    assert (len(told.names), told.imgsz, told.is_named) == (3, imgsz, write is as_folder)
    model.names = ["x", "y", "z"]
    kept = tmp_path / "kept.pt"
    adapter.save(model, kept)
    again = choose_adapter(ModelSource(kept), load_recipe())
    assert again.info(again.load(kept)).names == ("x", "y", "z")
    assert again.preprocess(64) == adapter.preprocess(64)


def test_published_inputs_are_those_of_the_libraries() -> None:
    for name, crop, resize in (("resnet18", 224 / 256, "bilinear"), ("efficientnet_v2_s", 1.0, "bilinear")):
        adapter = choose_adapter(ModelSource(Path("x.pt"), f"torchvision:{name}"), load_recipe())
        spec = adapter.preprocess(224)
        assert (spec.crop, spec.resize.split()[0]) == (crop, resize)
    spec = choose_adapter(ModelSource(Path("x.pt"), "timm:resnet18.a1_in1k"), load_recipe()).preprocess(224)
    assert (spec.crop, spec.resize.split()[0], spec.mean) == (0.95, "bicubic", (0.485, 0.456, 0.406))


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("torchvision:resnet34", r"fit torchvision:resnet34: layer1\.2\.conv1\.weight is missing; .*more"),
        (f"timm:{SMALL}", r"fit timm:[a-z0-9_]+: classifier\.weight is missing; \d of its \d+ names"),
        ("torchvision:resnet19", r"torchvision has no such classifier \(did you mean 'resnet18'\?\)"),
        ("timm:resnet19x", r"timm [\d.]+ has no such network \(did you mean 'resnet"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_one_line(tmp_path: Path, name: str, said: str) -> None:
    path = as_safetensors(tmp_path / "weights").file
    with pytest.raises(EdgepruneError, match=said) as caught:
        choose_adapter(ModelSource(path, name), load_recipe()).load(path)
    assert "\n" not in str(caught.value) and caught.value.exit_code == 3


def test_a_file_that_says_otherwise_and_an_input_of_ones_own_are_refused(tmp_path: Path) -> None:
    path = as_training(tmp_path / "weights.pth").file
    with pytest.raises(ConfigError, match=f"says that it is a {SMALL}"):
        choose_adapter(ModelSource(path, "timm:resnet18"), load_recipe())
    with pytest.raises(ConfigError, match=r"^input: timm tells how an image becomes the input"):
        choose_adapter(ModelSource(path), load_recipe(None, ("input.colour=BGR",)))
    folder = as_folder(tmp_path / "folder").file
    config = json.loads((folder / "config.json").read_text())
    config["pretrained_cfg"]["crop_mode"] = "squash"
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ConfigError, match=r"crop mode 'squash'; only a centre crop"):
        choose_adapter(ModelSource(folder), load_recipe())
    with pytest.raises(ConfigError, match=r"weights alone do not say.*--model torchvision:resnet18"):
        choose_adapter(ModelSource(as_safetensors(tmp_path / "w").file, adapter="torchvision"), load_recipe())


def test_a_pruned_network_is_trained_back_and_read_again(digits: Dataset, tmp_path: Path) -> None:
    source = as_training(tmp_path / "weights.pth")
    adapter = choose_adapter(source, load_recipe())
    model: Any = adapter.load(source.file)
    model.names = list(DIGITS)
    recipe = load_recipe(
        None, ("prune.ratio=0.4", "prune.criterion=l1", "finetune.epochs=1", "finetune.batch=6")
    )
    original, student, out = (tmp_path / f"{name}.pt" for name in ("original", "student", "out"))
    adapter.save(model, original)
    cut = prune(
        adapter.prunable(model), adapter.unprunable, torch.zeros(1, 3, 32, 32), recipe.prune, 8, Evidence()
    )
    adapter.save(cut.model, student)
    told: list[str] = []
    adapter.finetune(
        Training(student, original, digits, 32, recipe, out, lambda _share, text: told.append(text))
    )
    widths = {name: one.shape for name, one in read_plain(student).state.items()}
    trained = read_plain(out)
    assert {name: one.shape for name, one in trained.state.items()} == widths
    moved = [
        name for name, one in read_plain(student).state.items() if not torch.equal(one, trained.state[name])
    ]
    assert {"conv_stem.weight", "bn1.running_mean"} <= set(moved)
    assert cut.report.params_after < cut.report.params_before and told[-1].startswith("epoch 1/1")
