"""Tensors of a checkpoint as records: where their numbers lie, checked before they are read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from math import prod
from types import MappingProxyType
from typing import Any

import torch

from edgeprune.models.checkpoint.pickled import Ignored, RefusedError

DTYPES: Mapping[str, torch.dtype] = MappingProxyType(
    {
        name: getattr(torch, name)
        for name in (
            "float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool",
        )
    }
)  # fmt: skip
MOST_AXES = 8


@dataclass(frozen=True, eq=False, slots=True)
class Kind:
    """The type of a storage's numbers; None where the tensors of it tell theirs."""

    dtype: torch.dtype | None


@dataclass(frozen=True, eq=False, slots=True)
class Storage:
    """Numbers that lie outside the pickle.

    Attributes:
        key: their name in the file.
        count: how many they are said to be.
    """

    key: str
    dtype: torch.dtype
    count: int

    @property
    def nbytes(self) -> int:
        """How many bytes they take."""
        return self.count * self.dtype.itemsize


@dataclass(frozen=True, eq=False, slots=True)
class Tensor:
    """A tensor that is still in the file; `shape` and `stride` count numbers of `dtype`."""

    storage: Storage
    dtype: torch.dtype
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        """How many bytes it takes when it is read."""
        return prod(self.shape) * self.dtype.itemsize


def parse_storage(pid: Any) -> Any:
    """Return the record of torch's reference to numbers outside the pickle, or to a class with its source.

    Raises:
        RefusedError: it is neither.
    """
    match pid:
        case (
            "storage" | b"storage",
            Kind() as kind,
            str() | bytes() | int() as key,
            _,
            int() as count,
            *view,
        ) if count >= 0 and view in ([], [None]):
            name = key.decode("ascii", "replace") if isinstance(key, bytes) else str(key)
            return Storage(name, kind.dtype or torch.uint8, count)
        case ("module" | b"module", cls, _, _):
            return cls
    raise RefusedError("refers to numbers in a way that torch does not")


def tensor(storage: Any, offset: Any, shape: Any, stride: Any, *_: Any) -> Tensor | Ignored:
    """Stand for `torch._utils._rebuild_tensor_v2`: requires_grad, hooks and metadata are not read."""
    return bare_tensor(storage, offset, shape, stride)


def typed_tensor(
    storage: Any, offset: Any, shape: Any, stride: Any, gradients: Any, hooks: Any, kind: Any, *_: Any
) -> Tensor:
    """Stand for `torch._utils._rebuild_tensor_v3`, whose storage has no type."""
    if not isinstance(kind, Kind) or kind.dtype is None:
        raise RefusedError("makes a tensor of an unknown type")
    return replace(bare_tensor(storage, offset, shape, stride, kind.dtype))


def bare_tensor(
    storage: Any, offset: Any, shape: Any, stride: Any, dtype: torch.dtype | None = None
) -> Tensor:
    """Stand for `torch._utils._rebuild_tensor`.

    Raises:
        RefusedError: the tensor reaches beyond its storage, or is larger than it.
    """
    sizes = (shape, stride)
    good = (
        isinstance(storage, Storage)
        and _whole(offset)
        and all(
            isinstance(values, tuple) and len(values) <= MOST_AXES and all(map(_whole, values))
            for values in sizes
        )
    )
    if not good or len(shape) != len(stride):
        raise RefusedError("makes a tensor of what is no storage, size and stride")
    made = Tensor(storage, dtype or storage.dtype, offset, shape, stride)
    last = offset + sum((size - 1) * step for size, step in zip(shape, stride, strict=True))
    beyond = prod(shape) and (last + 1) * made.dtype.itemsize > storage.nbytes
    if beyond or made.nbytes > storage.nbytes:
        raise RefusedError(f"makes a tensor of shape {list(shape)} that is larger than its numbers")
    return made


def _whole(value: Any) -> bool:
    return type(value) is int and 0 <= value < 2**62


def read_tensor(record: Tensor, numbers: Callable[[Storage], bytearray]) -> torch.Tensor:
    """Return a tensor of its own memory with the numbers of the file."""
    data = numbers(record.storage)
    if not data:
        return torch.empty(record.shape, dtype=record.dtype)
    flat = torch.frombuffer(data, dtype=record.dtype)
    return flat.as_strided(record.shape, record.stride, record.offset).clone(
        memory_format=torch.contiguous_format
    )
