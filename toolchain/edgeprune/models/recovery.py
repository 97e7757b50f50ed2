"""A plain recovery after pruning, for kinds of model whose own framework does not train them.

The rate falls from `finetune.lr0` to 0 by a cosine. What is judged and kept is an average of the weights over
the last steps, since these jump from batch to batch. Swapped activations are eased in.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import count
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import nn

from edgeprune.core.threads import training_threads
from edgeprune.models.adapter import Batch, ModelAdapter
from edgeprune.models.easing import EASED, ease, set_share, settle
from edgeprune.models.predictor import predictor

if TYPE_CHECKING:
    from edgeprune.config.recipe import Recipe
    from edgeprune.images.dataset import Dataset
    from edgeprune.images.preprocess import Preprocess
    from edgeprune.models.adapter import Training
    from edgeprune.records.scores import Accuracy

_SPLIT = "val"
REACH = 1000
"""Steps that the average of the weights reaches back at most."""


class Trainable(ModelAdapter, Protocol):
    """An adapter that is trained here: `BaseAdapter` has an answer to both."""

    def training_steps(
        self, dataset: Dataset, spec: Preprocess, size: int, seed: int
    ) -> Iterator[Sequence[Batch]]:
        """Yield an epoch of training images: for each step one batch, or several that are added up."""
        ...

    def taught_loss(
        self, model: nn.Module, teacher: nn.Module | None, batch: Batch, recipe: Recipe
    ) -> torch.Tensor:
        """Return the loss of a batch, a scalar, with what the teacher makes of it where there is one."""
        ...


def recover(adapter: Trainable, training: Training) -> None:
    """Train a student for `finetune.epochs` epochs and leave the best one on val at `out`.

    The adapter's labels teach, and the teacher as far as the adapter's loss asks it. Batch norms follow the
    images where these come in batches; else they keep the statistics that were measured after the cut.
    """
    device = device_of(training)
    model = adapter.load(training.student).to(device).requires_grad_(True)
    teacher = adapter.load(training.teacher).to(device).eval() if training.teacher else None
    descend(adapter, training, model, list(model.parameters()), by_labels(adapter, training, model, teacher))


def by_labels(
    adapter: Trainable, training: Training, model: nn.Module, teacher: nn.Module | None = None
) -> Callable[[int], None]:
    """Return what adds the gradients of a step's images: those of the adapter's loss, epoch after epoch."""
    device, drawn = device_of(training), _drawn(adapter, training)

    def add_gradients(_step: int) -> None:
        parts = next(drawn)
        for part in parts:
            batch = _moved(part, device)
            model.train(_is_several(batch))
            loss = adapter.taught_loss(model, teacher, batch, training.recipe) / len(parts)
            loss.backward()

    return add_gradients


def _drawn(adapter: Trainable, training: Training) -> Iterator[Sequence[Batch]]:
    """Yield the images of one step after the other for ever, epoch after epoch."""
    recipe, spec = training.recipe, adapter.preprocess(training.imgsz)
    for epoch in count():
        seed = recipe.seed + epoch * steps_of_epoch(training)
        yield from adapter.training_steps(training.dataset, spec, recipe.finetune.batch, seed)


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
    best, since = -math.inf, 0

    def say(share: float, text: str) -> None:
        training.progress(share, f"{text}, best {best:.3f}" if math.isfinite(best) else text)

    for _, plain in epochs_of(replace(training, progress=say), model, parameters, add_gradients):
        score = rate(adapter, plain, training).score
        since = 0 if score > best else since + 1
        if score >= best:  # of equals the later one, trained at the lower rate
            best = score
            adapter.save(plain, training.out)
        if since > training.recipe.finetune.patience > 0:
            return


def epochs_of(
    training: Training,
    model: nn.Module,
    parameters: Sequence[nn.Parameter],
    add_gradients: Callable[[int], None],
) -> Iterator[tuple[int, nn.Module]]:
    """Take the steps of all epochs, and yield after each its number, from 0, and the averaged network.

    None is yielded while the network still has a share of SiLU. The arguments are those of `descend`.
    """
    tuning = training.recipe.finetune
    steps = steps_of_epoch(training)
    kind = {"AdamW": torch.optim.AdamW, "SGD": torch.optim.SGD}[tuning.optimizer]
    optimiser = kind(parameters, lr=tuning.lr0, weight_decay=tuning.weight_decay)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, tuning.epochs * steps)
    last = EASED * tuning.epochs * steps if ease(model) else 0.0
    average, eased = Average(model), 1.0
    with all_cores():
        for epoch in range(tuning.epochs):
            for step in range(epoch * steps, (epoch + 1) * steps):
                optimiser.zero_grad()
                add_gradients(step)
                optimiser.step()
                schedule.step()
                eased = min(1.0, (step + 1) / last) if last else 1.0
                set_share(model, eased)
                average.follow(model)
                training.progress((step + 1) / (tuning.epochs * steps), f"epoch {epoch + 1}/{tuning.epochs}")
            if eased == 1:
                plain = average.of(model)
                settle(plain)
                yield epoch, plain


class Average:
    """A moving average of a network's weights and buffers (Polyak and Juditsky, 1992).

    It reaches back over about a tenth of the steps so far, and no further than `REACH` of them.
    """

    def __init__(self, model: nn.Module) -> None:
        self._state = model.state_dict()  # an OrderedDict with the versions of the layers beside it
        self._state.update({name: tensor.detach().clone() for name, tensor in self._state.items()})
        self._steps = 0

    def follow(self, model: nn.Module) -> None:
        """Take in the weights after a step."""
        self._steps += 1
        share = max(1 / REACH, 9 / (9 + self._steps))
        for name, tensor in model.state_dict().items():
            own = self._state[name]
            if own.is_floating_point():
                own.lerp_(tensor.detach(), share)
            else:
                own.copy_(tensor)

    def of(self, model: nn.Module) -> nn.Module:
        """Return a copy of a network with the average for weights, on the CPU, in eval mode."""
        twin = copy.deepcopy(model)
        twin.load_state_dict(self._state)
        return twin.cpu().eval()


def steps_of_epoch(training: Training) -> int:
    """Return how many steps an epoch has, the last one with what is left."""
    return math.ceil(len(training.dataset.images["train"]) / training.recipe.finetune.batch)


def device_of(training: Training) -> torch.device:
    """Return the device of the recipe's `finetune.device`, of several GPUs the first."""
    name = training.recipe.finetune.device
    first = name.partition(",")[0] or ("0" if torch.cuda.is_available() else "cpu")
    return torch.device(f"cuda:{first}" if first.isdigit() else first)


@contextmanager
def all_cores() -> Iterator[None]:
    """Compute on every core that this process may use, see `core.threads`; afterwards as before.

    ultralytics leaves one to its loaders wherever it has chosen a device, and these take little of it: on two
    cores an epoch of BCCD at 320 px (YOLOv8n, bfloat16) took 15.0 s so and takes 8.9 s with both.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(training_threads())
    try:
        yield
    finally:
        torch.set_num_threads(before)


def rate(adapter: ModelAdapter, model: nn.Module, training: Training) -> Accuracy:
    """Return the accuracy of a network on the val split of a training."""
    predict, post = predictor(adapter.exportable(model)), adapter.info(model).postprocess
    spec = adapter.preprocess(training.imgsz)
    return adapter.evaluate(predict, training.dataset, _SPLIT, spec, post)


def _is_several(batch: Batch) -> bool:
    """Tell whether a batch holds more than one image, so that statistics over it mean something."""
    return any(torch.is_tensor(one) and one.dim() == 4 and len(one) > 1 for one in batch.values())


def _moved(batch: Mapping[str, Any], device: torch.device) -> dict[str, Any]:
    return {key: value.to(device) if torch.is_tensor(value) else value for key, value in batch.items()}
