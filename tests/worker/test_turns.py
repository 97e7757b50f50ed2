"""Workers in turns: how one that goes wrong beside others is told."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from edgeprune.worker import turns


@pytest.fixture
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> Callable[..., str]:
    """Return a function that takes turns with one worker, a shell script, and returns the error printed."""

    def run(script: str, patience_s: float = 60) -> str:
        python, job = tmp_path / "python", tmp_path / "job.json"
        python.write_text(f"#!/bin/sh\n{script}\n")
        python.chmod(0o755)
        job.write_text(json.dumps({"name": "candidate", "patience_s": patience_s}))
        monkeypatch.setattr(sys, "executable", str(python))
        watch: Any = SimpleNamespace(watch=lambda pid: None)
        assert turns._take_turns([str(job), str(tmp_path / "out.json")], watch) == 1
        told: str = capsys.readouterr().err
        return told

    return run


@pytest.mark.parametrize(
    ("script", "told"),
    [
        (r"printf '\377\376 no text\n'; kill -9 $$", "killed by SIGKILL (out of memory?)"),
        (r"printf '\377\376 no text\n'; exit 3", "exited with code 3"),
    ],
)
def test_a_worker_that_prints_no_text_and_dies_is_one_line_with_its_name(
    alone: Callable[..., str], script: str, told: str
) -> None:
    assert alone(script) == f"candidate: {told}: nothing on standard error\n"


READY = """echo '{"phase": "ready"}'"""
WHOLE_TURN = """read turn; echo '{"phase": "turn", "share": 1}'"""


@pytest.mark.parametrize(
    "script",
    ["read forever", f"{READY}; read turn; read forever", f"{READY}; {WHOLE_TURN}; exec tail -f /dev/null"],
    ids=["getting ready", "in its turn", "before its report"],
)
def test_a_worker_that_hangs_is_not_waited_for_as_long_as_all_would_take(
    alone: Callable[..., str], script: str
) -> None:
    assert alone(script, 0.5) == "candidate: it hangs: silent for 0.5 s\n"
