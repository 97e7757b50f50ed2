"""The data set of a build: read, inspected, held against the trainer's own loader, and its original tried."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from edgeprune.backends import REFERENCE, get_backend
from edgeprune.core.artifact import Artifact, Store, content_key
from edgeprune.core.errors import ConfigError, DataError
from edgeprune.images.dataset import Dataset
from edgeprune.images.reading.index import FILE, Index
from edgeprune.images.reading.inspection import inspect_images
from edgeprune.images.reading.notes import Note
from edgeprune.images.size import size_words
from edgeprune.models import ModelAdapter, ModelInfo
from edgeprune.pipeline.context import SELECTION_SPLIT, Build, BuildRequest, Notify
from edgeprune.pipeline.evaluate import evaluate_engine
from edgeprune.pipeline.prune_to_latency import torch_accuracy
from edgeprune.pipeline.rows import export_model
from edgeprune.records.scores import Accuracy

LEAST_SCORE = 0.01
"""A model with less finds next to nothing: no loss of accuracy could be seen."""
ANY_DROP = 1.0
"""A budget that asks nothing of accuracy."""


def load_data(
    request: BuildRequest, adapter: ModelAdapter, info: ModelInfo, store: Store, notify: Notify
) -> Dataset:
    """Return the data set of a request with all that was noted of it.

    Raises:
        DataError: it cannot be used, the first ten faults by name; or the trainer would read another one.
    """
    dataset = adapter.dataset(request.data, info)
    index = Index(store.root / FILE)
    dataset = inspect_images(
        replace(dataset, index=index), request.skip_bad, lambda share, text: notify("load", share, text)
    )
    splits = {split: dataset.fingerprint(split) for split in dataset.images}
    key = content_key({"splits": splits, "folders": dataset.is_folders})
    if key != index.agreed:
        with tempfile.TemporaryDirectory(prefix=".partial-view-", dir=store.root) as folder:
            adapter.compare_reading(dataset, Path(folder))
        index.agreed = key
        index.save()
    return dataset


def try_original(context: Build, original: Artifact) -> tuple[dict[str, Accuracy], Build]:
    """Return the accuracy of the original in fp32 on ONNX Runtime, and the build with what was noted of it.

    Every drop is counted from it.

    Raises:
        DataError: it finds next to nothing on this data set, so that no drop could be seen.
        ConfigError: the budget asks for the interval of a drop, and the metric has none.
    """
    onnx, _ = export_model(context, original, "original")
    found = evaluate_engine(context, REFERENCE, {}, onnx, "fp32")[1]
    require_intervals(context, found)
    notes = require_working(context, original, onnx, found)
    dataset = replace(context.dataset, notes=(*context.dataset.notes, *notes))
    return found, replace(context, dataset=dataset)


def require_intervals(context: Build, baseline: Mapping[str, Accuracy]) -> None:
    """Refuse `budget.sure` where no drop will have an interval, before anything is trained.

    Raises:
        ConfigError: the metric is not known image by image, or there is one image only.
    """
    found = baseline[SELECTION_SPLIT]
    if context.recipe.budget.sure and found.dropped_from(found).drop_interval is None:
        why = "there is one image only" if found.resampled else "it is not known image by image"
        raise ConfigError(
            f"budget.sure: a drop of {found.metric} on {found.split} has no interval, since {why}; leave it "
            "out"
        )


def require_working(
    context: Build, original: Artifact, onnx: Artifact, baseline: Mapping[str, Accuracy]
) -> tuple[Note, ...]:
    """Return the notes of an original whose accuracy is no measure for what is made of it.

    Args:
        onnx: the original in fp32.
        baseline: its accuracies by split.

    Raises:
        DataError: it finds next to nothing, and the budget asks for accuracy; what was measured is named.
    """
    found, allowed = baseline[SELECTION_SPLIT], context.recipe.budget.max_drop
    if not works(found):
        said = "; ".join(_causes(context, original, onnx, found)) or "nothing that was measured tells why"
        where = f"the original has {found.metric} {found.score:.4f} on {found.split} of this data set"
        if allowed >= ANY_DROP:
            advice = "Nothing that is said of accuracy means anything here."
            return (Note("weak_original", f"{where[0].upper()}{where[1:]}: {said}.", advice),)
        raise DataError(
            f"{context.request.data}: {where}, so that no loss could be seen: {said}; --max-drop 1 goes on "
            "without regard to accuracy"
        )
    if found.score <= allowed < ANY_DROP:
        return (
            Note(
                "weak_original",
                f"The original has {found.metric} {found.score:.4f} on {found.split}, and a drop of "
                f"{allowed:g} is allowed: a model that finds nothing would pass.",
                "Give a smaller --max-drop.",
            ),
        )
    return ()


def works(found: Accuracy) -> bool:
    """Tell whether a model does better than chance, or than next to nothing where chance finds nothing."""
    return found.score > found.chance if found.chance else found.score >= LEAST_SCORE


def _causes(context: Build, original: Artifact, onnx: Artifact, found: Accuracy) -> tuple[str, ...]:
    """Measure why the original finds nothing: first at the size that it was trained at."""
    trained, built = context.info.imgsz, context.spec.imgsz
    if trained is not None and trained != built:
        there = torch_accuracy(context.at(trained), original)
        if there > max(LEAST_SCORE, 2 * found.score):
            return (
                f"at the {size_words(trained)} that it was trained at it has {there:.4f}: an input of "
                f"{size_words(built)} does not suit it",
            )
    predict = context.load(get_backend(REFERENCE), onnx.path, "fp32", {})
    post = context.info.postprocess
    return context.adapter.causes(predict, context.dataset, SELECTION_SPLIT, context.spec, post)
