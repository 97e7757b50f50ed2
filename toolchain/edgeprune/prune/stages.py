"""The pruning stage of a build: load, cut to the recipe's goal, judge right after surgery, save."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from edgeprune.config.recipe import Recipe
from edgeprune.core.artifact import Artifact
from edgeprune.core.files import write_text_atomically
from edgeprune.images.dataset import Dataset
from edgeprune.images.preprocess import Preprocess, load_input
from edgeprune.models import ModelAdapter
from edgeprune.models.easing import ease, settle
from edgeprune.models.predictor import predictor
from edgeprune.prune.criteria import NEEDS
from edgeprune.prune.evidence import Evidence, gather
from edgeprune.prune.recalibrate import note_statistics, recalibrate
from edgeprune.prune.surgery import prune
from edgeprune.records.pruning import Pruning

RECALIBRATION_IMAGES = 64
_BATCH = 16


@dataclass(frozen=True)
class PruneContext:
    """What a network is pruned with: how its kind is handled, data to judge by, its input, the recipe."""

    adapter: ModelAdapter
    dataset: Dataset
    spec: Preprocess
    recipe: Recipe


def cut(
    context: PruneContext, original: Artifact, step: int, out: Path, uncut: Artifact | None = None
) -> Pruning:
    """Write `out/model.pt` and `out/pruning.json`: the pruned network before any training, and its account.

    Its batch norms follow the cut; no weight is trained. Swapped activations that no training has seen
    act as SiLU meanwhile, since that is what the training starts from.

    Args:
        step: channel step; every pruned width is a multiple of it.
        uncut: the network before earlier cuts; None where there were none.
    """
    adapter, dataset, spec, recipe = context.adapter, context.dataset, context.spec, context.recipe
    model = adapter.prunable(adapter.load(original.path))
    ease(model)
    example = torch.zeros(spec.shape)
    evidence = evidence_for(context, model)
    before = adapter.prunable(adapter.load(uncut.path)) if uncut else None
    note_statistics(model, batches(dataset, spec, recipe.seed))
    pruned = prune(model, adapter.unprunable, example, recipe.prune, step, evidence, before)
    recalibrate(pruned.model, batches(dataset, spec, recipe.seed))
    accuracy = adapter.evaluate(
        predictor(adapter.exportable(pruned.model)), dataset, "val", spec, adapter.info(model).postprocess
    )
    settle(pruned.model, trained=False)
    adapter.save(pruned.model, out / "model.pt")
    report = pruned.report.model_copy(
        update={"metric": accuracy.metric, "score_after_surgery": accuracy.score}
    )
    write_text_atomically(out / "pruning.json", report.model_dump_json(indent=1) + "\n")
    return report


def evidence_for(context: PruneContext, model: nn.Module) -> Evidence:
    """Gather what the recipe's criterion reads besides the weights, on images of the train split.

    Args:
        model: the very network that is scored, from `adapter.prunable`; it is left as it is.
    """
    recipe, adapter = context.recipe, context.adapter
    evidence = Evidence(recipe.seed, recipe.prune.combine)
    need = NEEDS.get(recipe.prune.criterion)
    if need is None:
        return evidence
    images = adapter.labelled_images(context.dataset, context.spec, recipe.prune.images, recipe.seed)
    gathered: dict[str, Any] = {need: gather(model, need, images, adapter.loss)}
    return replace(evidence, **gathered)


def batches(dataset: Dataset, spec: Preprocess, seed: int) -> Iterator[torch.Tensor]:
    """Yield training images as they are, float32 (n, 3, H, W), for batch-norm statistics."""
    paths = dataset.sample("train", RECALIBRATION_IMAGES, seed)
    for start in range(0, len(paths), _BATCH):
        yield torch.cat(
            [torch.from_numpy(load_input(path, spec)[0]) for path in paths[start : start + _BATCH]]
        )
