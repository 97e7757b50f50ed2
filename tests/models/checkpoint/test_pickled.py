"""The pickle machine: plain data comes out as pickle itself reads it; objects come out as records."""

from __future__ import annotations

import collections
import contextlib
import io
import pickle
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeprune.models.checkpoint.names import name_of
from edgeprune.models.checkpoint.pickled import DamagedError, Instance, RefusedError, read_pickle
from edgeprune.models.checkpoint.tensors import parse_storage

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**100), 2**100)
    | st.floats(allow_nan=False)
    | st.text(max_size=9)
)
KEYS = st.text(max_size=5) | st.integers(-9, 9)
DATA = st.recursive(
    SCALARS | st.binary(max_size=9),
    lambda one: (
        st.lists(one, max_size=4)
        | st.tuples(one, one)
        | st.dictionaries(KEYS, one, max_size=4)
        | st.sets(KEYS, max_size=4)
    ),
    max_leaves=12,
)


def read(content: bytes) -> Any:
    return read_pickle(io.BytesIO(content), name_of, parse_storage)


@settings(deadline=None)
@given(DATA, st.integers(0, 5))
def test_plain_data_is_read_as_pickle_reads_it(value: Any, protocol: int) -> None:
    assert read(pickle.dumps(value, protocol)) == value


@settings(deadline=None, max_examples=300)
@given(st.binary(max_size=60))
def test_any_bytes_are_data_or_an_error_of_ours(content: bytes) -> None:
    with contextlib.suppress(DamagedError, RefusedError):
        read(content)


@settings(deadline=None, max_examples=200)
@given(DATA, st.lists(st.tuples(st.integers(0, 500), st.integers(0, 255)), min_size=1, max_size=4))
def test_any_damage_is_data_or_an_error_of_ours(value: Any, hits: list[tuple[int, int]]) -> None:
    content = bytearray(pickle.dumps(value, 4))
    for place, byte in hits:
        content[place % len(content)] = byte
    with contextlib.suppress(DamagedError, RefusedError):
        read(bytes(content))


@pytest.mark.parametrize("protocol", range(6))
def test_an_ordered_dictionary_is_a_dictionary(protocol: int) -> None:
    value = collections.OrderedDict(a=1, b=[2])
    assert read(pickle.dumps(value, protocol)) == {"a": 1, "b": [2]}


def test_an_object_is_a_record_of_its_state() -> None:
    found = read(b"ctorch.nn.modules.activation\nSiLU\n)\x81}X\x07\x00\x00\x00inplace\x88sb.")
    assert isinstance(found, Instance)
    assert found.cls == "torch.nn.modules.activation.SiLU"
    assert found.state == {"inplace": True}


@pytest.mark.parametrize("content", [b"", b"N", b"0.", b"(.", b"K.", b"h\x05.", b"t.", b"]K\x01e."])
def test_half_a_pickle_is_damaged(content: bytes) -> None:
    with pytest.raises(DamagedError):
        read(content)
