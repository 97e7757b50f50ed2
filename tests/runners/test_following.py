"""What a process prints is read to its end, within a bound of time and size."""

from __future__ import annotations

import sys

import pytest

from edgeprune.core.errors import DeviceError
from edgeprune.runners import following
from edgeprune.runners.local import LocalRunner


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
@pytest.mark.parametrize("text", ["'x' * 4096", "'line\\n'"])
def test_a_process_that_prints_without_end_is_stopped(
    stream: str, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "MOST_BYTES", 1 << 20)
    code = f"import sys\nwhile True: sys.{stream}.write({text})"
    with pytest.raises(DeviceError, match="it printed more than 1 MB, it was stopped"):
        LocalRunner().run((sys.executable, "-c", code), 60)


def test_a_helper_that_keeps_the_streams_does_not_hold_up_the_end() -> None:
    code = (
        "import subprocess, sys\n"
        "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'], start_new_session=True)\n"
        "print('done')"
    )
    assert LocalRunner().run((sys.executable, "-c", code), 60).stdout == "done\n"


def test_ends_of_lines_are_those_of_text() -> None:
    lines: list[str] = []
    code = r"import sys; sys.stdout.buffer.write(b'one\r\ntwo\rthree\n\xff')"
    done = LocalRunner().run((sys.executable, "-c", code), 60, lines.append)
    assert done.stdout == "one\ntwo\nthree\n�"
    assert lines[0] == "one"
