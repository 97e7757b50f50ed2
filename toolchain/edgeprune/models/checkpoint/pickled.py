"""A pickle machine that makes records only: it imports nothing and calls nothing that the file names.

The standard library's `pickletools.genops` splits the file into instructions, of every protocol; this module
gives each one its effect on the stack. A name becomes a record by the table that the caller gives. An object
becomes an `Instance` with its state beside it. A call is one of the few functions in that table, all ours.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import IO, Any

MOST_STEPS = 2_000_000
"""Instructions of one pickle. A yolov9e has 191 000; each step takes less than 300 bytes."""
MOST_BITS = 128
"""Bits of a whole number; torch's own mark of its old format has 77."""
Call = Callable[..., Any]


class RefusedError(Exception):
    """The pickle asks for something that no checkpoint needs; the text completes "refused: the file ..."."""


class DamagedError(Exception):
    """The bytes are no pickle, or are cut off."""


@dataclass(frozen=True, eq=False, slots=True)
class Made:
    """A class that the file may hold instances of, or a function of ours that stands for one it calls.

    Attributes:
        name: the whole name in the file.
        call: what a call of it gives, or None when it may not be called.
    """

    name: str
    call: Call | None = None


@dataclass(eq=False, slots=True)
class Instance:
    """An object of a class: its name and its state, never the object itself."""

    cls: str
    state: dict[Any, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False, slots=True)
class Ignored:
    """Something that a checkpoint may hold and that nobody reads, such as a loss or a NumPy number."""

    name: str


class _Mark:
    """The place on the stack that a later instruction goes back to."""


_MARK = _Mark()
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_EMPTY: dict[str, Callable[[], Any]] = {"EMPTY_LIST": list, "EMPTY_DICT": dict, "EMPTY_SET": set}
_VALUES = frozenset(
    {
        "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT",
        "STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8",
        "BINBYTES", "SHORT_BINBYTES", "BINBYTES8",
    }
)  # fmt: skip
_TUPLES = {"EMPTY_TUPLE": 0, "TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_GETS = frozenset({"GET", "BINGET", "LONG_BINGET"})
_PUTS = frozenset({"PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"})
_NOTHING = frozenset({"PROTO", "FRAME"})
_SCALARS = (str, int, float, bytes, type(None))


def read_pickle(stream: IO[bytes], name_of: Callable[[str], Any], stored: Callable[[Any], Any]) -> Any:
    """Read one pickle from a stream, up to its end.

    Args:
        name_of: gives the record of a dotted name; raises `RefusedError` for a name that is not allowed.
        stored: gives the record of a persistent id, torch's reference to numbers outside the pickle.

    Raises:
        RefusedError: it calls or names what is not allowed, or is larger than any checkpoint.
        DamagedError: it is no whole pickle.
    """
    machine = _Machine(name_of, stored)
    try:
        for steps, (opcode, value, _) in enumerate(pickletools.genops(stream)):
            if steps >= MOST_STEPS:
                raise RefusedError(f"has more than {MOST_STEPS} pickle instructions")
            if opcode.name == "STOP":
                return machine.pop()
            machine.step(opcode.name, value)
    except (ValueError, IndexError, KeyError, TypeError, OverflowError, AttributeError, MemoryError) as exc:
        raise DamagedError(str(exc).partition("\n")[0][:120]) from exc
    raise DamagedError("the pickle does not end")


class _Machine:
    """The stack and the memo of one pickle."""

    def __init__(self, name_of: Callable[[str], Any], stored: Callable[[Any], Any]) -> None:
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}
        self.name_of, self.stored = name_of, stored

    def step(self, name: str, value: Any) -> None:
        """Carry out one instruction; `value` is what it holds itself."""
        if name in _VALUES:
            self.stack.append(_plain(value))
        elif name in _CONSTANTS:
            self.stack.append(_CONSTANTS[name])
        elif name in _EMPTY:
            self.stack.append(_EMPTY[name]())
        elif name in _TUPLES:
            size = _TUPLES[name]
            self.stack.append(tuple(self.take(size)))
        elif name in _GETS:
            self.stack.append(self.memo[int(value)])
        elif name in _PUTS:
            self.memo[len(self.memo) if value is None else int(value)] = self.top()
        elif name not in _NOTHING:
            effect = _EFFECTS.get(name)
            if effect is None:
                raise RefusedError(f"uses the pickle instruction {name}, which no checkpoint needs")
            effect(self, value)

    def top(self) -> Any:
        if self.stack[-1] is _MARK:
            raise ValueError("a mark stands where a value should")
        return self.stack[-1]

    def pop(self) -> Any:
        value = self.top()
        del self.stack[-1]
        return value

    def take(self, count: int) -> list[Any]:
        """Pop the last `count` values, in the order they were pushed."""
        if len(self.stack) < count or _MARK in (values := self.stack[len(self.stack) - count :]):
            raise ValueError("too few values on the stack")
        del self.stack[len(self.stack) - count :]
        return values

    def since_mark(self) -> list[Any]:
        """Pop every value behind the last mark, and the mark."""
        place = len(self.stack) - 1
        while self.stack[place] is not _MARK:
            place -= 1
        if place < 0:
            raise ValueError("a mark is missing")
        values = self.stack[place + 1 :]
        del self.stack[place:]
        return values


def _plain(value: Any) -> Any:
    if isinstance(value, int) and value.bit_length() > MOST_BITS:
        raise RefusedError(f"holds a whole number of {value.bit_length()} bits")
    return value


def _mark(machine: _Machine, _: Any) -> None:
    machine.stack.append(_MARK)


def _pop(machine: _Machine, _: Any) -> None:
    machine.stack.pop()


