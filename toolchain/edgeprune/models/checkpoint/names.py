"""The names that a checkpoint may hold, and what each stands for: a record, never the thing of that name."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Any

import torch

from edgeprune.models.checkpoint.fields import ANCHORED, KNOWN
from edgeprune.models.checkpoint.pickled import Ignored, Instance, Made, RefusedError
from edgeprune.models.checkpoint.tensors import DTYPES, Kind, bare_tensor, tensor, typed_tensor

_STORAGES: Mapping[str, torch.dtype | None] = MappingProxyType(
    {
        "DoubleStorage": torch.float64,
        "FloatStorage": torch.float32,
        "HalfStorage": torch.float16,
        "BFloat16Storage": torch.bfloat16,
        "LongStorage": torch.int64,
        "IntStorage": torch.int32,
        "ShortStorage": torch.int16,
        "CharStorage": torch.int8,
        "ByteStorage": torch.uint8,
        "BoolStorage": torch.bool,
    }
)

# As ultralytics maps them itself (`torch_safe_load` in nn/tasks.py); its first releases kept all blocks in
# one file.
_MOVED: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"^__builtin__\."), "builtins."),
    (re.compile(r"^copy_reg\."), "copyreg."),
    (re.compile(r"^torch\.tensor\."), "torch._tensor."),
    (re.compile(r"^ultralytics\.yolo\.utils\."), "ultralytics.utils."),
    (re.compile(r"^ultralytics\.yolo\.data\."), "ultralytics.data."),
    (re.compile(r"^ultralytics\.yolo\.v8\."), "ultralytics.models.yolo."),
    (re.compile(r"^ultralytics\.nn\.modules\.block\.Silence$"), "torch.nn.modules.linear.Identity"),
    (re.compile(r"^ultralytics\.nn\.tasks\.YOLOv10DetectionModel$"), "ultralytics.nn.tasks.DetectionModel"),
)
_BLOCKS = "ultralytics.nn.modules."
_MODULE_OF = {name.rpartition(".")[2]: name for name in KNOWN if name.startswith(_BLOCKS)}
_CLASSIC = re.compile(r"^(yolov5\.)?models\.(?=(common|yolo)\.)")
"""The repository of classic YOLOv5, and PyPI's package of it."""
CLASSIC: Mapping[str, str] = MappingProxyType(
    {
        "yolo.Detect": "edgeprune.models.anchors.AnchorDetect",
        "yolo.DetectionModel": ANCHORED,
        "yolo.Model": ANCHORED,
    }
    | {
        f"common.{name}": _MODULE_OF[name]
        for name in (
            "Bottleneck", "BottleneckCSP", "C3", "C3Ghost", "Concat", "Conv", "DWConv", "Focus",
            "GhostBottleneck", "GhostConv", "SPP", "SPPF",
        )
    }
)  # fmt: skip
"""Classes of classic YOLOv5, after ``models.``, and those of ours and of ultralytics that are equal."""

_NOT_READ: tuple[re.Pattern[str], ...] = tuple(
    re.compile(pattern)
    for pattern in (
        r"ultralytics\.utils\.loss\.\w+",
        r"ultralytics\.utils\.tal\.\w+",
        r"ultralytics\.utils\.IterableSimpleNamespace",
        r"ultralytics\.nn\.distill_model\.FeatureHook",
        r"ultralytics\.data\.augment\.(CenterCrop|ToTensor)",
        r"torch\.nn\.modules\.loss\.\w+",
        r"torch\.(device|layout|strided|Generator)",
        r"torch\.serialization\._get_layout",
        r"torchvision\.transforms\.functional\.InterpolationMode",
        r"torchvision\.transforms\.transforms\.(CenterCrop|Compose|Normalize|Resize|ToTensor)",
        r"numpy\.(_core|core)\.multiarray\.(scalar|_reconstruct)",
        r"numpy\.(dtype|ndarray)",
        r"numpy\.dtypes\.\w+",
        r"pathlib\.(PosixPath|WindowsPath|PurePosixPath|PureWindowsPath|Path)",
        r"pathlib\._local\.(PosixPath|WindowsPath)",
        r"collections\.(defaultdict|Counter)",
        r"datetime\.(datetime|date|timedelta|timezone)",
        r"builtins\.(complex|bytearray|list|dict|int|float|str|bool)",
    )
)
"""What true checkpoints hold beside the network: losses, paths, NumPy numbers, how a classifier was fed."""


