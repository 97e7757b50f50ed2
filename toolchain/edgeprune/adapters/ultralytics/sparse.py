"""Sparse training with the ultralytics trainer: a regulariser at every step, its effect on record.

No callback of ultralytics fires between backward and the optimiser's step, so the trainer overrides the step.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from ultralytics.utils import RANK
from ultralytics.utils.torch_utils import unwrap_model

from edgeprune.adapters.ultralytics.distil import DistillingTrainer
from edgeprune.adapters.ultralytics.finetune import (
    LAST,
    RECIPE,
    KeptShape,
    KeptShapeTrainer,
    check_shape,
    train,
    training_folder,
)
from edgeprune.config.recipe import Recipe
from edgeprune.core.documents import read_record
from edgeprune.core.errors import OutputError
from edgeprune.core.files import write_text_atomically
from edgeprune.images.size import input_shape
from edgeprune.models import Training, get_adapter
from edgeprune.prune.scales import (
    EVENTS,
    RECORD,
    describe_scales,
    gammas,
    log_epoch,
    open_events,
    scale_names,
    write_training,
)
from edgeprune.prune.sparse import REGULARISERS, add_gradients, find_coupled
from edgeprune.records.pruning import SparseTraining


class Regularised(KeptShape):
    """Adds the recipe's regulariser to the gradients of every step, and records the batch-norm scales.

    It reads the recipe from its project folder and writes its record there: the child processes of a training
    on several GPUs are told nothing but ultralytics' own arguments.
    """

    def get_model(self, cfg: Any = None, weights: Any = None, verbose: bool = True) -> torch.nn.Module:
        """Return the checkpoint's module, its groups traced while it is still on the CPU and on its own."""
        model = super().get_model(cfg, weights, verbose)
        folder = Path(self.args.project)
        recipe = read_record(Recipe, folder / RECIPE, OutputError)
        example, fixed = (
            torch.zeros(input_shape(self.args.imgsz)),
            get_adapter(self.adapter).unprunable(model),
        )
        self.coupled = find_coupled(model, example, fixed, recipe.prune)
        self.scales = scale_names(model, self.coupled)
        self.criterion, self.strength = recipe.prune.criterion, recipe.sparse.strength
        self.record = SparseTraining(
            criterion=self.criterion,
            strength=self.strength,
            epochs=(describe_scales(gammas(model, self.scales), 0, None, None, self.metric),),
        )
        self.events = open_events(folder / EVENTS) if RANK in {-1, 0} else None
        return model

    def optimizer_step(self) -> None:
        """Add the regulariser's gradients, scaled as the loss is, and take ultralytics' own step.

        That step unscales, clips, steps, and averages the weights, in this order.
        """
        strength = self.strength_now() * self.scaler.get_scale()
        add_gradients(self.coupled, self.criterion, strength)
        super().optimizer_step()

    def strength_now(self) -> float:
        """Return the regulariser's strength in this epoch."""
        return REGULARISERS[self.criterion].schedule(self.epoch, self.epochs, self.strength)

    def save_model(self) -> bool:
        """Save as the base class does, and add the epoch to the record; only the first process does it."""
        values = gammas(unwrap_model(self.ema.ema), self.scales)
        rated = (self.metrics or {}).get(self.score_key)
        epoch = describe_scales(
            values,
            self.epoch + 1,
            self.strength_now(),
            None if rated is None else float(rated),
            self.metric,
        )
        self.record = self.record.model_copy(update={"epochs": (*self.record.epochs, epoch)})
        write_training(self.record, Path(self.args.project))
        if self.events is not None:
            log_epoch(self.events, epoch, values)
        return super().save_model()


class SparseTrainer(Regularised, KeptShapeTrainer):
    """The trainer of detectors."""


class SparseClassifierTrainer(Regularised, DistillingTrainer):
    """The trainer of classifiers; nothing teaches them here."""


def sparsify(trainer_class: type[Regularised], training: Training) -> None:
    """Train a checkpoint for `recipe.sparse.epochs` epochs with the regulariser of `recipe.prune.criterion`.

    The weights are the averaged ones of the last epoch, not of the most accurate one, the least sparse.

    Args:
        training: its `out` is a folder. It gets `model.pt`, the traceable form of the network;
            `sparse.json`, a `SparseTraining`; `sparse.log`; and `tensorboard/` where that package is
            installed.

    Raises:
        ModelError: the network cannot be traced, or lost its shape.
        EdgepruneError: ultralytics could not train; its log is named.
    """
    adapter, out = get_adapter(trainer_class.adapter), training.out
    with training_folder(out) as work:
        dense = work / "dense.pt"
        adapter.save(adapter.prunable(adapter.load(training.student)), dense)
        write_text_atomically(work / RECIPE, training.recipe.model_dump_json())
        changes = {
            "epochs": training.recipe.sparse.epochs,
            "patience": 0,
        }  # 0 is never: accuracy has to give way at first
        train(trainer_class, replace(training, student=dense), work, out / "sparse.log", changes)
        check_shape(dense, work / "run" / "weights" / LAST)
        (work / "run" / "weights" / LAST).replace(out / "model.pt")
        (work / RECORD).replace(out / RECORD)
        if (work / EVENTS).is_dir():
            (work / EVENTS).replace(out / EVENTS)
