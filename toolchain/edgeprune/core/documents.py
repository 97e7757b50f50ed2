"""Documents: the one reader of YAML and the one of JSON, and what a document has to hold to be a record.

Whatever the bytes are, a reader gives a value or raises the caller's error in one line. A document has at
most `DEPTH` levels, and its texts can be written again: no half of a surrogate pair. The JSON reader travels
to a device: yaml and pydantic are imported where they are used.
"""

from __future__ import annotations

import json
import math
import re
import reprlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from edgeprune.core.errors import EdgepruneError, did_you_mean
from edgeprune.core.files import DOCUMENT_BYTES, read_text

if TYPE_CHECKING:
    import yaml
    from pydantic import TypeAdapter, ValidationError
    from pydantic_core import ErrorDetails

DEPTH = 64
YAML_BYTES = 1 << 20
"""A YAML document is written by hand; the parser takes seconds for one of this size."""
XML_BYTES = 64 << 20
_NODES = 200_000
_SHOWN = 120
_FAULTS = 6  # of one document that are told
_UNEXPECTED = "it cannot be read"
# Kinds of values in plain words, by how the names of pydantic's faults begin.
_KINDS = {
    "string_type": "a text",
    "string_sub": "a text",
    "int_": "a whole number",
    "float_": "a number",
    "bool_": "true or false",
    "tuple_type": "a list",
    "list_type": "a list",
    "set_type": "a list",
    "frozen_set_type": "a list",
}
_TOKENS = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|[\[{]|[\]}]', re.DOTALL)
# Numbers that a float or 64 bits do not hold, names of no number, and halves of surrogate pairs.
_UNUSUAL = re.compile(r"(?<![.\d])\d{19}|[eE]\+?\d{3}|NaN|Infinity|\\u[dD][89a-fA-F]|[\ud800-\udfff]")
_INTEGERS = range(-(1 << 63), 1 << 63)
_REPR = reprlib.Repr()
_REPR.maxstring = _REPR.maxother = _REPR.maxlong = _SHOWN
Record = TypeVar("Record")


def read_yaml(path: Path, error: type[EdgepruneError]) -> Any:
    """Read a YAML file by safe_load.

    Raises:
        error: it cannot be read, see `files.opened`, or is not YAML, see `parse_yaml`.
    """
    return parse_yaml(read_text(path, error, YAML_BYTES), str(path), error)


def read_mapping(path: Path, error: type[EdgepruneError]) -> dict[str, Any]:
    """Read a YAML file that holds a mapping.

    Raises:
        error: see `read_yaml`; or it holds something else.
    """
    data = read_yaml(path, error)
    if not isinstance(data, dict):
        found = "an empty file" if data is None else _short(_REPR.repr(data))
        raise error(f"{path}: a mapping of keys to values is expected, not {found}")
    return data


def parse_yaml(text: str, where: str, error: type[EdgepruneError], repeated: list[str] | None = None) -> Any:
    """Read a YAML text by safe_load.

    Args:
        repeated: gets the keys that a mapping has twice, of which the last counts; None refuses them.

    Raises:
        error: not YAML, a date or number that is none, too deep, too large with its aliases written out, or
            a key twice in one mapping.
    """
    import yaml

    try:
        loader = yaml.SafeLoader(text)
        try:
            node = loader.get_single_node()
            if node is None:
                return None
            _require_modest(node, repeated)
            value = loader.construct_document(node)
        finally:
            loader.dispose()
        return value
    except Exception as exc:  # a constructor raises whatever Python does with the text of a scalar
        raise error(f"{where}: not valid YAML: {_said(exc)}") from exc


def read_json(path: Path, error: type[EdgepruneError]) -> Any:
    """Read a JSON file.

    Raises:
        error: it cannot be read, see `files.opened`, or is not JSON, see `parse_json`.
    """
    return parse_json(read_text(path, error, DOCUMENT_BYTES), str(path), error)


