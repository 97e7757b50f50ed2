"""The page of many devices: nothing of a name is markup, it fits a phone, histories are those of its rows."""

from __future__ import annotations

import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from browser import CHROMIUM, width_on_a_phone
from edgeprune.history.commits import Commit
from edgeprune.history.reading import read_entries
from edgeprune.report.devices.entries import load_lines
from edgeprune.report.devices.pages import in_words, write_pages

HOSTILE = "<script>alert(1)</script> \"'><img src=x onerror=alert(1)> $x_{ | `a` @all \x1b[31m\n" + 60 * "W"
Make = Callable[..., Path]


class _Seen(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture
def hostile(make: Make, bench: Make, parts: SimpleNamespace) -> list[Path]:
    """Return a build and a result whose every name is hostile."""
    targets = {
        name: target.model_copy(
            update={
                "verdict": HOSTILE,
                "rows": tuple(row.model_copy(update={"refused": (HOSTILE,)}) for row in target.rows),
            }
        )
        for name, target in parts.summary().targets.items()
    }
    environment = {"board": HOSTILE, "cpu": HOSTILE, "cores": 4}
    build = make(
        "a", targets=targets, environment=environment, model={"name": HOSTILE}, data={"yaml": HOSTILE},
        split=HOSTILE,
    )  # fmt: skip
    return [build, bench("r.json", HOSTILE, 5.0, device=HOSTILE, env_before=environment)]


def test_hostile_names_are_shown_and_do_nothing(hostile: list[Path], tmp_path: Path) -> None:
    written = write_pages(load_lines(hostile), [], tmp_path / "out")
    page, text = (Path(path).read_text(encoding="utf-8") for path in written.values())
    seen = _Seen(page)
    assert not {"script", "img", "link", "iframe"} & {tag for tag, _ in seen.tags}
    attributes = [(key, value or "") for _, attrs in seen.tags for key, value in attrs.items()]
    assert not [key for key, _ in attributes if key.startswith("on") or key == "src"]
    assert all(value.startswith("#") for key, value in attributes if key == "href")
    assert "<script>alert(1)</script>" in seen.text and "\x1b" not in page + text
    assert not re.search(r"(?<!\\)<(script|img)", text) and "@all" not in text
    if CHROMIUM:
        assert width_on_a_phone(page, tmp_path) == 390


def test_both_pages_say_the_same_and_two_writes_are_the_same_bytes(make: Make, tmp_path: Path) -> None:
    lines = load_lines([make("a"), make("b", slower=6.0)])
    written = write_pages(lines, None, tmp_path / "out")
    page, text = (Path(path).read_text(encoding="utf-8") for path in written.values())
    seen = _Seen(page)
    for shown in ("45.00", "7.50", "10.00 (refused)", "0.5730", "What to ship where"):
        assert shown in seen.text and shown in text
    assert "Histories" not in seen.text
    ids = [attrs["id"] for _, attrs in seen.tags if attrs.get("id")]
    assert ids and len(ids) == len(set(ids))
    assert [attrs for tag, attrs in seen.tags if tag == "td" and attrs.get("title") == "not measured"]
    again = write_pages(lines, None, tmp_path / "again")
    assert [Path(path).read_bytes() for path in again.values()] == [page.encode(), text.encode()]
    assert in_words(lines)[:2] == [
        "Test CPU, 4 cores: pruned int8, A: x86-openvino, openvino 2026.4.1, p50 in ms 7.50",
        "Test CPU, 4 cores: pruned int8, B: x86-openvino, openvino 2026.4.1, p50 in ms 45.00",
    ]
    assert in_words(lines)[2].startswith("Nothing was chosen on 3, jetson: not there; 6, jetson: not there: ")


def test_different_models_are_said_to_be_so(make: Make, tmp_path: Path) -> None:
    lines = load_lines([make("a"), make("b", model={"name": "other"})])
    for path in write_pages(lines, None, tmp_path / "out").values():
        assert "2 different networks, data sets or forms of input" in Path(path).read_text(encoding="utf-8")


def test_the_history_of_these_rows_on_these_devices_is_drawn_and_no_other(
    bench: Make, tmp_path: Path
) -> None:
    points: list[Any] = []
    for index, p50 in enumerate((8.0, 8.1) * 5 + (12.0, 12.1) * 5):
        path = bench(
            "now/x.json", "tiny", p50, run_id=f"run{index}", started_utc=f"2026-02-01T00:{index:02d}:00Z"
        )
        points += read_entries(path, Commit(f"{index:07d}", "main", f"2026-02-01T00:{index:02d}:00Z"))
    other = bench("other.json", "tiny", 9.0, env_before={"board": "Another", "machine": "aarch64"})
    points += read_entries(other, Commit())
    written = write_pages(load_lines([tmp_path / "now"]), points, tmp_path / "out")
    page, text = (Path(path).read_text(encoding="utf-8") for path in written.values())
    assert page.count("<svg") == 1 and "p50 latency of tiny" in page and "Another" not in page
    assert "between 0000009 and 0000010" in text.replace("\\", "")
    none = write_pages(load_lines([tmp_path / "now"]), [], tmp_path / "none")
    assert "holds no result of these rows" in Path(none["html"]).read_text(encoding="utf-8")
