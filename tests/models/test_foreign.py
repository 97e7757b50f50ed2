"""Every file that is not taken says what it is, and what would do instead."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from edgeprune.core.errors import ModelError
from edgeprune.models import adapter_of

ONNX, OWN, NAMED = "to ONNX and give that file", "--adapter FILE.py", "--model torchvision:NAME or timm:NAME"
NEITHER = "neither --trust-model nor --adapter helps"


def weights(*names: str) -> dict[str, torch.Tensor]:
    return {name: torch.zeros(2) for name in names}


def saved(name: str, content: object) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        torch.save(content, folder / name)
        return folder / name

    return make


def empty(name: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        (folder / name).write_bytes(b"of another tool")
        return folder / name

    return make


def inside(name: str, text: str = "") -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        (folder / name).write_text(text)
        return folder

    return make


def scripted(folder: Path) -> Path:
    torch.jit.trace(nn.Conv2d(3, 4, 3), torch.zeros(1, 3, 8, 8)).save(folder / "net.pt")
    return folder / "net.pt"


DETR = json.dumps({"architectures": ["DetrForObjectDetection"], "model_type": "detr"})
FILES: dict[str, tuple[Callable[[Path], Path], str]] = {
    "a state_dict": (saved("net.pth", weights("a.weight", "a.bias")), NAMED),
    "a state_dict, which": (saved("net.pt", {"model": weights("a.weight", "a.bias"), "epoch": 3}), OWN),
    "a TorchScript archive": (scripted, ONNX),
    "weights of YOLOX": (
        saved("x.pth", {"model": weights("backbone.backbone.stem.w", "head.cls_preds.0.w")}), ONNX,
    ),
    "weights of YOLO-NAS": (
        saved("n.pth", {"net": weights("backbone.stem.w", "heads.head1.w"), "epoch": 1}), ONNX,
    ),
    "a checkpoint of MMDetection": (
        saved("m.pth", {"meta": {}, "state_dict": weights("backbone.a", "bbox_head.b")}), "MMDeploy",
    ),
    "a checkpoint of Detectron2": (
        saved("d.pth", {"model": weights("backbone.a", "proposal_generator.b", "roi_heads.c")}), ONNX,
    ),
    "a checkpoint of RT-DETR": (
        saved("r.pth", {"model": weights("backbone.a", "encoder.b", "decoder.c")}), NEITHER,
    ),
    "a checkpoint of DETR": (saved("d.pth", {"model": weights("transformer.encoder.a", "b")}), NEITHER),
    "a checkpoint of PyTorch Lightning": (
        saved("l.ckpt", {"pytorch-lightning_version": "2", "state_dict": weights("net.a", "net.b")}), OWN,
    ),
    "a safetensors file": (empty("net.safetensors"), NAMED),
    "a transformers model": (inside("config.json", DETR), "attention mix all channels"),
    "a TensorFlow SavedModel": (inside("saved_model.pb"), ONNX),
    "a TensorFlow Lite model": (empty("net.tflite"), NEITHER),
    "a Keras model": (empty("net.h5"), ONNX),
    "a TensorRT engine": (empty("net.engine"), "the checkpoint that it came from"),
    "an ncnn model": (empty("net.param"), ONNX),
    "an OpenVINO model": (empty("net.xml"), ONNX),
}  # fmt: skip


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_is_not_taken_says_what_it_is_and_what_would_do(tmp_path: Path, name: str) -> None:
    make, advice = FILES[name]
    path = make(tmp_path)
    with pytest.raises(ModelError) as caught:
        adapter_of(path)
    said = str(caught.value)
    assert said.startswith(f"{path}: this is {name}") and advice in said
    assert "\n" not in said and caught.value.exit_code == 3


def test_checkpoints_that_are_taken_are_left_alone(checkpoints: dict[str, Path], tmp_path: Path) -> None:
    adapter_of(checkpoints["yolov8n"])
    adapter_of(tmp_path / "missing.pt")