def parse_json(text: str, where: str, error: type[EdgepruneError]) -> Any:
    """Read a JSON text.

    Raises:
        error: not JSON, too deep, a number that is no number or that 64 bits do not hold, or half of a
            surrogate pair.
    """
    try:
        _require_shallow(text)
        if _UNUSUAL.search(text) is None:
            return json.loads(text)
        value = json.loads(text, parse_int=_integer, parse_float=_number, parse_constant=_no_number)
        json.dumps(value, ensure_ascii=False).encode()
        return value
    except UnicodeEncodeError as exc:
        raise error(f"{where}: not valid JSON: a text holds half of a surrogate pair") from exc
    except Exception as exc:
        raise error(f"{where}: not valid JSON: {_said(exc)}") from exc


def read_record(kind: type[Record], path: Path, error: type[EdgepruneError]) -> Record:
    """Read a JSON file as a record: a pydantic model, a dataclass, or a type such as ``dict[str, float]``.

    Raises:
        error: it cannot be read, is not JSON, or is no such record: the first thing that is wrong is named.
    """
    return parse_record(kind, read_text(path, error, DOCUMENT_BYTES), str(path), error)


def parse_record(kind: type[Record], text: str, where: str, error: type[EdgepruneError]) -> Record:
    """Read a JSON text as a record.

    Raises:
        error: it is not JSON or no such record: the first thing that is wrong is named.
    """
    from pydantic import ValidationError

    if _UNUSUAL.search(text) is not None:
        parse_json(text, where, error)
    try:
        _require_shallow(text)
        record: Record = _adapter(kind).validate_json(text)
    except ValidationError as exc:
        raise error(f"{where}: {first_error(kind, exc)}") from exc
    except Exception as exc:
        raise error(f"{where}: not valid JSON: {_said(exc)}") from exc
    return record


def read_xml(path: Path, error: type[EdgepruneError]) -> Element:
    """Read an XML file, and return its root.

    Raises:
        error: it cannot be read, see `files.opened`, is not XML, or declares entities: a few may stand for
            more text than memory holds.
    """
    text = read_text(path, error, XML_BYTES)
    if "<!DOCTYPE" in text:
        raise error(f"{path}: not valid XML: it declares a document type, which is not read")
    try:
        return ElementTree.fromstring(text)  # noqa: S314 - without a document type there are no entities
    except Exception as exc:
        raise error(f"{path}: not valid XML: {_said(exc)}") from exc


def validate(
    kind: type[Record], data: Any, where: str, error: type[EdgepruneError], context: str | None = None
) -> Record:
    """Validate `data` as a record, turning pydantic's report into one line that names file and keys.

    Args:
        context: what the record's own validators are told.

    Raises:
        error: everything that is wrong, each with the nearest known key or value; of many faults the first
            few and how many more there are.
    """
    from pydantic import ValidationError

    try:
        record: Record = _adapter(kind).validate_python(data, context=context)
    except ValidationError as exc:
        raise error(f"{where}: {_all_errors(kind, exc)}") from exc
    return record


def first_error(kind: type[Any], exc: ValidationError) -> str:
    """Return the first thing that pydantic found wrong, in one line with its key."""
    return " ".join(_one_error(kind, exc.errors(include_url=False)[0]).split())


def _all_errors(kind: type[Any], exc: ValidationError) -> str:
    errors = exc.errors(include_url=False)
    said = [" ".join(_one_error(kind, error).split()) for error in errors[:_FAULTS]]
    more = len(errors) - _FAULTS
    return "; ".join([*said, *([f"and {more} more fault{'s' if more > 1 else ''}"] if more > 0 else [])])


def _adapter(kind: Any) -> TypeAdapter[Any]:
    from pydantic import TypeAdapter

    return TypeAdapter(kind)


def _require_modest(root: yaml.Node, repeated: list[str] | None) -> None:
    """Refuse nodes that are too deep, or too many with their aliases written out, and texts that break.

    An alias is the very node that it names, so a few lines may stand for more values than memory holds.
    """
    sizes: dict[int, int] = {}
    above: set[int] = set()
    todo: list[tuple[yaml.Node, bool]] = [(root, False)]
    while todo:
        node, is_left = todo.pop()
        parts = _parts(node)
        if is_left:
            above.discard(id(node))
            sizes[id(node)] = 1 + sum(sizes[id(part)] for part in parts)
            if sizes[id(node)] > _NODES:
                raise ValueError(f"more than {_NODES} values, its aliases written out")
        elif id(node) in above:
            raise ValueError("an alias stands inside what it names")
        elif id(node) not in sizes:
            if len(above) >= DEPTH:
                raise ValueError(f"more than {DEPTH} levels deep")
            _require_plain(node, repeated)
            above.add(id(node))
            todo.append((node, True))
            todo.extend((part, False) for part in parts)


