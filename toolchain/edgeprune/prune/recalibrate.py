"""Batch-norm statistics that follow a cut, before any training: almost free, and worth a lot.

A pruned network's activations have other means and variances than its batch norms remember. Measuring them
anew on a few dozen images (EagleEye, arXiv 2007.02491) repairs that, but forgets what the whole training set
had told. So the same images are measured before the cut and after it, and the remembered statistics take over
the difference alone: a network that was not cut stays as it is.
mAP50-95 on val right after a cut of YOLOv8n by `taylor`, no training (BCCD at 320 px, 2026-11-30):

    work left   not measured   measured anew   the difference
    100 %       .5785          .5309           .5785
    70 %        .4532          .5233           .5533
    50 %        .2857          .4470           .4849
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import nn

_MEAN, _VAR = "noted_mean", "noted_var"

_Remembered = tuple[nn.BatchNorm2d, torch.Tensor | None, torch.Tensor | None]
"""A batch norm with the mean and the variance that it had."""


@torch.no_grad()
def note_statistics(model: nn.Module, batches: Iterable[torch.Tensor]) -> None:
    """Note in every batch norm, in place, what the images measure before a cut; `recalibrate` reads it.

    Args:
        batches: at least one of images, float32 (n, 3, H, W), preprocessed as the network expects them; the
            same ones as after the cut.
    """
    for norm, mean, var in _measure(model, batches):
        norm.register_buffer(_MEAN, norm.running_mean, persistent=False)
        norm.register_buffer(_VAR, norm.running_var, persistent=False)
        norm.running_mean, norm.running_var = mean, var


@torch.no_grad()
def recalibrate(model: nn.Module, batches: Iterable[torch.Tensor]) -> None:
    """Move the running statistics of every batch norm by what changed since `note_statistics`, in place.

    Means move by the difference, variances by the ratio. A batch norm without notes, such as one that a
    rewriting made, gets what the images measure. The notes are gone afterwards.

    Args:
        batches: at least one of images, float32 (n, 3, H, W), preprocessed as the network expects them.
    """
    for norm, mean, var in _measure(model, batches):
        noted = dict(norm.named_buffers())
        if _MEAN not in noted or mean is None or var is None:
            continue
        measured_mean, measured_var = noted["running_mean"], noted["running_var"]
        norm.running_mean = mean + measured_mean - noted[_MEAN]
        ratio = (measured_var + norm.eps) / (noted[_VAR] + norm.eps)
        norm.running_var = ((var + norm.eps) * ratio - norm.eps).clamp(min=0)
        for name in (_MEAN, _VAR):
            delattr(norm, name)


def cut_notes(norm: nn.BatchNorm2d, gone: Sequence[int]) -> None:
    """Cut the notes of a batch norm along with its channels, in place; nothing where it has none."""
    notes = {name: buffer for name, buffer in norm.named_buffers() if name in (_MEAN, _VAR)}
    for name, noted in notes.items():
        kept = torch.ones(len(noted), dtype=torch.bool)
        kept[list(gone)] = False
        setattr(norm, name, noted[kept])


def _norms(model: nn.Module) -> list[nn.BatchNorm2d]:
    return [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]


def _measure(model: nn.Module, batches: Iterable[torch.Tensor]) -> list[_Remembered]:
    """Have every batch norm measure the images in place of what it remembers; return that with each.

    It averages over the batches plainly, and does not forget the first ones.
    """
    remembered = [(norm, norm.running_mean, norm.running_var) for norm in _norms(model)]
    kept = [(norm.momentum, norm.num_batches_tracked) for norm, *_ in remembered]
    was_training = model.training
    model.eval()
    for norm, mean, var in remembered:
        norm.train()
        norm.momentum = None
        norm.running_mean, norm.running_var = _fresh(mean), _fresh(var)
        norm.num_batches_tracked = _fresh(norm.num_batches_tracked)
        norm.reset_running_stats()
    for images in batches:
        model(images)
    for (norm, *_), (momentum, count) in zip(remembered, kept, strict=True):
        norm.momentum, norm.num_batches_tracked = momentum, count
    model.train(was_training)
    return remembered


def _fresh(statistics: torch.Tensor | None) -> torch.Tensor | None:
    return None if statistics is None else statistics.clone()
