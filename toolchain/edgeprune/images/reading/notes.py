"""What is worth knowing of a data set although it can be used, and what of it cannot be used."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from edgeprune.core.errors import DataError

NoteCode = Literal[
    "classes_mapped",
    "classes_unchecked",
    "classes_missing",
    "one_class",
    "duplicate_names",
    "odd_yaml",
    "read_elsewhere",
    "split_left_out",
    "split_shared",
    "duplicate_images",
    "hidden_files",
    "not_read",
    "stray_labels",
    "few_labels",
    "few_images",
    "images_skipped",
    "reading_differs",
    "weak_original",
]
SHOWN = 10


@dataclass(frozen=True)
class Note:
    """One thing about a data set that a user may not have meant.

    Attributes:
        text: a sentence with counts and an example.
        advice: what to do.
    """

    code: NoteCode
    text: str
    advice: str


def refuse(where: Path | str, faults: Sequence[str]) -> None:
    """End with all faults in one error, if there are any: the first ten, and how many more.

    Raises:
        DataError: there is at least one.
    """
    if not faults:
        return
    if len(faults) == 1:
        raise DataError(f"{where}: {faults[0]}")
    raise DataError(f"{where}: {len(faults)} faults: {join_first(faults)}")


def join_first(texts: Sequence[str]) -> str:
    """Join the first ten texts, and say how many more there are."""
    more = f"; and {len(texts) - SHOWN} more" if len(texts) > SHOWN else ""
    return "; ".join(texts[:SHOWN]) + more


def count_nouns(count: int, what: str) -> str:
    """Return a count with its noun, such as ``1 image`` or ``3 images``."""
    return f"{count} {what}{'' if count == 1 else 'es' if what.endswith('s') else 's'}"
