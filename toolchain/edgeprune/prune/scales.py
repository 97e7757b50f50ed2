"""The scales of batch norms during a sparse training: read, described, kept on record."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from edgeprune.core.files import write_text_atomically
from edgeprune.prune.sparse import Coupled
from edgeprune.records.pruning import GAMMA_QUANTILES, SMALL_GAMMA, SparseEpoch, SparseTraining

RECORD, EVENTS = "sparse.json", "tensorboard"


def scale_names(model: nn.Module, coupled: Sequence[Coupled]) -> list[str]:
    """Return the names of the batch norms whose scales belong to coupled groups, sorted."""
    names = {module: name for name, module in model.named_modules()}
    return sorted({names[part.layer] for group in coupled for part in group.scales})


def gammas(model: nn.Module, names: list[str]) -> torch.Tensor:
    """Return the absolute scales of the named batch norms, float32 (n,), on the CPU."""
    norms = [module for name in names if isinstance(module := model.get_submodule(name), _BatchNorm)]
    return torch.cat([norm.weight.detach().abs().float().cpu() for norm in norms])


def describe_scales(
    values: torch.Tensor, epoch: int, strength: float | None, score: float | None, metric: str
) -> SparseEpoch:
    """Describe the distribution of scales after an epoch; epoch 0 is before the training."""
    return SparseEpoch(
        epoch=epoch,
        strength=strength,
        quantiles=tuple(values.quantile(torch.tensor(GAMMA_QUANTILES)).tolist()),
        share_small=float((values < SMALL_GAMMA).float().mean()),
        score=score,
        metric=metric,
    )


def write_training(record: SparseTraining, folder: Path) -> None:
    """Write the record of a training, as far as it is, into a folder."""
    write_text_atomically(folder / RECORD, record.model_dump_json(indent=1) + "\n")


def open_events(folder: Path) -> Any:
    """Return a writer of TensorBoard events, or None where that package is not installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(folder))


def log_epoch(events: Any, epoch: SparseEpoch, values: torch.Tensor) -> None:
    """Write an epoch and the scales after it where TensorBoard looks for them."""
    scalars = {"strength": epoch.strength, epoch.metric: epoch.score, "share_small": epoch.share_small}
    scalars |= {
        f"gamma/q{share:g}": value for share, value in zip(GAMMA_QUANTILES, epoch.quantiles, strict=True)
    }
    for name, value in scalars.items():
        if value is not None:
            events.add_scalar(f"sparse/{name}", value, epoch.epoch)
    events.add_histogram("sparse/gamma", values, epoch.epoch)
    events.flush()
