"""A RetinaFace whose channels all matter, for tests."""

from __future__ import annotations

import torch
from torch import nn

from edgeprune.adapters.retinaface.network import RetinaFace


def faces_network() -> RetinaFace:
    """Return one whose channels all matter: fresh batch norms hide what a cut does to their statistics."""
    torch.manual_seed(0)
    model = RetinaFace()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor in (module.weight.data, module.bias.data, module.running_mean, module.running_var):
                assert tensor is not None
                tensor.uniform_(0.5, 1.5)
    return model.eval()
