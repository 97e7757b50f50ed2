"""Recovery of a pruned model with the ultralytics trainers, taught by the unpruned one.

`YOLO(pruned).train()` rebuilds the unpruned network from its yaml (ultralytics#16806, #14856). The trainer
here takes the checkpoint's own module instead. A detector's distillation is ultralytics' own
(`distill_model`, >= 8.4); a classifier's is in `distil_ultralytics`.
"""

from __future__ import annotations

import copy
import logging
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import torch
from ultralytics.engine.trainer import BaseTrainer
from ultralytics.models.yolo.detect import DetectionTrainer
from ultralytics.nn.distill_model import DistillationModel
from ultralytics.utils import LOGGER
from ultralytics.utils.torch_utils import unwrap_model

from edgeprune.adapters.ultralytics.bfloat16 import computes_bfloat16, run_in_bfloat16
from edgeprune.adapters.ultralytics.checkpoint import load_network, save
from edgeprune.adapters.ultralytics.integrations import report_to_nobody
from edgeprune.adapters.ultralytics.mean_ap import METRIC
from edgeprune.adapters.ultralytics.projectors import fit_to_training
from edgeprune.adapters.ultralytics.reading import without_fonts
from edgeprune.core.errors import EdgepruneError, ModelError, shorten
from edgeprune.images.reading.view import write_view
from edgeprune.images.size import sides
from edgeprune.models import Progress, Training
from edgeprune.models.easing import EASED, ease, set_share, settle
from edgeprune.models.recovery import all_cores

STUDENT, TEACHER = "student.pt", "teacher.pt"
report_to_nobody()  # here, since ultralytics' own launcher imports this module in each of its processes

BEST, LAST = "student_best.pt", "student_last.pt"
RECIPE = "recipe.json"


class KeptShape(BaseTrainer):  # type: ignore[misc]
    """What makes an ultralytics trainer train the very module of its checkpoint and save plain students.

    The trainers made of it are found by their import path, so ultralytics' own multi-GPU launcher (DDP) runs
    them in its child processes without help.

    Attributes:
        in_bfloat16: whether a CPU that has it in hardware computes in it.
        adapter: name of the kind of model that is trained.
        metric: what it is judged by; `score_key` is that in ultralytics' metrics.
    """

    in_bfloat16: ClassVar[bool] = True
    adapter: ClassVar[str]
    metric: ClassVar[str]
    score_key: ClassVar[str]
    best_fitness: Any

    def get_model(self, cfg: Any = None, weights: Any = None, verbose: bool = True) -> torch.nn.Module:
        """Return a trainable float32 copy of the checkpoint's module, never a new one built from yaml."""
        model: torch.nn.Module = copy.deepcopy(weights).float()
        self.eases, self.steps = ease(model), 0
        return model.requires_grad_(True)

    @classmethod
    def taught_by(cls, teacher: Path, work: Path) -> dict[str, Any]:
        """Return the arguments of ultralytics that make a checkpoint teach; `work` is the run's folder."""
        return {"distill_model": str(own_copy(teacher, work / TEACHER))}

    def optimizer_step(self) -> None:
        """Take ultralytics' own step, and the swapped activations a step further from SiLU."""
        super().optimizer_step()
        self.steps += 1
        if self.eases:
            set_share(self.model, self.eased())
            set_share(self.ema.ema, self.eased())

    def eased(self) -> float:
        """Return the share that swapped activations have by now: 1 where there are none."""
        last = EASED * self.epochs * len(self.train_loader)
        return min(1.0, self.steps / last) if self.eases else 1.0

    def save_model(self) -> bool:
        """Write the averaged student after each epoch, without teacher, optimiser and projectors."""
        trained = unwrap_model(self.ema.ema)
        trained = trained.student_model if isinstance(trained, DistillationModel) else trained
        student: Any = self.plain(trained)
        args = student.args
        student.args = dict(vars(self.args))
        best = self.eased() == 1 and self.best_fitness == self.fitness
        for name in [LAST, BEST] if best else [LAST]:
            partial = self.wdir / f".{name}.partial"
            save(student, partial)
            partial.replace(self.wdir / name)
        student.args = args
        if self.eased() < 1:
            self.best_fitness = None  # that network still had a share of SiLU
        return True

    def plain(self, student: torch.nn.Module) -> torch.nn.Module:
        """Return the student without what only its training needs: a copy, or itself if there is nothing."""
        if self.eases:
            settle(student := copy.deepcopy(student))
        return student

    def final_eval(self) -> None:
        """Leave the last evaluation to edgeprune's own evaluator, which treats torch and engines alike."""


class KeptShapeTrainer(KeptShape, DetectionTrainer):  # type: ignore[misc]
    """The trainer of detectors."""

    adapter = "ultralytics"
    metric = METRIC
    score_key = "metrics/mAP50-95(B)"


def finetune(training: Training, trainer_class: type[KeptShape] = KeptShapeTrainer) -> None:
    """Train a student back and leave the epoch of the best validation mAP at `out`.

    The best weights are there also when Ctrl-C ends the training early.

    Raises:
        ModelError: the trained model has another parameter count than the student.
        EdgepruneError: ultralytics could not train; its log is named.
    """
    with training_folder(training.out.parent) as work:
        taught: dict[str, Any] = {}
        if training.teacher and training.recipe.finetune.distill:
            taught = trainer_class.taught_by(training.teacher, work)
        recover(trainer_class, training, work, taught)