def _parts(node: Any) -> list[yaml.Node]:
    match node.id:
        case "mapping":
            return [part for pair in node.value for part in pair]
        case "sequence":
            return list(node.value)
    return []


def _require_plain(node: Any, repeated: list[str] | None) -> None:
    if node.id == "scalar":
        node.value.encode()
    elif node.id == "mapping":
        seen: set[tuple[str, str]] = set()
        for key, _ in node.value:
            name = (key.tag, str(key.value))
            if key.id == "scalar" and name in seen:
                if repeated is None:
                    raise ValueError(f"line {key.start_mark.line + 1}: the key {key.value!r} is here twice")
                repeated.append(str(key.value))
            seen.add(name)


def _require_shallow(text: str) -> None:
    """Refuse more than `DEPTH` levels before a parser that calls itself meets them."""
    if text.count("[") + text.count("{") <= DEPTH:
        return
    depth = 0
    for found in _TOKENS.finditer(text):
        depth += {"[": 1, "{": 1, "]": -1, "}": -1}.get(found[0], 0)
        if depth > DEPTH:
            raise ValueError(f"more than {DEPTH} levels deep")


def _integer(text: str) -> int:
    value = int(text)
    if value not in _INTEGERS:
        raise ValueError(f"{_short(text)} is larger than 64 bits hold")
    return value


def _number(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{_short(text)} is larger than a float holds")
    return value


def _no_number(text: str) -> float:
    raise ValueError(f"{text} is not a number")


def _said(exc: Exception) -> str:
    problem, mark = getattr(exc, "problem", None), getattr(exc, "problem_mark", None)
    if problem and mark is not None:  # of the YAML parser, whose text is several lines with a picture
        return _short(
            f"line {mark.line + 1}, column {mark.column + 1}: {' '.join(str(problem).split())}", 300
        )
    if isinstance(exc, RecursionError):
        return f"more than {DEPTH} levels deep"
    if isinstance(exc, UnicodeEncodeError):
        return "a text holds half of a surrogate pair"
    return _short(" ".join(str(exc).split()) or _UNEXPECTED, 300)


def _short(text: str, length: int = _SHOWN) -> str:
    return text if len(text) <= length else f"{text[: length // 2]} ... {text[-length // 2 :]}"


def _one_error(kind: type[Any], error: ErrorDetails) -> str:
    # "[key]" is pydantic's mark of a mapping's key.
    key = _short(".".join(str(part) for part in error["loc"] if part != "[key]"))
    match error["type"]:
        case "json_invalid":
            return f"not valid JSON: {_short(error['msg'].removeprefix('Invalid JSON: '))}"
        case "extra_forbidden" | "unexpected_keyword_argument":  # of a model, of a dataclass
            known = _keys_at(kind, error["loc"][:-1])
            return f"unknown key {key!r}{did_you_mean(str(error['loc'][-1]), known)}"
    said = _wrong_value(error)
    return f"{key}: {said}" if key else said


def _wrong_value(error: ErrorDetails) -> str:
    value = _short(_REPR.repr(error.get("input")))
    match error["type"]:
        case "literal_error":
            choices = [
                word.strip(" '") for word in error["ctx"]["expected"].replace(" or ", ", ").split(", ")
            ]
            meant = did_you_mean(value.strip("'"), choices)
            return f"{value} is not one of {', '.join(choices)}{meant}"
        case "missing":
            return "this key is required"
        case "model_type" | "dict_type":
            return f"a section of keys and values is expected, not {value}"
        case "value_error":
            return error["msg"].removeprefix("Value error, ")
        case _:
            kind = next((words for start, words in _KINDS.items() if error["type"].startswith(start)), None)
            return f"{f'{kind} is expected' if kind else error['msg']}, not {value}"


def _keys_at(kind: type[Any], loc: tuple[int | str, ...]) -> list[str]:
    fields: Mapping[str, Any] = getattr(kind, "model_fields", {})
    for part in loc:
        inner = fields[str(part)].annotation if str(part) in fields else None
        fields = getattr(inner, "model_fields", {})
    return list(fields)
