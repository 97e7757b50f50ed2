"""The page cache of an engine, read from the kernel."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from edgeprune.worker.scenarios.file_cache import drop


def test_a_file_that_was_just_written_is_cached_until_it_is_dropped(tmp_path: Path) -> None:
    engine = tmp_path / "engine"
    engine.mkdir()
    (engine / "model.bin").write_bytes(bytes(1_000_000))
    (engine / "empty").touch()
    found = drop(engine)
    assert found["engine_cached_before"] == 1
    assert 0 <= found["engine_cached_after"] <= 1
    assert (engine / "model.bin").read_bytes() == bytes(1_000_000)
    assert drop(engine / "model.bin")["engine_cached_before"] == 1  # it has just been read


def test_a_graph_is_asked_for_its_weights_after_its_own_pages_are_counted(tmp_path: Path) -> None:
    engine = tmp_path / "model.onnx"
    engine.write_bytes(bytes(1_000_000))
    assert drop(engine)["engine_cached_before"] == 1
    left = drop(engine)["engine_cached_after"]
    assert drop(engine)["engine_cached_before"] == left


def test_an_empty_engine_has_no_share(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").touch()
    assert drop(tmp_path / "model.onnx") == {"engine_cached_before": None, "engine_cached_after": None}


def test_of_somebody_elses_file_nothing_is_claimed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = tmp_path / "model.onnx"
    engine.write_bytes(bytes(100_000))
    engine.chmod(stat.S_IRUSR)
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may write any file
    assert drop(engine)["engine_cached_before"] == 1  # its owner is told
    monkeypatch.setattr(os, "geteuid", lambda: engine.stat().st_uid + 1)
    assert drop(engine) == {"engine_cached_before": None, "engine_cached_after": None}
