"""Recovery of a pruned classifier, taught by the unpruned one's logits (Hinton et al., arXiv 1503.02531).

ultralytics' own distillation compares feature maps and knows detectors only.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from ultralytics.models.yolo.classify import ClassificationTrainer
from ultralytics.utils.torch_utils import unwrap_model

from edgeprune.adapters.classifier import TEACHER_SHARE, distillation
from edgeprune.adapters.top_k import METRIC
from edgeprune.adapters.ultralytics.checkpoint import load_network
from edgeprune.adapters.ultralytics.finetune import (
    RECIPE,
    TEACHER,
    KeptShape,
    own_copy,
    recover,
    training_folder,
)
from edgeprune.config.recipe import Recipe
from edgeprune.core.documents import read_record
from edgeprune.core.errors import OutputError
from edgeprune.core.files import write_text_atomically
from edgeprune.models import Training


def logits_of(outputs: Any) -> torch.Tensor:
    """Return a classifier's logits: its output in training, beside the probabilities in evaluation."""
    logits: torch.Tensor = outputs[1] if isinstance(outputs, (list, tuple)) else outputs
    return logits


class SoftTargets:
    """A criterion of ultralytics: cross-entropy with the labels, and distillation from a teacher.

    Not a module: its teacher is no part of the student that holds it.
    """

    def __init__(self, teacher: nn.Module, temperature: float) -> None:
        self.teacher = teacher.eval().requires_grad_(False)
        self.temperature = temperature

    def __call__(
        self, outputs: Any, batch: dict[str, torch.Tensor]
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """Return the loss of a batch, and the same to be logged."""
        student = logits_of(outputs)
        with torch.no_grad():
            teacher = logits_of(self.teacher(batch["img"]))
        hard = functional.cross_entropy(student, batch["cls"])
        soft = distillation(student, teacher, self.temperature)
        loss = (1 - TEACHER_SHARE) * hard + TEACHER_SHARE * soft
        return loss, {"loss": loss.detach()}


class DistillingTrainer(KeptShape, ClassificationTrainer):  # type: ignore[misc]
    """The trainer of classifiers; a checkpoint `teacher.pt` in its project folder teaches.

    It reads the recipe and the teacher from there: the child processes of a training on several GPUs are told
    nothing but ultralytics' own arguments.
    """

    adapter = "ultralytics-classify"
    metric = METRIC
    score_key = "metrics/accuracy_top1"

    @classmethod
    def taught_by(cls, teacher: Path, work: Path) -> dict[str, Any]:
        """Lay the teacher where the run finds it; ultralytics needs to be told nothing."""
        own_copy(teacher, work / TEACHER)
        return {}

    def set_model_attributes(self) -> None:
        """Keep the classes in the model's order, which the folders are matched to by name."""
        self.data["names"] = self.model.names

    def _setup_train(self) -> None:
        super()._setup_train()
        folder = Path(self.args.project)
        if (folder / TEACHER).is_file():
            recipe = read_record(Recipe, folder / RECIPE, OutputError)
            # Our own copy in this run's folder, which may hold blocks of the user's that no list knows.
            teacher = load_network(folder / TEACHER, trust=True).to(self.device)
            # After the averaged copy was made: that one is validated with plain cross-entropy.
            unwrap_model(self.model).criterion = SoftTargets(teacher, recipe.finetune.temperature)


def finetune(training: Training) -> None:
    """Train a student back and leave the best epoch on val at `out`, also when Ctrl-C ends it early.

    Raises:
        ModelError: the trained model has another parameter count than the student.
        EdgepruneError: ultralytics could not train; its log is named.
    """
    with training_folder(training.out.parent) as work:
        write_text_atomically(work / RECIPE, training.recipe.model_dump_json())
        taught: dict[str, Any] = {}
        if training.teacher and training.recipe.finetune.distill:
            taught = DistillingTrainer.taught_by(training.teacher, work)
        recover(DistillingTrainer, training, work, taught)
