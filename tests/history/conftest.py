"""Entries made up for the tests of the history."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from edgeprune.history.entry import Entry

MakeEntry = Callable[..., Entry]


@pytest.fixture
def make_entry() -> MakeEntry:
    """Return a function that makes the entry of commit number `index`."""

    def make(index: int, **changes: Any) -> Entry:
        entry = Entry(
            id=f"run{index}/row",
            kind="bench",
            name="model.onnx",
            machine="a CPU (x86_64)",
            backend="onnxruntime",
            backend_version="1.0",
            precision="fp32",
            threads=1,
            scenario="single_stream",
            started_utc=f"2026-02-01T00:{index:02d}:00+00:00",
            commit_sha=f"{index:040x}",
            branch="main",
            committed_utc=f"2026-01-01T00:{index:02d}:00+00:00",
            valid=True,
            p50_ms=10.0,
            fps=99.5,
            peak_mb=80.0,
            document="{}",
        )
        return entry.model_copy(update=changes)

    return make
