"""The local runner ends what it starts, and turns every bad end into one line."""

from __future__ import annotations

import os
import select
import sys
from pathlib import Path

import pytest

from edgeprune.core.errors import DeviceError
from edgeprune.runners.local import LocalRunner


def _python(code: str, timeout: float = 60.0) -> str:
    with LocalRunner() as runner:
        return runner.run((runner.python(), "-c", code), timeout).stdout


def _message(code: str, timeout: float = 60.0) -> str:
    with pytest.raises(DeviceError) as caught:
        _python(code, timeout)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def _has_ended(pid: int) -> bool:
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    return bool(select.select([handle], [], [], 30)[0])  # readable once the process is gone


def test_lines_stream_and_output_is_kept() -> None:
    lines: list[str] = []
    code = "import sys; print('one'); print('two'); print('noise', file=sys.stderr)"
    done = LocalRunner().run((sys.executable, "-c", code), 60, lines.append)
    assert lines == ["one", "two"]
    assert done.stdout == "one\ntwo\n"
    assert done.stderr == "noise\n"
    assert done.returncode == 0


def test_no_shell_looks_at_the_arguments() -> None:
    done = LocalRunner().run((sys.executable, "-c", "import sys; print(sys.argv[1])", "$HOME; ls *"), 60)
    assert done.stdout == "$HOME; ls *\n"


def test_a_failure_names_the_exit_code_and_the_last_line_of_stderr() -> None:
    message = _message("import sys; print('ear' 'ly', file=sys.stderr); raise ValueError('the last word')")
    assert "exited with code 1: ValueError: the last word" in message
    assert "early" not in message


def test_a_kill_names_the_signal() -> None:
    message = _message("import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    assert "killed by SIGKILL (out of memory?): nothing on standard error" in message


def test_a_hanging_process_is_stopped_with_its_children(tmp_path: Path) -> None:
    child = tmp_path / "child"
    code = f"""
import pathlib, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
pathlib.Path({str(child)!r}).write_text(str(child.pid))
time.sleep(600)
"""
    assert "no answer within 5 s, it was stopped" in _message(code, timeout=5)
    assert _has_ended(int(child.read_text()))


def test_a_missing_program_and_a_missing_file_are_device_errors(tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match="no-such-program: cannot be started: No such file"):
        LocalRunner().run(("no-such-program",), 60)
    with pytest.raises(DeviceError, match="cannot be read: No such file"):
        LocalRunner().pull(str(tmp_path / "absent"), tmp_path / "here")


def test_an_interrupt_leaves_no_process_behind() -> None:
    pids: list[int] = []

    def interrupt(line: str) -> None:
        pids.append(int(line))
        raise KeyboardInterrupt

    code = "import os, time; print(os.getpid(), flush=True); time.sleep(600)"
    with pytest.raises(KeyboardInterrupt):
        LocalRunner().run((sys.executable, "-c", code), 60, interrupt)
    assert _has_ended(pids[0])


def test_push_and_pull_are_the_same_place(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("content")
    runner = LocalRunner()
    assert Path(runner.push(file)) == file
    assert runner.pull(str(file), file) == file
    assert runner.pull(str(file), tmp_path / "copy").read_text() == "content"
