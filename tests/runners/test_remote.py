"""What every remote runner owes, over ssh and over adb: output, exit codes, signals, and no process left."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from edgeprune.errors import DeviceError
from edgeprune.runners.devices import remote_runner_for
from edgeprune.runners.remote import RemoteRunner


@pytest.fixture(params=["device", "phone"], ids=["ssh", "adb"])
def runner(request: pytest.FixtureRequest) -> Iterator[RemoteRunner]:
    """Return a runner that is connected to the device."""
    with remote_runner_for(request.getfixturevalue(request.param).address()) as entered:
        yield entered


def python(runner: RemoteRunner, code: str, timeout: float = 60.0, **more: Any) -> str:
    return runner.run((sys.executable, "-c", code), timeout, **more).stdout


def gone(pid: int) -> None:
    try:
        psutil.Process(pid).wait(30)
    except psutil.NoSuchProcess:
        return


def test_lines_stream_and_output_is_kept(runner: RemoteRunner) -> None:
    lines: list[str] = []
    code = "import sys; print('one'); print('two'); print('noise', file=sys.stderr)"
    done = runner.run((sys.executable, "-c", code), 60, lines.append)
    assert lines == ["one", "two"] and done.stdout == "one\ntwo\n" and done.stderr == "noise\n"
    assert done.returncode == 0


def test_a_crash_names_the_exit_code_and_the_last_line(runner: RemoteRunner) -> None:
    with pytest.raises(DeviceError, match=r"exited with code 1: ValueError: the last word$"):
        python(runner, "import sys; print('early', file=sys.stderr); raise ValueError('the last word')")


def test_a_kill_for_memory_names_the_signal(runner: RemoteRunner) -> None:
    with pytest.raises(DeviceError, match=r"killed by SIGKILL \(out of memory\?\)"):
        python(runner, "import os, signal; os.kill(os.getpid(), signal.SIGKILL)")


def test_a_program_that_is_not_there(runner: RemoteRunner) -> None:
    with pytest.raises(DeviceError, match="no-such-program: cannot be started: No such file"):
        runner.run(("no-such-program",), 60)


def test_a_hang_is_stopped_there_with_its_children(runner: RemoteRunner, tmp_path: Path) -> None:
    child = tmp_path / "child"
    code = f"""
import pathlib, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
pathlib.Path({str(child)!r}).write_text(str(child.pid))
time.sleep(600)
"""
    with pytest.raises(DeviceError, match="no answer within 3 s, it was stopped"):
        python(runner, code, timeout=3)
    gone(int(child.read_text()))


def test_an_interrupt_leaves_no_process_on_the_device(runner: RemoteRunner) -> None:
    pids: list[int] = []

    def interrupt(line: str) -> None:
        pids.append(int(line))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        python(runner, "import os, time; print(os.getpid(), flush=True); time.sleep(600)", on_line=interrupt)
    gone(pids[0])
