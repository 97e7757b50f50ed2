"""One evaluator for torch and every engine: top-1 and top-5 of a classifier."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from edgeprune.images.answers import answers
from edgeprune.images.dataset import Dataset
from edgeprune.images.heads import HEADS
from edgeprune.images.postprocess import Postprocess
from edgeprune.images.preprocess import Preprocess
from edgeprune.models import Predict
from edgeprune.records.resampling.evidence import Means
from edgeprune.records.scores import Accuracy

METRIC, LENIENT = "top-1", "top-5"


def evaluate(predict: Predict, dataset: Dataset, split: str, spec: Preprocess, post: Postprocess) -> Accuracy:
    """Measure the shares of a split's images whose class is scored highest, and among the five highest.

    Args:
        predict: maps float32 (n, 3, H, W), up to a batch of the spec, to (n, classes) at first; higher is
            likelier.

    Raises:
        CompileError: the network's output has another shape or holds no finite value.
    """
    images = dataset.images[split]
    answered = _scores(predict, dataset, split, spec, post)
    places, truth = np.array([(_place(row, index), index) for row, index in answered]).T
    right = places == 0
    shown = np.unique(truth)
    found = Accuracy(
        metric=METRIC,
        split=split,
        images=len(images),
        score=float(right.mean()),
        others={LENIENT: float((places < 5).mean())},
        chance=1 / len(shown) if len(shown) > 1 else 0.0,
        per_class={dataset.distinct_names[index]: float(right[truth == index].mean()) for index in shown},
    )
    return found.made_of(Means(right))


def causes(
    predict: Predict, dataset: Dataset, split: str, spec: Preprocess, post: Postprocess
) -> tuple[str, ...]:
    """Return what measurements tell of why a classifier is no better than chance, a sentence each."""
    from scipy.optimize import linear_sum_assignment

    answered = _scores(predict, dataset, split, spec, post)
    said, truth = np.array([(int(row.argmax()), index) for row, index in answered]).T
    table = np.zeros((len(post.names), len(post.names)), dtype=int)
    np.add.at(table, (truth, said), 1)
    best = float(table[linear_sum_assignment(table, maximize=True)].sum() / len(truth))
    common = int(np.bincount(said).argmax())
    share = float((said == common).mean())
    if share > 0.9:
        return (
            f"it takes {share:.0%} of the images for class {post.names[common]!r}: it is not trained, or was "
            "trained on images of another kind",
        )
    if best > max(0.5, 2 * float((said == truth).mean())):
        return (
            f"with its classes in another order it would be right in {best:.0%} of the images: the folders "
            "are not the classes that the model takes them for",
        )
    return (
        f"in no order of the classes would it be right in more than {best:.0%} of the images: labels or "
        "images belong to another task",
    )


def _scores(
    predict: Predict, dataset: Dataset, split: str, spec: Preprocess, post: Postprocess
) -> Iterator[tuple[npt.NDArray[np.float32], int]]:
    """Yield the scores (classes,) of each image of a split, and its class."""
    images = dataset.images[split]
    for image, (_, _, outputs) in zip(images, answers(predict, images, spec), strict=True):
        HEADS[post.head].check(outputs, post)
        yield outputs[0][0], dataset.class_of(image)


def _place(scores: npt.NDArray[np.float32], index: int) -> int:
    """Return how many classes are scored above the right one; of equal scores the first class counts."""
    return int(np.argsort(-scores, kind="stable").tolist().index(index))
