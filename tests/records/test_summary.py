"""`summary.json`: what is written is read back, and anything else is refused in one line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from edgeprune.core.artifact import SUMMARY
from edgeprune.core.errors import NotComparableError
from edgeprune.records.summary import load_summary, save_summary
from made_summaries import a_summary


def test_a_summary_comes_back_as_it_was_written(tmp_path: Path) -> None:
    path = save_summary(a_summary(), tmp_path)
    assert path.name == SUMMARY and [entry.name for entry in tmp_path.iterdir()] == [SUMMARY]
    assert load_summary(tmp_path) == a_summary()
    assert json.loads(path.read_text())["targets"]["jetson"]["rows"][0]["p50_ms"] is None


def test_rows_come_in_the_order_of_the_targets() -> None:
    assert [row.label for row in a_summary().rows()] == ["x86-ort original fp32", "jetson original fp32"]


def test_a_folder_without_a_build_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotComparableError, match="no finished build is here") as caught:
        load_summary(tmp_path)
    assert str(tmp_path) in str(caught.value)


@pytest.mark.parametrize(
    ("change", "where"),
    [
        (lambda data: data.pop("chosen"), "chosen"),
        (lambda data: data["targets"]["x86-ort"]["rows"][0].update(p50_ms="fast"), "p50_ms"),
        (lambda data: data.update(surprise=1), "surprise"),
        (lambda data: data["targets"]["x86-ort"]["rows"][0].update(p50_ms=0), "p50_ms"),
        (lambda data: data["targets"]["x86-ort"]["rows"][0].update(target="cpu"), "targets.x86-ort"),
        (lambda data: data["targets"].pop("x86-ort"), "chosen"),
        (lambda data: data.update(targets={}), "targets"),
        (lambda data: data.update(schema_version=3), "schema_version"),
    ],
)
def test_what_is_no_summary_of_this_version_is_refused_with_the_place(
    tmp_path: Path, change: Any, where: str
) -> None:
    path = save_summary(a_summary(), tmp_path)
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data))
    with pytest.raises(NotComparableError, match=where) as caught:
        load_summary(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("left", [lambda text: text[:200], lambda text: text.replace(b"jetson", b"j\xff")])
def test_a_damaged_summary_is_refused(tmp_path: Path, left: Any) -> None:
    path = save_summary(a_summary(), tmp_path)
    path.write_bytes(left(path.read_bytes()))
    with pytest.raises(NotComparableError, match="not a summary"):
        load_summary(tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        {"artifact": "../../etc/passwd"},
        {"artifact": "/etc/passwd"},
        {"artifact": "stages/../../x.onnx"},
        {"artifact": "a\0b"},
        {"bench": "../result.json"},
        {"bench": "/dev/zero"},
        {"target": "../x86-ort"},
        {"target": "profile.d/x"},
        {"precision": "../../int8"},
        {"environment": {"LD_PRELOAD": "evil.so"}},
        {"environment": {"PYTHONPATH": "evil"}},
        {"environment": {"OMP_PLACES": "/etc/passwd"}},
    ],
)
def test_a_row_names_nothing_outside_of_its_build(tmp_path: Path, change: dict[str, Any]) -> None:
    save_summary(a_summary(), tmp_path)
    data = json.loads((tmp_path / SUMMARY).read_text())
    data["targets"]["x86-ort"]["rows"][0] |= change
    (tmp_path / SUMMARY).write_text(json.dumps(data))
    with pytest.raises(NotComparableError) as caught:
        load_summary(tmp_path)
    assert next(iter(change)) in str(caught.value) and "\n" not in str(caught.value)