def recover(
    trainer_class: type[KeptShape], training: Training, work: Path, changes: Mapping[str, Any]
) -> None:
    """Train a student in `work` for the recipe's epochs, and leave the best one's weights at its `out`.

    Args:
        changes: further arguments of ultralytics.

    Raises:
        ModelError, EdgepruneError: as `finetune`.
    """
    tuning = training.recipe.finetune
    changes = {"epochs": tuning.epochs, "patience": tuning.patience, **changes}
    log = training.out.parent / "finetune.log"
    try:
        train(trainer_class, training, work, log, changes)
    finally:
        if found := [path for name in (BEST, LAST) for path in work.glob(f"run/weights/{name}")]:
            found[0].replace(training.out)
    check_shape(training.student, training.out)


@contextmanager
def training_folder(parent: Path) -> Iterator[Path]:
    """Give a folder for one run, removed afterwards; absolute, or ultralytics puts it under `runs`."""
    with tempfile.TemporaryDirectory(prefix="training-", dir=parent) as folder:
        yield Path(folder).absolute()


def train(
    trainer_class: type[KeptShape], training: Training, work: Path, log: Path, changes: Mapping[str, Any]
) -> None:
    """Train a checkpoint in `work`, augmented as its first training was; weights end in `work/run/weights`.

    Args:
        log: where ultralytics' own log goes.
        changes: arguments of ultralytics that differ from those of `recipe.finetune`, its epochs in any case.

    Raises:
        EdgepruneError: ultralytics could not train; its log is named.
    """
    (place := work / "data").mkdir()
    data = write_view(training.dataset, place)
    student = own_copy(training.student, work / STUDENT)
    settings = _overrides(student, data, training, work) | dict(changes)
    settings["warmup_epochs"] = min(1.0, settings["epochs"] / 10)
    overrides = dict(load_network(student).args) | settings
    try:
        with without_fonts(), _log_to(log):
            trainer = trainer_class(overrides=overrides)
            trainer.add_callback("on_train_batch_end", _reporter(training.progress))
            trainer.add_callback("on_train_start", fit_to_training)
            trainer.add_callback("on_train_start", _hasten)
            with all_cores():
                trainer.train()
    except (RuntimeError, ValueError, TypeError) as exc:
        tail = shorten(exc)
        raise EdgepruneError(f"training failed: {tail} (more in {log.name} of the build folder)") from exc


def own_copy(checkpoint: Path, out: Path) -> Path:
    """Load a checkpoint safely and write what was loaded: ultralytics unpickles whatever it is given."""
    save(load_network(checkpoint), out)
    return out


def check_shape(before: Path, after: Path) -> None:
    """Hold the parameter counts of two checkpoints against each other.

    Raises:
        ModelError: training lost the shape.
    """
    old, new = (sum(tensor.numel() for tensor in load_network(path).parameters()) for path in (before, after))
    if old != new:
        raise ModelError(f"{after}: {new} parameters after training, {old} before: the pruned shape was lost")


def _overrides(checkpoint: Path, data: Path, training: Training, work: Path) -> dict[str, Any]:
    tuning = training.recipe.finetune
    return {
        "model": str(checkpoint),
        "data": str(data),
        # Its trainers know squares only; accuracy is measured at the rectangle, by our own evaluator.
        "imgsz": max(sides(training.imgsz)),
        "batch": tuning.batch,
        "lr0": tuning.lr0,
        "optimizer": tuning.optimizer,
        "weight_decay": tuning.weight_decay,
        "nbs": tuning.batch,  # a step after every batch: a short recovery has few of them
        "mosaic": tuning.mosaic,
        # The teacher's features are a fair target only on images like those it was trained on: mosaic to the
        # end.
        "close_mosaic": 0,
        "cos_lr": True,
        # The default of 0.1 is for SGD from scratch: in the first steps AdamW would move every bias by it.
        "warmup_bias_lr": 0.0,
        "device": tuning.device,
        "seed": training.recipe.seed,
        "amp": torch.cuda.is_available(),
        "project": str(work),
        "name": "run",
        "exist_ok": True,
        "plots": False,
        "verbose": False,
    }


def _hasten(trainer: Any) -> None:
    """Train in bfloat16 where a CPU has it in hardware; the averaged copy that is validated stays float32."""
    if trainer.device.type != "cpu" or not trainer.in_bfloat16 or not computes_bfloat16():
        return
    model = unwrap_model(trainer.model)
    if isinstance(model, DistillationModel):
        run_in_bfloat16(model.student_model, model._student_feats)
        run_in_bfloat16(model.teacher_model, model._teacher_feats)
    else:
        run_in_bfloat16(model)
        if teacher := getattr(getattr(model, "criterion", None), "teacher", None):
            run_in_bfloat16(teacher)


def _reporter(progress: Progress) -> Any:
    done = {"batches": 0}

    def report(trainer: Any) -> None:
        done["batches"] += 1
        share = done["batches"] / (len(trainer.train_loader) * trainer.epochs)
        metrics = trainer.metrics or {}
        score = metrics.get(trainer.score_key) or 0.0
        best = f", {trainer.metric} {score:.3f}" if score else ""
        progress(min(share, 1.0), f"epoch {trainer.epoch + 1}/{trainer.epochs}{best}")

    return report


@contextmanager
def _log_to(path: Path) -> Iterator[None]:
    """Send ultralytics' own log to a file for the time of the training, and nothing of it to the terminal."""
    handler = logging.FileHandler(path)
    kept, level = LOGGER.handlers[:], LOGGER.level
    LOGGER.handlers[:] = [handler]
    LOGGER.setLevel(logging.INFO)
    try:
        yield
    finally:
        LOGGER.handlers[:] = kept
        LOGGER.setLevel(level)
        handler.close()
