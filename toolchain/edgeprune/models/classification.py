"""One evaluator for torch and every engine: top-1 and top-5 of a classifier."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from edgeprune.dataset import Dataset
from edgeprune.errors import CompileError
from edgeprune.models import Predict
from edgeprune.postprocess import Postprocess
from edgeprune.preprocess import Preprocess, load_input
from edgeprune.scores import Accuracy


def evaluate(predict: Predict, dataset: Dataset, split: str, spec: Preprocess, post: Postprocess) -> Accuracy:
    """Measure the shares of a split's images whose class is scored highest, and among the five highest.

    Args:
        predict: maps float32 (1, 3, H, W) to outputs whose first is (1, classes), higher is likelier.

    Raises:
        CompileError: the network's output has another shape or holds no finite value.
    """
    images = dataset.images[split]
    truth = np.array([dataset.class_of(image) for image in images])
    places = np.array(
        [
            _place(np.asarray(predict(load_input(image, spec)[0])[0]), index, len(post.names))
            for image, index in zip(images, truth, strict=True)
        ]
    )
    right = places == 0
    return Accuracy(
        metric="top-1",
        split=split,
        images=len(images),
        lenient=float((places < 5).mean()),
        score=float(right.mean()),
        per_class={dataset.names[index]: float(right[truth == index].mean()) for index in np.unique(truth)},
    )


def _place(scores: npt.NDArray[np.float32], index: int, classes: int) -> int:
    """Return how many classes are scored above the right one; of equal scores the first class counts."""
    if scores.shape != (1, classes):
        raise CompileError(f"the network's output has shape {scores.shape}, (1, {classes}) is expected")
    if not np.isfinite(scores).all():
        raise CompileError("the network's output holds NaN or infinite values")
    return int(np.argsort(-scores[0], kind="stable").tolist().index(index))