def _pop_mark(machine: _Machine, _: Any) -> None:
    machine.since_mark()


def _dup(machine: _Machine, _: Any) -> None:
    machine.stack.append(machine.top())


def _tuple(machine: _Machine, _: Any) -> None:
    machine.stack.append(tuple(machine.since_mark()))


def _list(machine: _Machine, _: Any) -> None:
    machine.stack.append(machine.since_mark())


def _dict(machine: _Machine, _: Any) -> None:
    values, found = machine.since_mark(), dict[Any, Any]()
    _fill(found, values)
    machine.stack.append(found)


def _frozenset(machine: _Machine, _: Any) -> None:
    machine.stack.append(frozenset(map(_key, machine.since_mark())))


def _global(machine: _Machine, value: Any) -> None:
    machine.stack.append(machine.name_of(str(value).replace(" ", ".", 1)))


def _stack_global(machine: _Machine, _: Any) -> None:
    module, name = machine.take(2)
    if not isinstance(module, str) or not isinstance(name, str):
        raise ValueError("a name is not text")
    machine.stack.append(machine.name_of(f"{module}.{name}"))


def _persistent(machine: _Machine, _: Any) -> None:
    machine.stack.append(machine.stored(machine.pop()))


def _append(machine: _Machine, _: Any) -> None:
    (value,) = machine.take(1)
    _extend(machine.top(), [value])


def _appends(machine: _Machine, _: Any) -> None:
    values = machine.since_mark()
    _extend(machine.top(), values)


def _set_item(machine: _Machine, _: Any) -> None:
    values = machine.take(2)
    _fill(machine.top(), values)


def _set_items(machine: _Machine, _: Any) -> None:
    values = machine.since_mark()
    _fill(machine.top(), values)


def _add_items(machine: _Machine, _: Any) -> None:
    values, target = machine.since_mark(), machine.top()
    if type(target) is set:
        target.update(map(_key, values))
    elif not isinstance(target, Ignored):
        raise RefusedError(f"adds items to {_describe(target)}")


def _reduce(machine: _Machine, _: Any) -> None:
    callee, arguments = machine.take(2)
    if not isinstance(arguments, tuple):
        raise ValueError("the arguments of a call are no tuple")
    machine.stack.append(_called(callee, arguments))


def _new_object(machine: _Machine, _: Any) -> None:
    cls, arguments = machine.take(2)
    machine.stack.append(_made(cls, arguments, {}))


def _new_object_with_keywords(machine: _Machine, _: Any) -> None:
    machine.stack.append(_made(*machine.take(3)))


def _build(machine: _Machine, _: Any) -> None:
    (state,) = machine.take(1)
    target = machine.top()
    if isinstance(target, Instance):
        if isinstance(state, tuple) and len(state) == 2 and state[1] is None:
            state = state[0]  # as `object.__reduce_ex__` has it for a class without slots
        if type(state) is not dict:
            raise RefusedError(f"gives {target.cls} a state that is no dictionary")
        target.state.update(state)
    elif not isinstance(target, (Ignored, dict)):  # an OrderedDict's own attributes are left out
        raise RefusedError(f"sets the state of {_describe(target)}")


_EFFECTS: dict[str, Callable[[_Machine, Any], None]] = {
    "MARK": _mark,
    "POP": _pop,
    "POP_MARK": _pop_mark,
    "DUP": _dup,
    "TUPLE": _tuple,
    "LIST": _list,
    "DICT": _dict,
    "FROZENSET": _frozenset,
    "GLOBAL": _global,
    "STACK_GLOBAL": _stack_global,
    "BINPERSID": _persistent,
    "APPEND": _append,
    "APPENDS": _appends,
    "SETITEM": _set_item,
    "SETITEMS": _set_items,
    "ADDITEMS": _add_items,
    "REDUCE": _reduce,
    "NEWOBJ": _new_object,
    "NEWOBJ_EX": _new_object_with_keywords,
    "BUILD": _build,
}
"""What is missing here is refused: INST and OBJ call classes, EXT* and PERSID go through registries, the
buffers of protocol 5 lie outside the file."""


def _called(callee: Any, arguments: tuple[Any, ...]) -> Any:
    if isinstance(callee, Ignored):
        return callee
    if not isinstance(callee, Made) or callee.call is None:
        raise RefusedError(f"calls {_describe(callee)}")
    return callee.call(*arguments)


def _made(cls: Any, arguments: Any, keywords: Any) -> Any:
    if isinstance(cls, Ignored):
        return cls
    if not isinstance(cls, Made) or cls.call is not None or arguments != () or keywords != {}:
        raise RefusedError(f"makes an object of {_describe(cls)} with arguments of its own")
    return Instance(cls.name)


def _extend(target: Any, values: list[Any]) -> None:
    if type(target) is list:
        target.extend(values)
    elif not isinstance(target, Ignored):
        raise RefusedError(f"appends to {_describe(target)}")


def _fill(target: Any, values: list[Any]) -> None:
    if len(values) % 2:
        raise ValueError("a key without a value")
    if type(target) is dict:
        target.update(zip(map(_key, values[::2]), values[1::2], strict=True))
    elif not isinstance(target, Ignored):
        raise RefusedError(f"sets items of {_describe(target)}")


def _key(value: Any) -> Any:
    """Return a value that may be a key: nested tuples could take forever to hash."""
    if not isinstance(value, _SCALARS):
        raise RefusedError(f"uses {_describe(value)} as a key")
    return value


def _describe(value: Any) -> str:
    return value.name if isinstance(value, (Made, Ignored)) else f"a {type(value).__name__.lower()}"
