"""Files that are no checkpoint of a kind that is taken: what each is, and what would do instead.

One table. A file is looked into as records; nothing of it is run. What a user can help by `--trust-model` is
not here: `safe_load` says that of classes that it does not know.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from edgeprune.core.documents import read_json
from edgeprune.core.errors import ModelError
from edgeprune.models.checkpoint.container import list_records
from edgeprune.models.plain import Outline, read_outline

ONNX = "export the trained network to ONNX and give that file"
OWN = "or describe the network in a file of your own: --adapter FILE.py"
NAME = "name the network that they are of: --model torchvision:NAME or timm:NAME with --weights"
_NEITHER = "neither --trust-model nor --adapter helps"


class Look:
    """What can be seen of a file or folder from outside."""

    def __init__(self, path: Path) -> None:
        self.path, self.suffix = path, path.suffix.lower()

    @cached_property
    def files(self) -> frozenset[str]:
        """Names of the files in a folder, or in a zip archive without its first folder."""
        if self.path.is_dir():
            return frozenset(one.name for one in self.path.iterdir())
        return list_records(self.path) if self.path.is_file() else frozenset()

    @cached_property
    def config(self) -> dict[str, Any]:
        """The `config.json` of a folder."""
        if not self.path.is_dir() or "config.json" not in self.files:
            return {}
        with suppress(ModelError):
            found = read_json(self.path / "config.json", ModelError)
            return found if isinstance(found, dict) else {}
        return {}

    @cached_property
    def outline(self) -> Outline:
        """Keys and weights of a checkpoint of torch's."""
        is_torch = self.path.is_file() and self.suffix not in _RUNTIME
        return read_outline(self.path) if is_torch else Outline()

    def has(self, *starts: str) -> bool:
        """Tell whether a weight begins with each of some texts."""
        return all(any(name.startswith(start) for name in self.outline.weights) for start in starts)


@dataclass(frozen=True)
class Foreign:
    """One kind of file.

    Attributes:
        name: what it is.
        fits: whether a file is of this kind.
        advice: what would do.
    """

    name: str
    fits: Callable[[Look], bool]
    advice: str


_RUNTIME: dict[str, str] = {
    ".tflite": "a TensorFlow Lite model", ".engine": "a TensorRT engine", ".plan": "a TensorRT engine",
    ".trt": "a TensorRT engine", ".param": "an ncnn model", ".bin": "weights of a runtime's model",
    ".xml": "an OpenVINO model", ".mlmodel": "a Core ML model", ".mlpackage": "a Core ML model",
    ".pte": "an ExecuTorch program", ".pt2": "a program of torch.export", ".rknn": "a model for RKNN",
    ".hef": "a model for Hailo", ".caffemodel": "weights of Caffe", ".weights": "weights of Darknet",
    ".h5": "a Keras model", ".keras": "a Keras model", ".pb": "a TensorFlow graph",
    ".pdmodel": "a PaddlePaddle model", ".pdparams": "weights of PaddlePaddle", ".gguf": "a language model",
}  # fmt: skip
"""What a file is by its suffix; none of these is read."""
_TRAINED = f"it is made for a runtime, and {_NEITHER}; give the checkpoint that it came from, or {ONNX}"

FOREIGN: tuple[Foreign, ...] = (
    Foreign(
        "a TensorFlow SavedModel",
        lambda look: look.path.is_dir() and "saved_model.pb" in look.files,
        _TRAINED,
    ),
    Foreign(
        "a TorchScript archive",
        lambda look: look.path.is_file() and "constants.pkl" in look.files,
        f"its network is frozen into code, and {_NEITHER}; give the checkpoint that it came from, or {ONNX}",
    ),
    Foreign(
        "a transformers model",
        lambda look: "architectures" in look.config or "model_type" in look.config,
        f"its layers of attention mix all channels, so that none can be cut out, and {_NEITHER}; "
        "take a network of convolutions",
    ),
    Foreign(
        "a safetensors file, which holds weights alone",
        lambda look: look.suffix == ".safetensors" or "model.safetensors" in look.files,
        f"{NAME}, {OWN}",
    ),
    Foreign(
        "weights of YOLOX",
        lambda look: look.has("backbone.backbone.", "head.cls_preds."),
        f"weights alone do not make a network; {ONNX} (its repository has tools/export_onnx.py), {OWN}",
    ),
    Foreign(
        "weights of YOLO-NAS",
        lambda look: "net" in look.outline.keys and look.has("backbone.", "heads."),
        f"weights alone do not make a network; {ONNX} (super-gradients has model.export), {OWN}",
    ),
    Foreign(
        "a checkpoint of MMDetection",
        lambda look: "meta" in look.outline.keys and look.has("backbone."),
        f"its network is made by a config of MMDetection; {ONNX} (by MMDeploy), {OWN}",
    ),
    Foreign(
        "a checkpoint of Detectron2",
        lambda look: look.has("backbone.", "proposal_generator.") or look.has("backbone.", "roi_heads."),
        f"its network chooses boxes in the middle; {ONNX} of its backbone, {OWN}",
    ),
    Foreign(
        "a checkpoint of RT-DETR",
        lambda look: look.has("decoder.", "encoder.") and look.has("backbone."),
        f"its decoder is a transformer, whose channels are all mixed, and {_NEITHER}; take a detector of "
        "convolutions, such as a YOLO",
    ),
    Foreign(
        "a checkpoint of DETR",
        lambda look: look.has("transformer.encoder."),
        f"its channels are all mixed by a transformer, and {_NEITHER}; take a detector of convolutions",
    ),
    Foreign(
        "a checkpoint of PyTorch Lightning",
        lambda look: "pytorch-lightning_version" in look.outline.keys,
        f"its weights do not make a network, and --trust-model does not help; {NAME}, {OWN}",
    ),
    Foreign(
        "a state_dict, which holds weights alone",
        lambda look: len(look.outline.weights) > 1 and "edgeprune" not in look.outline.keys,
        f"they do not make a network, and --trust-model does not help; {NAME}, {OWN}",
    ),
)
"""Kinds of files by what they hold; the first that fits."""


def require_known(path: Path) -> None:
    """Refuse a file that is known to be of another kind.

    Raises:
        ModelError: what it is, and what would do.
    """
    if not path.exists():
        return
    look = Look(path)
    if look.suffix in _RUNTIME and not look.outline.keys:
        raise ModelError(f"{path}: this is {_RUNTIME[look.suffix]}: {_TRAINED}")
    for kind in FOREIGN:
        if kind.fits(look):
            raise ModelError(f"{path}: this is {kind.name}: {kind.advice}")
