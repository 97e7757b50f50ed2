"""--trust-model holds at every door: what a stage saves of a trusted network, the next one loads."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import nn

from edgeprune.adapters.ultralytics import detect as adapter
from edgeprune.adapters.ultralytics.finetune import check_shape, own_copy
from edgeprune.config.recipe import PruneRecipe
from edgeprune.core.errors import ModelError
from edgeprune.models.trust import is_trusted, trusting
from edgeprune.prune.evidence import Evidence
from edgeprune.prune.surgery import prune
from odd_blocks import Shuffled

EXAMPLE = torch.zeros(1, 3, 64, 64)


@pytest.fixture
def odd(checkpoints: dict[str, Path], tmp_path: Path) -> Path:
    """Return a checkpoint with a block that is on no list."""
    model = adapter.load(checkpoints["yolov8n"])
    layer = model.model[1]
    model.model[1] = nn.Sequential(layer, Shuffled(32))
    model.model[1].i, model.model[1].f, model.model[1].type = 1, -1, "Sequential"
    torch.save({"model": model, "train_args": {"imgsz": 64}}, path := tmp_path / "odd.pt")
    return path


def test_every_stage_loads_what_the_one_before_saved(odd: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"odd_blocks\.Shuffled.*--trust-model"):
        adapter.load(odd)
    with trusting(True):
        adapter.save(adapter.load(odd), original := tmp_path / "original.pt")
        model = adapter.prunable(adapter.load(original))
        pruned = prune(
            model, adapter.unprunable, EXAMPLE, PruneRecipe(ratio=0.5, criterion="l1"), 8, Evidence()
        )
        assert pruned.report.whole == ("model.1.1 (Shuffled)",)
        assert pruned.report.params_after < pruned.report.params_before / 2
        adapter.save(pruned.model, smaller := tmp_path / "pruned.pt")
        check_shape(smaller, own_copy(smaller, tmp_path / "student.pt"))
        exported = adapter.exportable(adapter.load(smaller))
    assert exported(EXAMPLE).shape[1] == 7
    with pytest.raises(ModelError, match="--trust-model"):
        adapter.load(smaller)


@pytest.mark.parametrize(
    ("module", "said", "trusted"),
    [
        (
            "super_gradients.models",
            "a YOLO-NAS of super-gradients, which",
            "a YOLO-NAS of super-gradients, which",
        ),
        (
            "house.models",
            "not on the list",
            "the module house, which is not installed here",
        ),
    ],
)
def test_a_network_of_a_package_that_is_not_here_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str, said: str, trusted: str
) -> None:
    top = module.partition(".")[0]
    for name in (top, module):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    kind = type("YoloNAS_S", (nn.Conv2d,), {"__module__": module})
    monkeypatch.setattr(sys.modules[module], "YoloNAS_S", kind, raising=False)
    torch.save({"model": kind(3, 4, 1)}, path := tmp_path / "net.pt")
    for name in (top, module):
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(ModelError, match=said):
        adapter.load(path)
    with pytest.raises(ModelError, match=trusted):
        adapter.load(path, trust=True)


def test_trust_ends_with_the_command() -> None:
    with pytest.raises(ModelError), trusting(True):
        assert is_trusted()
        raise ModelError("x")
    assert not is_trusted()


def test_a_fused_checkpoint_is_pruned(checkpoints: dict[str, Path], tmp_path: Path) -> None:
    fused = adapter.load(checkpoints["yolov8n"]).fuse(verbose=False)
    torch.save({"model": fused, "train_args": {"imgsz": 64}}, path := tmp_path / "fused.pt")
    model = adapter.prunable(adapter.load(path))
    image = torch.rand(1, 3, 64, 64)
    assert torch.allclose(model(image)[0], adapter.load(path)(image)[0], atol=1e-4)
    report = prune(
        model, adapter.unprunable, EXAMPLE, PruneRecipe(ratio=0.5, criterion="l1"), 8, Evidence()
    ).report
    assert report.params_after < report.params_before / 2


@pytest.mark.parametrize("channels", [1, 4])
def test_a_model_of_other_images_is_told(checkpoints: dict[str, Path], tmp_path: Path, channels: int) -> None:
    model = adapter.load(checkpoints["yolov8n"])
    model.model[0].conv = nn.Conv2d(channels, 16, 3, 2, 1, bias=False)
    model.yaml["channels"] = channels
    torch.save({"model": model}, path := tmp_path / "x.pt")
    with pytest.raises(ModelError, match=f"images of {channels} channels; only 3"):
        adapter.load(path)
