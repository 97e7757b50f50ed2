"""Batch-norm statistics measured again after surgery, before any training: almost free, and worth a lot.

A pruned network's activations have other means and variances than the ones its batch norms remember. A few
dozen images measure them anew (as in EagleEye, arXiv 2007.02491); no weight changes.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import nn


@torch.no_grad()
def recalibrate(model: nn.Module, batches: Iterable[torch.Tensor]) -> None:
    """Replace the running statistics of every batch norm by their average over the batches, in place.

    Args:
        batches: at least one of images, float32 (n, 3, H, W), preprocessed as the network expects them.
    """
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    was_training = model.training
    model.eval()
    for norm in norms:
        norm.train()
        norm.momentum = None  # a plain average over the batches, not one that forgets
        norm.reset_running_stats()
    for images in batches:
        model(images)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    model.train(was_training)
