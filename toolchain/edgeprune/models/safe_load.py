"""Loading Ultralytics checkpoints without running their code.

A `.pt` file is a pickle and can run anything, and so can what it leaves in the objects that it makes.
`weights_only` of torch calls the classes on its list; ultralytics evaluates a network's `activation`. So
nothing of the file is run or kept. It is read as records, what it tells is checked, and a network of our own
is made.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch

from edgeprune.core.errors import ModelError
from edgeprune.models.checkpoint import container
from edgeprune.models.checkpoint.classic import is_by_yolov5, told_by_yolov5
from edgeprune.models.checkpoint.fields import ANCHORED, NETWORKS
from edgeprune.models.checkpoint.layers import UnfitError
from edgeprune.models.checkpoint.names import UnknownNameError, lenient_name_of, name_of, name_today
from edgeprune.models.checkpoint.pickled import DamagedError, Instance, RefusedError
from edgeprune.models.checkpoint.rebuild import draft, fill, try_shapes
from edgeprune.models.checkpoint.record import NetworkRecord, TrustedRecord, checked_record
from edgeprune.models.checkpoint.remember import remember
from edgeprune.models.checkpoint.tensors import Tensor, read_tensor
from edgeprune.models.trust import is_trusted

MOST_VALUES, MOST_DEPTH = 200_000, 12
"""Values of what a checkpoint tells beside its layers, and how deep they are nested."""
_TOLD_APART = ("ultralytics.nn.tasks.", "ultralytics.nn.modules.head.")
_NEVER: tuple[tuple[str, str], ...] = (
    (".RTDETR", "an RT-DETR, whose transformer mixes all channels, so that none can be removed exactly"),
    (".World", "a YOLO-World, which reads text beside the image"),
    (".YOLOE", "a YOLOE, which reads a prompt beside the image"),
    (".TorchVision", "a network of torchvision inside one of ultralytics"),
    ("super_gradients.", "a YOLO-NAS of super-gradients, which ultralytics can run and not train"),
)
"""What is refused for good, by a part of a class's whole name, and what it is."""
_OTHER_REPOSITORIES = ("models.yolo.", "models.common.", "models.experimental.", "yolov5.models.")


def load_checkpoint(path: Path, trust: bool = False) -> Any:
    """Return the network of a checkpoint, unpickled where the user trusts the file, else rebuilt.

    A classic YOLOv5 is always rebuilt: to unpickle it takes the repository that wrote it. What is refused for
    good is not unpickled either.

    Raises:
        ModelError: see `load_safely` and `load_trusting`.
    """
    if not (trust or is_trusted()):
        return load_safely(path)
    named = classes_in(path)
    is_rebuilt = ANCHORED in named or any(map(_never, named))
    return load_safely(path) if is_rebuilt else load_trusting(path)


def load_safely(path: Path) -> Any:
    """Load the network of a checkpoint, made anew of checked parts, in eval mode.

    Returns:
        A DetectionModel or ClassificationModel of ultralytics; its names, yaml, args and stride are checked.

    Raises:
        ModelError: the file is missing, damaged, of another kind, or holds what is not on the list.
    """
    with _refusals(path), container.open_pickle(path, name_of) as content:
        network = _network_of(content.root, path)
        if not isinstance(network, Instance) or network.cls not in NETWORKS:
            raise ModelError(
                f"{path}: an Ultralytics model is needed, this checkpoint holds {_kind(network)}"
            )
        told = _told(network.cls, network.state, content.root)
        told["stride"] = _numbers(told["stride"], content)
        record = checked_record(NetworkRecord, told, str(path))
        made = draft(network, record)
        strides = try_shapes(made.network)
        _check_strides(record, strides, path)
        made.network.stride = torch.tensor(strides or (1.0,))
        if strides:
            made.network.model[-1].stride = made.network.stride
        return fill(made, content)


def load_trusting(path: Path) -> Any:
    """Unpickle a checkpoint whatever it holds, which runs its code, and return its network.

    What the checkpoint tells of a network of ultralytics is checked all the same.

    Raises:
        ModelError: it cannot be unpickled, or what it tells is damaged.
    """
    with _refusals(path):
        container.check_start(path)
        try:
            found = torch.load(path, map_location="cpu", weights_only=False)
        except ModuleNotFoundError as exc:
            raise ModelError(
                f"{path}: to unpickle it takes the module {exc.name}, which is not installed here; install "
                "what wrote the file, or export the trained network to ONNX and give that file"
            ) from exc
        except Exception as exc:  # the file's own code
            raise DamagedError(_first_line(exc)) from exc
    network = _network_of(found, path)
    if isinstance(network, torch.nn.Module) and hasattr(network, "yaml"):
        told = _told("", vars(network), found)
        stride = told["stride"]
        told["stride"] = tuple(stride.flatten().tolist()) if isinstance(stride, torch.Tensor) else ()
        record = checked_record(TrustedRecord, told, str(path))
        vars(network)["names"] = dict(enumerate(record.names))
        vars(network)["args"] = record.args.model_dump(exclude_none=True)
    return network


