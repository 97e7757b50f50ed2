"""Workers in turns: how one that goes wrong beside others is told."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from edgeprune.bench import turns


@pytest.mark.parametrize(
    ("script", "told"),
    [
        (r"printf '\377\376 no text\n'; kill -9 $$", "killed by SIGKILL (out of memory?)"),
        (r"printf '\377\376 no text\n'; exit 3", "exited with code 3"),
    ],
)
def test_a_worker_that_prints_no_text_and_dies_is_one_line_with_its_name(
    script: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    python, job = tmp_path / "python", tmp_path / "job.json"
    python.write_text(f"#!/bin/sh\n{script}\n")
    python.chmod(0o755)
    job.write_text(json.dumps({"name": "candidate"}))
    monkeypatch.setattr(sys, "executable", str(python))
    watch: Any = SimpleNamespace(watch=lambda pid: None)
    assert turns._take_turns([str(job), str(tmp_path / "out.json")], watch) == 1
    assert capsys.readouterr().err == f"candidate: {told}: nothing on standard error\n"
