"""The wire format of protobuf, as far as ONNX files need it: a message's fields by their numbers.

Standard library only: it travels to a device. Source: https://protobuf.dev/programming-guides/encoding
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from typing import NamedTuple

Bytes = mmap.mmap | bytes

_LENGTH, _FIXED = 2, {1: 8, 5: 4}
_LONGEST_SHIFT = 63
_SIGN, _RANGE = 1 << 63, 1 << 64


class Field(NamedTuple):
    """One field of a message.

    Attributes:
        number: of the field in its message.
        value: of an integer; None for another kind.
        start, end: where the content lies of a text, of bytes or of an inner message; both 0 for an integer.
    """

    number: int
    value: int | None
    start: int
    end: int

    def bytes_in(self, content: Bytes) -> bytes:
        """Return the content of the field."""
        return content[self.start : self.end]

    def text_in(self, content: Bytes) -> str:
        """Return the content of the field as text; what is no UTF-8 in it is replaced."""
        return self.bytes_in(content).decode(errors="replace")


def fields(content: Bytes, start: int, end: int) -> Iterator[Field]:
    """Yield the fields of the message that lies between two places, in their order.

    Raises:
        ValueError, IndexError: it is no message of this format.
    """
    at = start
    while at < end:
        key, at = _varint(content, at)
        number, wire = key >> 3, key & 7
        if wire == 0:
            value, at = _varint(content, at)
            yield Field(number, value - _RANGE if value & _SIGN else value, 0, 0)
            continue
        if wire == _LENGTH:
            size, at = _varint(content, at)
        elif wire in _FIXED:
            size = _FIXED[wire]
        else:
            raise ValueError("a group, which no ONNX file holds")
        if size > end - at:
            raise ValueError("a field is cut off")
        yield Field(number, None, at, at + size)
        at += size


def integers(content: Bytes, field: Field) -> Iterator[int]:
    """Yield the integers of a repeated field: one by itself, or many that are packed.

    Raises:
        ValueError, IndexError: they are no integers of this format.
    """
    if field.value is not None:
        yield field.value
        return
    at = field.start
    while at < field.end:
        value, at = _varint(content, at)
        yield value - _RANGE if value & _SIGN else value


def _varint(content: Bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = content[at]
        value |= (byte & 0x7F) << shift
        at += 1
        if byte < 0x80:
            return value % _RANGE, at
        shift += 7
        if shift > _LONGEST_SHIFT:
            raise ValueError("a number of more than ten bytes")
