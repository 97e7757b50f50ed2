"""Sparse training of what `models/recovery.py` trains: the loss of the labels, and a regulariser."""

from __future__ import annotations

from dataclasses import replace

import torch

from edgeprune.core.errors import ConfigError
from edgeprune.models.adapter import Training
from edgeprune.models.recovery import Trainable, by_labels, device_of, epochs_of, rate, steps_of_epoch
from edgeprune.prune.scales import (
    EVENTS,
    describe_scales,
    gammas,
    log_epoch,
    open_events,
    scale_names,
    write_training,
)
from edgeprune.prune.sparse import REGULARISERS, add_gradients, find_coupled
from edgeprune.records.pruning import SparseTraining


def sparsify(adapter: Trainable, training: Training) -> None:
    """Train a checkpoint for `recipe.sparse.epochs` epochs with the regulariser of `recipe.prune.criterion`.

    The weights are the averaged ones of the last epoch, not of the most accurate one, the least sparse.

    Args:
        training: its `out` is a folder. It gets `model.pt`; `sparse.json`, a `SparseTraining`; and
            `tensorboard/` where that package is installed.

    Raises:
        ConfigError: no layer that can be pruned has a batch norm.
        ModelError: the network cannot be traced.
    """
    recipe, out = training.recipe, training.out
    count, settings = recipe.sparse.epochs, recipe.prune
    model = adapter.prunable(adapter.load(training.student))
    example, metric = torch.zeros(adapter.preprocess(training.imgsz).shape), adapter.info(model).metric
    coupled = find_coupled(model, example, adapter.unprunable(model), settings)
    scales, regulariser = scale_names(model, coupled), REGULARISERS[settings.criterion]
    if not scales:
        raise ConfigError(
            "sparse.epochs: no layer that can be pruned has a batch norm, whose scales sparse training is "
            "judged by; leave it out"
        )
    model.to(device_of(training))
    learn, steps = by_labels(adapter, training, model), steps_of_epoch(training)

    def strength(epoch: int) -> float:
        return regulariser.schedule(epoch, count, recipe.sparse.strength)

    def step(number: int) -> None:
        learn(number)
        add_gradients(coupled, settings.criterion, strength(number // steps))

    before = describe_scales(gammas(model, scales), 0, None, None, metric)
    record = SparseTraining(criterion=settings.criterion, strength=recipe.sparse.strength, epochs=(before,))
    events = open_events(out / EVENTS)
    tuned = replace(
        training,
        recipe=recipe.model_copy(update={"finetune": recipe.finetune.model_copy(update={"epochs": count})}),
    )
    for epoch, plain in epochs_of(tuned, model, list(model.parameters()), step):
        values, score = gammas(plain, scales), rate(adapter, plain, training).score
        told = describe_scales(values, epoch + 1, strength(epoch), score, metric)
        record = record.model_copy(update={"epochs": (*record.epochs, told)})
        write_training(record, out)
        adapter.save(plain, out / "model.pt")
        if events is not None:
            log_epoch(events, told, values)
