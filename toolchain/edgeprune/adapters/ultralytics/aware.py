"""Quantization-aware training: a model learns weights that int8 rounds without loss, taught by the float one.

What comes out is a float network of the same shape: each runtime's own scheme calibrates and quantizes it as
any other, so one training serves them all.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import torch
from ultralytics.nn.modules import DFL
from ultralytics.nn.modules.block import RealNVP

from edgeprune.adapters.ultralytics.distil import DistillingTrainer
from edgeprune.adapters.ultralytics.finetune import (
    RECIPE,
    KeptShape,
    KeptShapeTrainer,
    recover,
    training_folder,
)
from edgeprune.adapters.ultralytics.rounding import round_layers, unround_layers
from edgeprune.config.recipe import Recipe
from edgeprune.core.documents import read_record
from edgeprune.core.errors import OutputError
from edgeprune.core.files import write_text_atomically
from edgeprune.models import Training
from edgeprune.quantize.schemes import QDQ_SCHEMES


class Aware(KeptShape):
    """Rounds the weights and inputs of layers in every pass, also where ultralytics validates.

    It reads the recipe from its project folder: the child processes of a training on several GPUs are told
    nothing but ultralytics' own arguments.
    """

    in_bfloat16 = False  # as coarse as the rounding itself

    def get_model(self, cfg: Any = None, weights: Any = None, verbose: bool = True) -> torch.nn.Module:
        """Return the checkpoint's module with layers that round."""
        model = super().get_model(cfg, weights, verbose)
        for module in model.modules():
            if isinstance(module, DFL | RealNVP):  # bins, and what only the loss of keypoints asks
                module.requires_grad_(False)
        recipe = read_record(Recipe, Path(self.args.project) / RECIPE, OutputError)
        rules = QDQ_SCHEMES.get(recipe.quantize.scheme or "")
        round_layers(model, rules is not None and rules.symmetric)
        return model

    def plain(self, student: torch.nn.Module) -> torch.nn.Module:
        """Return a copy of the student without the rounding."""
        unround_layers(student := copy.deepcopy(super().plain(student)))
        return student


class AwareTrainer(Aware, KeptShapeTrainer):
    """The trainer of detectors."""


class AwareClassifierTrainer(Aware, DistillingTrainer):
    """The trainer of classifiers."""


def train_aware(trainer_class: type[Aware], training: Training) -> None:
    """Train a checkpoint for `recipe.quantize.aware_epochs` epochs with rounding; the best is at `out`.

    It starts at a hundredth of the learning rate of a recovery: the weights are there already, and the first
    steps of Adam move each of them by about that rate, whatever its gradient.

    Args:
        training: `recipe.quantize.scheme` is the one to round as.

    Raises:
        ModelError: the trained model has another parameter count than the student.
        EdgepruneError: ultralytics could not train; its log is named.
    """
    recipe = training.recipe
    tuning = recipe.finetune
    taught: dict[str, Any] = {"epochs": recipe.quantize.aware_epochs, "lr0": tuning.lr0 / 100}
    with training_folder(training.out.parent) as work:
        write_text_atomically(work / RECIPE, recipe.model_dump_json())
        if training.teacher and tuning.distill:
            taught |= trainer_class.taught_by(training.teacher, work)
        recover(trainer_class, training, work, taught)