@remember
def classes_in(path: Path) -> tuple[str, ...]:
    """List the classes that a checkpoint names, without running it; none where it cannot be read as one."""
    names: list[str] = []

    def seen(name: str) -> Any:
        names.append(name_today(name))
        return lenient_name_of(name)

    with suppress(ModelError), _refusals(path), container.open_pickle(path, seen):
        pass  # `load_safely` says what is wrong with it
    return tuple(names)


@contextmanager
def _refusals(path: Path) -> Iterator[None]:
    """Turn what can be wrong with a file into the one line that the user reads."""
    try:
        yield
    except container.NoCheckpointError as exc:
        raise ModelError(f"{path}: {exc}") from exc
    except UnknownNameError as exc:
        raise ModelError(f"{path}: {_unknown(exc.name)}") from exc
    except RefusedError as exc:
        raise ModelError(
            f"{path}: refused: the file {exc}; if you know where it comes from, load it with --trust-model"
        ) from exc
    except DamagedError as exc:
        raise ModelError(
            f"{path}: the checkpoint is damaged or incomplete ({exc}); copy or export it again"
        ) from exc
    except UnfitError as exc:
        raise ModelError(f"{path}: the network in it is damaged: {exc}") from exc


def _never(name: str) -> str | None:
    if not name.startswith(("ultralytics.", "super_gradients.")):
        return None
    return next((why for part, why in _NEVER if part in name), None)


def _unknown(name: str) -> str:
    if why := _never(name):
        return f"holds {name}: {why}; take a YOLO of convolutions, such as yolo11n"
    if name.startswith(_TOLD_APART):
        return f"holds {name}: only plain detection and classification models are supported"
    if name.startswith(_OTHER_REPOSITORIES):
        return (
            f"holds {name}: of the models that the YOLOv5 repository writes, detectors of convolutions are "
            "supported (v5 to v7), and none of YOLOv7's; train one of these, or one of ultralytics' own"
        )
    return (
        f"refused: the file wants to load {name}, which is not on the list of safe classes; "
        "if you know where the file comes from, load it with --trust-model"
    )


def _network_of(root: Any, path: Path) -> Any:
    if not isinstance(root, dict):
        kind = _kind(root)
        raise ModelError(
            f"{path}: an Ultralytics checkpoint is a dictionary with the model in it, not {kind}"
        )
    return root.get("model") if root.get("ema") is None else root["ema"]


def _told(cls: str, state: Mapping[str, Any], root: Mapping[Any, Any]) -> dict[str, Any]:
    """Gather what a checkpoint tells, of plain data but for its strides.

    Args:
        cls: whole name of the network's class.
    """
    args = root.get("train_args")
    told = {
        "names": state.get("names"),
        "config": state.get("yaml"),
        "args": state.get("args", {}) if args is None else args,
        "gains": state.get("hyp") if cls == ANCHORED else None,
    }
    if is_by_yolov5(root, cls):
        told = told_by_yolov5(state, root)
    budget = [MOST_VALUES]
    return {key: _plain(value, budget) for key, value in told.items()} | {"stride": state.get("stride")}


def _plain(value: Any, budget: list[int], depth: int = 0) -> Any:
    """Copy nested data; `budget` counts down, since a few lists can name each other into billions."""
    budget[0] -= 1
    if budget[0] < 0 or depth > MOST_DEPTH:
        raise RefusedError("tells more of itself than any checkpoint")
    if isinstance(value, dict):
        return {key: _plain(one, budget, depth + 1) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(one, budget, depth + 1) for one in value]
    return value


def _numbers(value: Any, content: container.Content) -> Any:
    """Read a short tensor as numbers."""
    if isinstance(value, Tensor) and math.prod(value.shape) <= 64:
        return tuple(float(number) for number in read_tensor(value, content.numbers).flatten().tolist())
    return () if value is None else value


def _check_strides(record: NetworkRecord, strides: tuple[float, ...], path: Path) -> None:
    if record.stride and strides and record.stride != strides:
        raise ModelError(
            f"{path}: the checkpoint says strides {_listed(record.stride)}, "
            f"its network has {_listed(strides)}"
        )


def _listed(numbers: tuple[float, ...]) -> str:
    return ", ".join(f"{number:g}" for number in numbers[:8])


def _kind(value: Any) -> str:
    if isinstance(value, Instance):
        return value.cls.rpartition(".")[2]
    return type(value).__name__


def _first_line(exc: Exception) -> str:
    return (str(exc).splitlines() or [type(exc).__name__])[0][:120]