def _ordered(*arguments: Any) -> dict[Any, Any]:
    match arguments:
        case ():
            return {}
        case (list() as pairs,) if all(isinstance(pair, (list, tuple)) and len(pair) == 2 for pair in pairs):
            if all(isinstance(pair[0], (str, int)) for pair in pairs):
                return {pair[0]: pair[1] for pair in pairs}
    raise RefusedError("makes a dictionary of what is none")


def _set(*arguments: Any) -> set[Any]:
    match arguments:
        case ():
            return set()
        case (list() as values,) if all(isinstance(value, (str, int, float)) for value in values):
            return set(values)
    raise RefusedError("makes a set of what is none")


def _size(*arguments: Any) -> tuple[Any, ...]:
    match arguments:
        case (tuple() | list() as values,):
            return tuple(values)
    raise RefusedError("makes a size of what is none")


def _encode(text: Any, encoding: Any = None) -> bytes:
    if not isinstance(text, str) or encoding not in ("latin1", b"latin1"):
        raise RefusedError("encodes what is no text")
    return text.encode("latin1")


def _bytes(*arguments: Any) -> bytes:
    if arguments:
        raise RefusedError("makes bytes of something else")
    return b""  # how the oldest protocols write them; the others are `_encode`'s


def _parameter(data: Any, *_: Any) -> Any:
    return data  # a parameter is told by its place in the module


def _old_object(cls: Any, base: Any = None, state: Any = None) -> Any:
    """Stand for `copyreg._reconstructor`, by which the oldest protocols make an object without arguments."""
    if isinstance(cls, Made) and cls.call is None and isinstance(base, Ignored) and state is None:
        return Instance(cls.name)
    raise RefusedError("makes an object of what is no class")


def _bound(owner: Any, method: Any) -> Any:
    """Stand for the one method that ultralytics' `fuse` leaves in a module's state."""
    if isinstance(owner, Instance) and method == "forward_fuse":
        return Ignored(f"{owner.cls}.forward_fuse")
    raise RefusedError("looks up an attribute by name")


CALLS: Mapping[str, Callable[..., Any]] = MappingProxyType(
    {
        "collections.OrderedDict": _ordered,
        "builtins.bytes": _bytes,
        "builtins.set": _set,
        "builtins.getattr": _bound,
        "_codecs.encode": _encode,
        "copyreg._reconstructor": _old_object,
        "torch.Size": _size,
        "torch._utils._rebuild_parameter": _parameter,
        "torch._utils._rebuild_parameter_with_state": _parameter,
        "torch._utils._rebuild_tensor": bare_tensor,
        "torch._utils._rebuild_tensor_v2": tensor,
        "torch._utils._rebuild_tensor_v3": typed_tensor,
    }
)
"""What a checkpoint may call, and the function of ours that takes its place."""


def name_today(name: str) -> str:
    """Return the name that a class has today."""
    for pattern, current in _MOVED:
        name = pattern.sub(current, name)
    name = CLASSIC.get(_CLASSIC.sub("", name), name)
    if name.startswith(_BLOCKS):
        name = _MODULE_OF.get(name.rpartition(".")[2], name)
    return name


@lru_cache(maxsize=1024)
def name_of(name: str) -> Any:
    """Return the record that a name in a checkpoint stands for.

    Raises:
        RefusedError: it is none of those that a checkpoint needs.
    """
    current = name_today(name)
    if current in CALLS:
        return Made(current, CALLS[current])
    if current in KNOWN:
        return Made(current)
    module, _, last = current.rpartition(".")
    if module == "torch" and last in _STORAGES:
        return Kind(_STORAGES[last])
    if module in {"torch", "torch.storage"} and last in {"UntypedStorage", "TypedStorage"}:
        return Kind(None)
    if module == "torch" and last in DTYPES:
        return Kind(DTYPES[last])
    if current == "builtins.object" or any(pattern.fullmatch(current) for pattern in _NOT_READ):
        return Ignored(current)
    raise UnknownNameError(current)


class UnknownNameError(RefusedError):
    """A name that is not on the list."""

    def __init__(self, name: str) -> None:
        super().__init__(f"wants to load {name}, which is not on the list of safe classes")
        self.name = name


def lenient_name_of(name: str) -> Any:
    """Return the same, and for what is none of those a record that is passed over."""
    try:
        return name_of(name)
    except UnknownNameError:
        return Ignored(name)
