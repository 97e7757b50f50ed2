"""What networks give: tensors, alone or in nested lists, tuples and mappings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch


def tensors_in(value: Any) -> list[torch.Tensor]:
    """Return all tensors of a network's output, in order; what else stands there is left out."""
    if isinstance(value, torch.Tensor):
        return [value]
    parts = value.values() if isinstance(value, Mapping) else value if isinstance(value, list | tuple) else ()
    return [tensor for part in parts for tensor in tensors_in(part)]
