"""The wire format: what protobuf writes is read back, what it cannot have written is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import AttributeProto, TensorProto

from edgeprune.core.protobuf import fields, integers


@given(st.integers(-(2**63), 2**63 - 1), st.text(), st.floats(width=32, allow_nan=False))
def test_the_fields_of_a_message(number: int, name: str, value: float) -> None:
    message = AttributeProto(name=name, i=number, f=value)
    content = message.SerializeToString()
    found = {field.number: field for field in fields(content, 0, len(content))}
    assert found[1].text_in(content) == name and found[3].value == number
    assert (found[2].value, found[2].end - found[2].start) == (None, 4)


@given(st.lists(st.integers(-(2**63), 2**63 - 1)))
def test_repeated_integers_packed_or_not(numbers: list[int]) -> None:
    for message, number in ((TensorProto(dims=numbers), 1), (TensorProto(int64_data=numbers), 7)):
        content = message.SerializeToString()
        found = [field for field in fields(content, 0, len(content)) if field.number == number]
        assert [value for field in found for value in integers(content, field)] == numbers


@pytest.mark.parametrize(
    "content", [b"\x0a\x05ab", b"\x0b", b"\x08" + b"\xff" * 11, b"\x08", b"\x09abc"],
    ids=["a field that is cut off", "a group", "too long a number", "no number", "half a double"],
)  # fmt: skip
def test_what_is_no_message_is_refused(content: bytes) -> None:
    with pytest.raises((ValueError, IndexError)):
        list(fields(content, 0, len(content)))
