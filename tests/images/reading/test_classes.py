"""Class names: the same ones in any order are matched, other ones end the command before anything is made."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeprune.core.errors import DataError
from edgeprune.images.reading.classes import distinct_names, labelling_of

MODEL = ("ant", "bee", "cat")


def codes(names: tuple[str, ...] | None, model: tuple[str, ...] = MODEL) -> list[str]:
    _, notes = labelling_of(names, len(names or model), model, is_single=False)
    return [note.code for note in notes]


@given(st.permutations(MODEL))
def test_names_in_another_order_are_matched_by_name(names: list[str]) -> None:
    labelling, notes = labelling_of(names, 3, MODEL, is_single=False)
    order = labelling.order or (0, 1, 2)
    assert [MODEL[index] for index in order] == names
    assert [note.code for note in notes] == (["classes_mapped"] if tuple(names) != MODEL else [])


def test_names_that_differ_in_case_and_underscores_are_the_same() -> None:
    assert codes(("Ant", "bee ", "cat")) == []
    assert codes(("stop-sign", "Bus"), ("stop sign", "bus")) == []


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (("ant", "bee", "dog"), "class 2 is 'dog', and 'cat' of the model; the model has no 'dog'"),
        (("ant", "cat", "cat"), "class 1 is 'cat', and 'bee' of the model"),
        (("ant", "bee"), "names: 2 classes are listed, but the model has 3"),
        (("ant",), "names: 1 class is listed, but the model has 3"),
    ],
)
def test_other_classes_than_the_models_are_refused(names: tuple[str, ...], said: str) -> None:
    with pytest.raises(DataError, match=said):
        codes(names)


def test_several_classes_of_one_name_cannot_be_matched_and_are_told_apart_by_number() -> None:
    model = ("digit", "digit", "cat")
    assert codes(model, model) == ["duplicate_names"]
    assert distinct_names(model) == ("digit (0)", "digit (1)", "cat")
    with pytest.raises(DataError, match="cannot be matched"):
        codes(("cat", "digit", "digit"), model)


@pytest.mark.parametrize(
    ("names", "model"), [(None, MODEL), (("0", "1", "2"), MODEL), (MODEL, ("class0", "class1", "class2"))]
)
def test_an_order_that_cannot_be_checked_is_noted(
    names: tuple[str, ...] | None, model: tuple[str, ...]
) -> None:
    assert codes(names, model) == ["classes_unchecked"]


def test_a_model_of_a_single_class_takes_all_classes_as_that_one() -> None:
    labelling, notes = labelling_of(MODEL, 3, ("item",), is_single=True)
    assert labelling.is_single
    assert [note.code for note in notes] == ["one_class"]
    with pytest.raises(DataError, match="3 classes are listed, but the model has 1"):
        codes(MODEL, ("item",))
