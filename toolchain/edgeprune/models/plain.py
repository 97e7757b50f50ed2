"""Checkpoints that are plain data: weights, and what makes the same network again before they are put in.

For networks that a library or a file of the user's can make anew: of torchvision, of timm, of an ONNX file.
The file holds a dictionary of texts, numbers and tensors. It is read by the reader of hostile checkpoints,
and `torch.load(..., weights_only=True)` reads it as well.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from edgeprune.core.errors import ModelError
from edgeprune.models.checkpoint import container
from edgeprune.models.checkpoint.names import lenient_name_of
from edgeprune.models.checkpoint.pickled import DamagedError, RefusedError
from edgeprune.models.checkpoint.remember import remember
from edgeprune.models.checkpoint.tensors import Tensor, read_tensor
from edgeprune.models.fit import fit

FORMAT = "edgeprune"
"""Key of the dictionary whose value is the version of this format."""
VERSION = 1
_EDITS: dict[str, Callable[[], nn.Module]] = {
    "Identity": nn.Identity,
    "ReLU": nn.ReLU,
    "ReLU6": nn.ReLU6,
    "Hardswish": nn.Hardswish,
    "SiLU": nn.SiLU,
}
"""Layers that may stand where the fresh network has another one: dropped blocks, swapped activations."""
_UNTRAINED = " untrained"


@dataclass(frozen=True)
class PlainCheckpoint:
    """What a plain checkpoint holds.

    Attributes:
        kind: of model: the name of its adapter.
        told: what the adapter needs to make the network anew, JSON-like, as it came from the file.
        edits: layers that are not the fresh network's, by dotted name: a key of the layers that may be.
        state: weights by name, on the CPU.
    """

    kind: str
    told: Mapping[str, Any]
    edits: Mapping[str, str] = field(default_factory=dict)
    state: Mapping[str, torch.Tensor] = field(default_factory=dict)


def save_plain(path: Path, kind: str, told: Mapping[str, Any], model: nn.Module, fresh: nn.Module) -> None:
    """Save a network, also a pruned one.

    Args:
        told: texts, numbers, truth values, None, lists and dictionaries of them.
        fresh: the network that `told` makes anew, before any pruning.

    Raises:
        ModelError: a layer was changed into one that this format cannot hold.
    """
    torch.save(
        {
            FORMAT: VERSION,
            "kind": kind,
            "told": dict(told),
            "edits": _find_edits(model, fresh),
            "state": {name: tensor.detach().cpu() for name, tensor in model.state_dict().items()},
        },
        path,
    )


def rebuild_plain(found: PlainCheckpoint, fresh: nn.Module, path: Path) -> nn.Module:
    """Return the network of a checkpoint: the fresh one with its edits, widths and weights, in eval mode.

    Raises:
        ModelError: the weights do not fit.
    """
    for name, edit in found.edits.items():
        kind = edit.removesuffix(_UNTRAINED)
        if kind not in _EDITS:
            raise ModelError(f"{path}: damaged: {name} is to be {edit[:40]!r}")
        layer: Any = _EDITS[kind]()
        if edit.endswith(_UNTRAINED):
            layer.untrained = True
        try:
            fresh.set_submodule(name, layer)
        except (AttributeError, ValueError) as exc:
            raise ModelError(f"{path}: damaged: the network has no layer {name[:80]!r}") from exc
    fit(fresh, found.state, path)
    return fresh.float().eval().requires_grad_(True)


def read_plain(path: Path) -> PlainCheckpoint:
    """Read a plain checkpoint; nothing of it is run.

    Raises:
        ModelError: it is none, or is damaged.
    """
    with _open(path) as content:
        root = content.root
        if not _is_plain(root):
            raise ModelError(f"{path}: not a checkpoint that edgeprune wrote")
        if root[FORMAT] != VERSION:
            raise ModelError(f"{path}: written by a newer edgeprune; upgrade this one")
        told, edits, state = (root.get(key) for key in ("told", "edits", "state"))
        if not all(isinstance(part, dict) for part in (told, edits, state)):
            raise ModelError(f"{path}: damaged: a part of it is missing")
        if not all(isinstance(part, str) for pair in edits.items() for part in pair):
            raise ModelError(f"{path}: damaged: its edits are no names")
        return PlainCheckpoint(str(root.get("kind")), told, edits, read_tensors(state, content, path))


def read_state(path: Path) -> dict[str, torch.Tensor]:
    """Read a file of weights alone, as `torch.save(model.state_dict(), path)` writes it; nothing is run.

    The weights may lie under the key ``state_dict``, ``model`` or ``state``, as training scripts save them.

    Raises:
        ModelError: it holds something else.
    """
    with _open(path) as content:
        root = content.root
        for key in ("state_dict_ema", "state_dict", "model_ema", "model", "state"):
            if isinstance(root, dict) and isinstance(root.get(key), dict):
                root = root[key]
                break
        if not isinstance(root, dict) or not any(isinstance(value, Tensor) for value in root.values()):
            raise ModelError(f"{path}: holds no weights by name (a state_dict)")
        return read_tensors(root, content, path)


@dataclass(frozen=True)
class Outline:
    """What a checkpoint holds, by name.

    Attributes:
        kind: of model, of a plain checkpoint; None of every other file.
        keys: at the top of it.
        texts: at the top of it, by their keys.
        weights: tensors by name, of the dictionary that has most of them.
    """

    kind: str | None = None
    keys: frozenset[str] = frozenset()
    texts: Mapping[str, str] = field(default_factory=dict)
    weights: frozenset[str] = frozenset()


@remember
def read_outline(path: Path) -> Outline:
    """Return what a checkpoint holds, without its numbers; nothing of a file that is none."""
    with suppress(ModelError), _open(path) as content:
        root = content.root
        if isinstance(root, dict):
            inside = [root, *(value for value in root.values() if isinstance(value, dict))]
            texts = {key: value for key, value in root.items() if isinstance(value, str)}
            return Outline(
                kind=str(root.get("kind")) if _is_plain(root) else None,
                keys=frozenset(key for key in root if isinstance(key, str)),
                texts=texts,
                weights=max(map(_names_of_weights, inside), key=len),
            )
    return Outline()


def plain_kind(path: Path) -> str | None:
    """Return the kind of model that a plain checkpoint is of; None of every other file."""
    return read_outline(path).kind


def _names_of_weights(found: Mapping[Any, Any]) -> frozenset[str]:
    return frozenset(name for name, one in found.items() if isinstance(one, Tensor) and isinstance(name, str))


def read_tensors(found: Mapping[Any, Any], content: container.Content, path: Path) -> dict[str, torch.Tensor]:
    """Read tensors by their names.

    Raises:
        ModelError: a value is none, or they are more than the file holds.
    """
    left = 2 * content.size + 2**20
    state: dict[str, torch.Tensor] = {}
    for name, record in found.items():
        if not isinstance(name, str) or not isinstance(record, Tensor):
            raise ModelError(f"{path}: {str(name)[:80]!r} is no tensor by its name")
        left -= record.nbytes
        if left < 0:
            raise ModelError(f"{path}: refused: it holds more weights than its size allows")
        state[name] = read_tensor(record, content.numbers)
    return state


def _is_plain(root: Any) -> bool:
    return isinstance(root, dict) and type(root.get(FORMAT)) is int


@contextmanager
def _open(path: Path) -> Iterator[container.Content]:
    """Open a checkpoint as records, what is wrong with it told as the user reads it.

    Classes that a training script left beside the weights are passed over.
    """
    try:
        with container.open_pickle(path, lenient_name_of) as content:
            yield content
    except RefusedError as exc:
        raise ModelError(f"{path}: refused: the file {exc}") from exc
    except DamagedError as exc:
        raise ModelError(f"{path}: damaged or incomplete ({exc}); copy it again") from exc
    except container.NoCheckpointError as exc:
        raise ModelError(f"{path}: {exc}") from exc


def _find_edits(model: nn.Module, fresh: nn.Module) -> dict[str, str]:
    """Name the outermost layers whose class is not the fresh network's."""
    edits: dict[str, str] = {}
    before = dict(fresh.named_modules(remove_duplicate=False))
    for name, module in model.named_modules(remove_duplicate=False):
        if any(name.startswith(f"{edited}.") for edited in edits):
            continue
        if name in before and type(module) is type(before[name]):
            continue
        kind = type(module).__name__
        if name not in before or type(module) is not type(_EDITS.get(kind, _Unheld)()):
            raise ModelError(
                f"{name}: a {kind} cannot be kept in this kind of checkpoint, which holds dropped blocks and "
                "swapped activations; leave prune.rewrite out"
            )
        edits[name] = kind + (_UNTRAINED if getattr(module, "untrained", False) else "")
    return edits


class _Unheld(nn.Module):
    """No layer that an edit may be."""
