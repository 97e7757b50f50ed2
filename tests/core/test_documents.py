"""The two readers: any bytes give a value or the caller's one error, in one line."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict

from edgeprune.core.documents import (
    DEPTH,
    parse_json,
    parse_record,
    parse_yaml,
    read_json,
    read_mapping,
    read_record,
    read_yaml,
    validate,
)
from edgeprune.core.errors import DataError


class Inner(BaseModel):
    model_config = ConfigDict(extra="forbid")

    width: int = 1


class Outer(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: str
    inner: Inner = Inner()
    more: dict[str, float] = {}


READERS: dict[str, Callable[[Path, type[DataError]], Any]] = {
    "yaml": read_yaml,
    "json": read_json,
    "mapping": read_mapping,
    "record": lambda path, error: read_record(Outer, path, error),
}
every_reader = pytest.mark.parametrize("read", READERS.values(), ids=READERS)

BOMB = "a: &a [1,1,1,1,1,1,1,1,1]\n" + "".join(
    f"{name}: &{name} [{','.join([f'*{before}'] * 9)}]\n"
    for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)
MERGES = "a: &a {x: 1, y: 2}\n" + "".join(
    f"{name}: &{name} {{<<: [{','.join([f'*{before}'] * 9)}]}}\n"
    for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)
NO_YAML = {
    "a date that is none": "2001-99-99",
    "a stamp without its parts": "!!timestamp x",
    "a number that is none": "!!int x",
    "a truth that is none": "!!bool perhaps",
    "too many digits": "9" * 5000,
    "an object of Python": "!!python/object/apply:os.system [true]",
    "deep": "[" * 5000,
    "deep and closed": "[" * (DEPTH + 1) + "]" * (DEPTH + 1),
    "an alias bomb": BOMB,
    "a bomb of merges": MERGES,
    "a cycle": "&a [*a]",
    "a key that is a list": "? [a]\n: b",
    "a key twice": "ratio: 0.1\nratio: 0.2",
    "half of a pair": '"\\ud800"',
    "a control character": "a\x00b",
    "an unknown alias": "*a",
    "two documents": "a\n---\nb",
}
NO_JSON = {
    "nothing": "",
    "deep": "[" * 100_000,
    "deep and closed": "[" * (DEPTH + 1) + "]" * (DEPTH + 1),
    "deep mappings": '{"a":' * 100_000,
    "not a number": "[NaN]",
    "infinity": '{"a": -Infinity}',
    "larger than a float": "[1e999]",
    "larger than 64 bits": "[9223372036854775808]",
    "too many digits": f"[{'9' * 5000}]",
    "half of a pair": '["\\ud800"]',
    "a tail": "{} {}",
    "an open string": '["a',
}


@pytest.mark.parametrize("text", NO_YAML.values(), ids=NO_YAML)
def test_yaml_that_is_none_is_told_in_one_line(text: str) -> None:
    with pytest.raises(DataError, match=r"^--set: not valid YAML: ") as told:
        parse_yaml(text, "--set", DataError)
    assert len(str(told.value)) < 400
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("text", NO_JSON.values(), ids=NO_JSON)
def test_json_that_is_none_is_told_in_one_line(text: str) -> None:
    for read in (parse_json, lambda *given: parse_record(Outer, *given)):
        with pytest.raises(DataError, match=r"^result.json: not valid JSON: ") as told:
            read(text, "result.json", DataError)
        assert len(str(told.value)) < 400
        assert "\n" not in str(told.value)


@every_reader
@given(content=st.binary(max_size=200))
@example(content=b"")
@example(content="ü: 1".encode("utf-16"))
@example(content=b"\xff\xfe")
@example(content=b"%YAML 9.9\n---\n- 1")
@example(content=b"[" * 4000)
@example(content=b'{"name": "\\udcff", "inner": {"width": 1e400}}')
def test_any_bytes_give_a_value_or_the_one_error(
    read: Callable[..., Any], content: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "document"
    path.write_bytes(content)
    try:
        read(path, DataError)
    except DataError as exc:
        assert str(exc).startswith(f"{path}: ")
        assert "\n" not in str(exc)


scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(1 << 63), (1 << 63) - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(st.characters(blacklist_categories=["Cs"]), max_size=12),
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("é-7", max_size=5), inner),
    max_leaves=12,
)


@given(values)
def test_what_json_holds_is_read_back(value: Any) -> None:
    for ascii_only in (True, False):
        assert parse_json(json.dumps(value, ensure_ascii=ascii_only), "x", DataError) == value


@given(values)
def test_what_safe_dump_writes_is_read_as_safe_load_does(value: Any) -> None:
    text = yaml.safe_dump(value, allow_unicode=True)
    assert parse_yaml(text, "x", DataError) == yaml.safe_load(text)


SIGNS = (
    "[ ] { } : , ' \" | > % @ # ~ &a *a <<: !!int !!timestamp !!binary 2001-99-99 1e999 0x \\u d800 NaN .inf"
)
fragments = st.sampled_from([*SIGNS.split(), " ", "\n", "  ", "- ", "? ", ": ", "9" * 30])


@given(st.lists(fragments | st.text(max_size=3), max_size=30).map("".join))
def test_any_text_of_their_signs_gives_a_value_or_the_one_error(text: str) -> None:
    for parse in (parse_yaml, parse_json, lambda *given: parse_record(Outer, *given)):
        try:
            parse(text, "where", DataError)
        except DataError as exc:
            assert re.match(r"where: .+\Z", str(exc))


def test_an_alias_within_bounds_is_what_it_names() -> None:
    assert parse_yaml("a: &a [1, 2]\nb: *a\nc: {<<: {d: 1}}", "x", DataError) == {
        "a": [1, 2], "b": [1, 2], "c": {"d": 1},
    }  # fmt: skip


def test_the_first_thing_that_is_wrong_in_a_record_is_named() -> None:
    wrong = {
        '{"name": "a", "inner": {"widht": 2}}': "x: unknown key 'inner.widht' (did you mean 'width'?)",
        '{"inner": {}}': "x: name: this key is required",
        '{"name": "a", "inner": 3}': "x: inner: a section of keys and values is expected, not 3",
        "[]": "x: a section of keys and values is expected, not []",
    }
    for text, said in wrong.items():
        with pytest.raises(DataError) as told:
            parse_record(Outer, text, "x", DataError)
        assert str(told.value) == said
    with pytest.raises(DataError, match=r"name: a text is expected, not ") as told:
        validate(Outer, {"name": [["long"] * 100] * 100}, "x", DataError)
    assert len(str(told.value)) < 300
    for extra, said in ((7, "; and 1 more fault"), (8, "; and 2 more faults")):
        with pytest.raises(DataError) as told:
            validate(Inner, {f"key{index}": 1 for index in range(extra)}, "x", DataError)
        assert str(told.value).endswith(said)
