"""What an evaluation leaves in its folder: the accuracy on each split, and its scores on the resamples."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edgeprune.core.documents import read_record
from edgeprune.core.errors import EdgepruneError, OutputError
from edgeprune.core.files import inside, write_text_atomically
from edgeprune.records.scores import Accuracy, Resampled


@dataclass(frozen=True)
class Drop:
    """How much of a score is lost.

    Attributes:
        drop: the original's score minus the other's; negative when the other is better.
        low, high: 95 % interval of the drop; None where the metric is not known image by image, or the
            evaluations are of other images.
    """

    drop: float
    low: float | None
    high: float | None


def drop_between(before: Path, after: Path, split: str) -> Drop:
    """Return the drop from one evaluation to another, by the folders of both; it takes milliseconds.

    Raises:
        OutputError: a folder holds no evaluation of this split, or a damaged one.
    """
    found = read_accuracy(after, split).dropped_from(read_accuracy(before, split))
    assert found.drop is not None
    low, high = found.drop_interval or (None, None)
    return Drop(found.drop, low, high)


def write_accuracy(accuracy: Accuracy, folder: Path) -> None:
    """Write an accuracy, and its scores on the resamples where it has them, into a folder."""
    write_text_atomically(folder / f"{accuracy.split}.json", accuracy.model_dump_json())
    resampled = accuracy.resampled
    if resampled:
        write_text_atomically(folder / f"{accuracy.split}.resampled.json", resampled.model_dump_json())


def read_accuracy(folder: Path, split: str) -> Accuracy:
    """Read what `write_accuracy` wrote.

    Raises:
        OutputError: it is not there, or damaged.
    """
    accuracy = read_record(Accuracy, folder / f"{split}.json", OutputError)
    return accuracy.with_resampled(read_resampled(folder, split))


def read_resampled(folder: Path, split: str, error: type[EdgepruneError] = OutputError) -> Resampled | None:
    """Read the scores on the resamples; None of a metric that is not known image by image.

    Raises:
        error: they are damaged, or the split is no name.
    """
    name = f"{split}.resampled.json"
    return read_record(Resampled, inside(folder, name, error), error) if (folder / name).is_file() else None
