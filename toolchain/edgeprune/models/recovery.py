"""A plain recovery after pruning, for kinds of model whose own framework does not train them.

Labels alone teach, at a rate that falls from `finetune.lr0` to 0 by a cosine. Batch norms keep the statistics
that were measured after the cut, since images come one by one; gradients are added up over `finetune.batch`.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from edgeprune.models.predictor import predictor

if TYPE_CHECKING:
    from edgeprune.models.adapter import ModelAdapter, Training

_SPLIT = "val"


def recover(adapter: ModelAdapter, training: Training) -> None:
    """Train a student for `finetune.epochs` epochs and leave the best one on val at `out`.

    Each step draws its own images of the train split. The best weights are there also when Ctrl-C ends the
    training early. A teacher is not asked.
    """
    tuning = training.recipe.finetune
    device = _device(tuning.device)
    model = adapter.load(training.student).to(device).eval().requires_grad_(True)
    steps = math.ceil(len(training.dataset.images["train"]) / tuning.batch)
    kind = {"AdamW": torch.optim.AdamW, "SGD": torch.optim.SGD}[tuning.optimizer]
    optimiser = kind(model.parameters(), lr=tuning.lr0, weight_decay=tuning.weight_decay)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, tuning.epochs * steps)
    best, since = -math.inf, 0
    for epoch in range(tuning.epochs):
        for step in range(steps):
            optimiser.zero_grad()
            _add_gradients(adapter, model, training, epoch * steps + step, device)
            optimiser.step()
            schedule.step()
            rated = f", best {best:.3f}" if math.isfinite(best) else ""
            share = (epoch * steps + step + 1) / (tuning.epochs * steps)
            training.progress(share, f"epoch {epoch + 1}/{tuning.epochs}{rated}")
        plain = copy.deepcopy(model).cpu()
        score = _score(adapter, plain, training)
        since += 1
        if score > best:
            best, since = score, 0
            adapter.save(plain, training.out)
        if since > tuning.patience > 0:
            return


def _add_gradients(
    adapter: ModelAdapter, model: nn.Module, training: Training, step: int, device: torch.device
) -> None:
    recipe, spec = training.recipe, adapter.preprocess(training.imgsz)
    drawn = adapter.labelled_images(training.dataset, spec, recipe.finetune.batch, recipe.seed + step)
    for batch in drawn:
        loss = adapter.loss(model, _moved(batch, device)) / recipe.finetune.batch
        loss.backward()


def _score(adapter: ModelAdapter, model: nn.Module, training: Training) -> float:
    predict, post = predictor(adapter.exportable(model)), adapter.info(model).postprocess
    spec = adapter.preprocess(training.imgsz)
    return adapter.evaluate(predict, training.dataset, _SPLIT, spec, post).score


def _device(name: str) -> torch.device:
    """Return the device of the recipe's `finetune.device`, of several GPUs the first."""
    first = name.partition(",")[0] or ("0" if torch.cuda.is_available() else "cpu")
    return torch.device(f"cuda:{first}" if first.isdigit() else first)


def _moved(batch: Mapping[str, Any], device: torch.device) -> dict[str, Any]:
    return {key: value.to(device) if torch.is_tensor(value) else value for key, value in batch.items()}
