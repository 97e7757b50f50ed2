"""A torch module behind the same face as an engine: arrays in, arrays out."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn

from edgeprune.models.adapter import Predict


def predictor(module: nn.Module) -> Predict:
    """Wrap a torch module, which gives a tensor or several, as a predictor on arrays."""

    def predict(images: np.ndarray[Any, np.dtype[np.float32]]) -> list[np.ndarray[Any, Any]]:
        with torch.no_grad():
            outputs = module(torch.from_numpy(images))
        return [output.numpy() for output in ((outputs,) if torch.is_tensor(outputs) else outputs)]

    return predict
