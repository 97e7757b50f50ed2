"""A plain recovery after pruning, for kinds of model whose own framework does not train them.

Labels alone teach, at a rate that falls from `finetune.lr0` to 0 by a cosine. Batch norms keep the statistics
that were measured after the cut, since images come one by one; gradients are added up over `finetune.batch`.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from edgeprune.models.predictor import predictor

if TYPE_CHECKING:
    from edgeprune.models.adapter import ModelAdapter, Training

_SPLIT = "val"


def recover(adapter: ModelAdapter, training: Training) -> None:
    """Train a student for `finetune.epochs` epochs and leave the best one on val at `out`.

    Each step draws its own images of the train split. A teacher is not asked.
    """
    device = device_of(training)
    model = adapter.load(training.student).to(device).eval().requires_grad_(True)

    def add_gradients(step: int) -> None:
        _add_gradients(adapter, model, training, step, device)

    descend(adapter, training, model, list(model.parameters()), add_gradients)


def descend(
    adapter: ModelAdapter,
    training: Training,
    model: nn.Module,
    parameters: Sequence[nn.Parameter],
    add_gradients: Callable[[int], None],
) -> None:
    """Take the steps of all epochs, and leave the model that was best on val at `out`.

    The best weights are there also when Ctrl-C ends the training early.

    Args:
        model: what is saved; it lies on the device of the recipe.
        parameters: what is trained.
        add_gradients: told the number of the step, adds the gradients of its images.
    """
    tuning = training.recipe.finetune
    steps = steps_of_epoch(training)
    kind = {"AdamW": torch.optim.AdamW, "SGD": torch.optim.SGD}[tuning.optimizer]
    optimiser = kind(parameters, lr=tuning.lr0, weight_decay=tuning.weight_decay)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, tuning.epochs * steps)
    best, since = -math.inf, 0
    for epoch in range(tuning.epochs):
        for step in range(steps):
            optimiser.zero_grad()
            add_gradients(epoch * steps + step)
            optimiser.step()
            schedule.step()
            rated = f", best {best:.3f}" if math.isfinite(best) else ""
            share = (epoch * steps + step + 1) / (tuning.epochs * steps)
            training.progress(share, f"epoch {epoch + 1}/{tuning.epochs}{rated}")
        plain = copy.deepcopy(model).cpu().eval()
        score = _score(adapter, plain, training)
        since += 1
        if score > best:
            best, since = score, 0
            adapter.save(plain, training.out)
        if since > tuning.patience > 0:
            return


def steps_of_epoch(training: Training) -> int:
    """Return how many steps an epoch has, the last one with what is left."""
    return math.ceil(len(training.dataset.images["train"]) / training.recipe.finetune.batch)


def device_of(training: Training) -> torch.device:
    """Return the device of the recipe's `finetune.device`, of several GPUs the first."""
    name = training.recipe.finetune.device
    first = name.partition(",")[0] or ("0" if torch.cuda.is_available() else "cpu")
    return torch.device(f"cuda:{first}" if first.isdigit() else first)


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


def _moved(batch: Mapping[str, Any], device: torch.device) -> dict[str, Any]:
    return {key: value.to(device) if torch.is_tensor(value) else value for key, value in batch.items()}
