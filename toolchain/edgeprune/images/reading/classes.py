"""Whose class is whose: the names of a data set held against those that the model was trained with."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from edgeprune.core.errors import DataError
from edgeprune.images.reading.labels import Labelling
from edgeprune.images.reading.notes import Note, join_first

_PLACEHOLDER = re.compile(r"(?:class)?[ _-]?\d+")
_ADVICE = "Check one image: its boxes have to carry the classes that the model names."


def labelling_of(
    names: Sequence[str] | None, count: int, model: Sequence[str], is_single: bool
) -> tuple[Labelling, tuple[Note, ...]]:
    """Return how the classes of label files become the model's, with what of that is worth a note.

    Args:
        names: of the data set by class, None where it only tells how many there are, which is `count`.
        is_single: whether the model was trained with `single_cls`, so that every object is of its one class.

    Raises:
        DataError: other classes than the model's: their number, or their names.
    """
    if is_single and len(model) == 1:
        text = f"The model was trained with single_cls: the {count} classes of the data set all count as its "
        text += f"one class, {model[0]!r}."
        note = Note("one_class", text, "Nothing is to be done if that was meant.")
        return Labelling(count, is_single=True), (note,) if count > 1 else ()
    if count != len(model):
        raise DataError(f"names: {counted_classes(count)} listed, but the model has {len(model)}")
    order, found = _order(names, model)
    return Labelling(count, order), (*found, *duplicates(model))


def counted_classes(count: int) -> str:
    """Return ``1 class is`` or ``3 classes are``."""
    return "1 class is" if count == 1 else f"{count} classes are"


def distinct_names(names: Sequence[str]) -> tuple[str, ...]:
    """Return names that tell classes apart: one that several have is followed by the number of the class."""
    often = Counter(names)
    return tuple(f"{name} ({index})" if often[name] > 1 else name for index, name in enumerate(names))


def duplicates(names: Sequence[str]) -> tuple[Note, ...]:
    """Note the names that several classes have."""
    often = [name for name, times in Counter(names).items() if times > 1]
    if not often:
        return ()
    return (
        Note(
            "duplicate_names",
            f"Several classes of the model have one name: {join_first([repr(name) for name in often])}. "
            "Here the "
            "number of the class is added to it.",
            "Give each class a name of its own in the checkpoint.",
        ),
    )


def _order(names: Sequence[str] | None, model: Sequence[str]) -> tuple[tuple[int, ...], tuple[Note, ...]]:
    """Return the model's class of each class of the data set, empty where they are the same."""
    if names is None:
        text = "The data set names no classes: they are taken to be in the model's order."
        return (), (Note("classes_unchecked", text, _ADVICE),)
    theirs, ours = [plain_name(name) for name in names], [plain_name(name) for name in model]
    if theirs == ours:
        return (), ()
    if all(map(_PLACEHOLDER.fullmatch, theirs)) or all(map(_PLACEHOLDER.fullmatch, ours)):
        text = (
            f"The data set calls class 0 {names[0]!r} and the model {model[0]!r}: whether their order is the "
            "same cannot be told."
        )
        return (), (Note("classes_unchecked", text, _ADVICE),)
    index = next(index for index, name in enumerate(theirs) if name != ours[index])
    if sorted(theirs) != sorted(ours):
        odd = next((name for name in names if plain_name(name) not in ours), names[index])
        raise DataError(
            f"names: class {index} is {names[index]!r}, and {model[index]!r} of the model; the model has no "
            f"{odd!r}: give the names of the checkpoint, in the order that the labels have"
        )
    if len(set(ours)) < len(ours):
        raise DataError(
            f"names: class {index} is {names[index]!r}, and {model[index]!r} of the model; several classes "
            "have one name, so that they cannot be matched: give them in the model's order"
        )
    order = tuple(ours.index(name) for name in theirs)
    text = f"The classes are in another order than the model's ({names[index]!r} is class {index} here and "
    text += f"{order[index]} there): they are matched by name."
    return order, (Note("classes_mapped", text, _ADVICE),)


def plain_name(name: str) -> str:
    """Return a class name without what people write in different ways: case, spaces, `_` and `-`."""
    return " ".join(re.sub(r"[_-]+", " ", name).split()).casefold()
